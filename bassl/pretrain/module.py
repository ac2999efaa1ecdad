"""The Lightning module of pre-training: moves tensors, logs and optimises; objective and losses do the arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from einops import rearrange
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Optimizer

from bassl.config.schema import PretrainOptimizer
from bassl.dataset.device_augmentation import augment
from bassl.dataset.movienet import FilmChunk, PretrainBatch
from bassl.dataset.transform import normalize
from bassl.distributed import mean_over_ranks, share_buffers, sum_over_ranks
from bassl.model.crn import ContextualRelationNetwork
from bassl.model.shot_encoder import ShotEncoder, mean_over_keyframes
from bassl.pretrain.boundary_distance import FilmwiseBoundaryDistance
from bassl.pretrain.knn import KS, FilmwisePrecision
from bassl.pretrain.objective import PretextObjective
from bassl.training.checkpointing import restore_position
from bassl.training.nan_guard import NanGuard, check_weights
from bassl.training.optim import LARS, parameter_groups, warmup_cosine
from bassl.training.trainer import derived_seed


class PretrainModule(pl.LightningModule):
    """Shot encoder, CRN and heads under pre-training.

    State-dict prefixes are `shot_encoder.`, `crn.` and `loss.`, as in the published checkpoints. All random draws of
    a step are functions of (seed, epoch, step), so a resumed run repeats those of an uninterrupted one.

    Args:
        metadata: Stored with the weights.
        neighbors: Size and interval of the windows, for the distance of the pseudo-boundary in validation.
    """

    def __init__(
        self,
        encoder: ShotEncoder,
        crn: ContextualRelationNetwork | None,
        objective: PretextObjective,
        *,
        optimizer: PretrainOptimizer,
        lr: float,
        seed: int,
        metadata: Mapping[str, Any],
        neighbors: tuple[int, int] = (8, 1),
    ) -> None:
        super().__init__()
        self.shot_encoder = encoder.to(memory_format=torch.channels_last)
        self.crn = crn
        self.loss = objective
        self._optimizer, self._lr, self._seed = optimizer, lr, seed
        self._metadata = dict(metadata)
        self._draws: torch.Generator | None = None
        self._guard = NanGuard()
        self._neighbors = neighbors
        self._knn, self._distance = FilmwisePrecision(), FilmwiseBoundaryDistance(*neighbors)
        self._film: list[tuple[Tensor, Tensor]] = []

    def training_step(self, batch: PretrainBatch, batch_idx: int) -> Tensor:
        """Return the sum of the loss terms of one batch."""
        generator = self._seeded(batch_idx)
        features = self._encode(augment(batch.keyframes, batch.draws, dtype=compute_dtype(self.device.type)))
        terms = self.loss(features, batch.mask, self.crn, generator)
        values = torch.stack(list(terms.values()))
        lr = self.trainer.optimizers[0].param_groups[0]["lr"]
        whole = mean_over_ranks(values.float())
        self._log_terms(dict(zip(terms, whole, strict=True)), whole.sum(), lr)
        self._guard.watch(terms, whole, self.global_step, lr, batch_idx)
        return values.sum()

    def _encode(self, images: Tensor) -> Tensor:
        """Encode all views in one pass, (B, V, 3, H, W) -> (B, V, D)."""
        flat = rearrange(images, "b v c h w -> (b v) c h w").contiguous(memory_format=torch.channels_last)
        return rearrange(self.shot_encoder(flat), "(b v) d -> b v d", b=len(images))

    def _seeded(self, batch_idx: int) -> torch.Generator:
        """Seed dropout per rank; return the generator of the draws of the losses, alike on all ranks."""
        step = (self._seed, self.current_epoch, batch_idx)
        torch.manual_seed(derived_seed(*step, 1 + self.global_rank))
        if self._draws is None:
            self._draws = torch.Generator(self.device)
        return self._draws.manual_seed(derived_seed(*step))

    def _log_terms(self, terms: Mapping[str, Tensor], total: Tensor, lr: float) -> None:
        """Log the terms of the batches of all ranks."""
        self.log("train/loss", total, prog_bar=True)
        self.log("train/lr", torch.tensor(lr))  # a number would be copied to the device, which waits
        self.log_dict({f"train/{name}": term for name, term in terms.items()})

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Record the gradient norm for the check."""
        self._guard.watch_gradient(self)

    def on_validation_epoch_start(self) -> None:
        """Reset the measures, and stop if a weight is not finite.

        All ranks take the running statistics that are saved, because without sync BN each has its own.
        """
        self._guard.flush()
        check_weights(self.trainer)
        share_buffers(self)
        self._knn, self._distance = FilmwisePrecision(), FilmwiseBoundaryDistance(*self._neighbors)
        self._film = []

    def validation_step(self, batch: FilmChunk, batch_idx: int) -> None:
        """Encode a chunk of a film; add the film to the measures after its last chunk."""
        if not len(batch.shots):
            return
        images = normalize(batch.keyframes.flatten(0, 1)).unflatten(0, batch.keyframes.shape[:2])
        features = mean_over_keyframes(self.shot_encoder, images)
        self._film.append((features.float(), batch.scenes))
        if batch.is_last:
            values, scenes = (torch.cat(parts) for parts in zip(*self._film, strict=True))
            self._knn.update(values, scenes)
            if hasattr(self.loss, "head_nce"):
                with torch.autocast(values.device.type, enabled=False):
                    self._distance.update(self.loss.head_nce(values), scenes)
            self._film = []

    def on_validation_epoch_end(self) -> None:
        """Log k-NN precision and pseudo-boundary distance over the films of all ranks."""
        self._knn.totals = sum_over_ranks(self._knn.totals.to(self.device)).cpu()
        for k, precision in zip(KS, self._knn.compute().tolist(), strict=True):
            if precision == precision:  # NaN: no scene has so many shots
                self.log(f"knn/precision@{k}", precision, prog_bar=k == 1, rank_zero_only=True)
        self._distance.totals = sum_over_ranks(self._distance.totals.to(self.device)).cpu()
        pseudo, random = self._distance.compute()
        if pseudo == pseudo:  # NaN: no head to align by, or no boundary
            self.log("val/pseudo_boundary_distance", pseudo, rank_zero_only=True)
            self.log("val/pseudo_boundary_distance_random", random, rank_zero_only=True)

    def on_train_epoch_end(self) -> None:
        """Check the last step."""
        self._guard.flush()

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return LARS or SGD with linear warm-up and cosine decay, per step."""
        settings = self._optimizer
        groups = parameter_groups(self, settings.weight_decay)
        if settings.name == "lars":
            optimizer: Optimizer = LARS(
                groups,
                self._lr,
                settings.momentum,
                trust_coefficient=settings.trust_coefficient,
                eps=settings.eps,
            )
        else:
            optimizer = torch.optim.SGD(groups, self._lr, settings.momentum)
        total = int(self.trainer.estimated_stepping_batches)
        scheduler = warmup_cosine(optimizer, total, int(total * settings.scheduler.warmup))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Store the metadata, unless the last step was not finite."""
        self._guard.flush()
        checkpoint["bassl"] = self._metadata

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Tell the data where the run resumes."""
        restore_position(checkpoint, self.trainer.datamodule)  # type: ignore[attr-defined]


def compute_dtype(device_type: str) -> torch.dtype:
    """Return the type that autocast gives to the input of a convolution; images are written in it to save memory."""
    return torch.get_autocast_dtype(device_type) if torch.is_autocast_enabled(device_type) else torch.float32

"""The Lightning module of fine-tuning: a boundary scorer over frozen shot features."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Optimizer

from bassl.config.schema import FinetuneOptimizer
from bassl.dataset.features import FeatureTable
from bassl.dataset.movienet import WindowBatch
from bassl.dataset.transform import normalize
from bassl.distributed import gather_uneven, mean_over_ranks, sum_over_ranks, world_size
from bassl.errors import RunError
from bassl.finetune.inputs import Split
from bassl.finetune.losses import balanced_cross_entropy, class_counts, sum_over_slices
from bassl.finetune.metrics import ShotPredictions, best_f1_threshold, scene_metrics
from bassl.model.boundary_scorer import BoundaryScorer
from bassl.model.shot_encoder import ShotEncoder, mean_over_keyframes
from bassl.training.checkpointing import restore_position
from bassl.training.nan_guard import NanGuard, check_weights
from bassl.training.optim import parameter_groups, warmup_cosine
from bassl.training.trainer import derived_seed

CPU_WINDOWS, ALL_WINDOWS = 128, 2**31
SHOTS_AT_A_TIME = 128  # through the frozen encoder
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """Scores of a split.

    Attributes:
        results: Metrics by name (`bassl.finetune.metrics.METRIC_DEFINITIONS`).
        predictions: Probability of each shot that they were computed from.
    """

    results: Mapping[str, float]
    predictions: ShotPredictions


class FinetuneModule(pl.LightningModule):
    """A boundary scorer (`crn.`, `head_sbd.`, `similarity.`), trained on windows of frozen shot features.

    Args:
        encoder: Frozen shot encoder. It reads key-frames if `table` is None, and is only stored with the checkpoint
            otherwise. It is in neither the optimiser nor DDP.
        table: Features of all films, which the windows index.
        evaluations: Splits that can be scored, by name; testing scores "test".
        validated: Name of the split that is scored after each epoch.
        threshold: Probability from which a shot counts as a boundary; "val" for the one with the best F1 on val,
            which is stored in `metadata` whenever val is scored.
        trained_epochs: Epochs behind the weights.

    Attributes:
        evaluations: `Evaluation` of each split that was scored, by name; the last one counts.
        metadata: What is stored with the weights.
        scored_step: Optimiser step that was scored last.
    """

    def __init__(
        self,
        scorer: BoundaryScorer,
        encoder: ShotEncoder | None,
        table: FeatureTable | None,
        *,
        evaluations: Mapping[str, Split],
        validated: str,
        optimizer: FinetuneOptimizer,
        lr: float,
        seed: int,
        metadata: Mapping[str, Any],
        threshold: float | str = 0.5,
        fps: float = 24.0,
        uncertain: str = "positive",
        trained_epochs: int = 0,
    ) -> None:
        super().__init__()
        self.crn, self.head_sbd, self.similarity = scorer.crn, scorer.head_sbd, scorer.similarity
        self.projection = scorer.projection
        self._scorer = [scorer]  # in a list, so that its parts keep their published names
        self._encoder = [encoder.eval().requires_grad_(False)] if encoder else []  # a list hides it from DDP
        self._table, self._splits, self._validated = table, dict(evaluations), validated
        self._optimizer, self._lr, self._seed = optimizer, lr, seed
        self._threshold, self._fps, self._uncertain = threshold, fps, uncertain
        self._guard = NanGuard()
        self._scored: list[tuple[Tensor, Tensor]] = []
        self.metadata = dict(metadata)
        self.evaluations: dict[str, Evaluation] = {}
        self.trained_epochs, self.scored_step, self.has_trained = trained_epochs, -1, False

    def forward(self, shots: Tensor) -> Tensor:
        """Return logits (B, 2) of windows of shot features (B, S, D)."""
        (scorer,) = self._scorer
        return scorer(shots)

    def training_step(self, batch: WindowBatch, batch_idx: int) -> Tensor:
        """Return the class-balanced cross-entropy over the batches of all ranks."""
        torch.manual_seed(derived_seed(self._seed, self.current_epoch, batch_idx, 1 + self.global_rank))
        labels = batch.label.abs()
        counts = sum_over_ranks(class_counts(labels))

        features = self._reader(batch)

        def loss_of(rows: slice) -> Tensor:
            return balanced_cross_entropy(self(features(rows)), labels[rows], counts) * world_size()

        loss = sum_over_slices(loss_of, len(labels), windows_at_a_time(self.device), list(self.parameters()))
        lr = self.trainer.optimizers[0].param_groups[0]["lr"]
        whole = mean_over_ranks(loss.float())
        self._guard.watch(["loss"], whole[None], self.global_step, lr, batch_idx)
        self.log("train/loss", whole, prog_bar=True)
        self.log("train/lr", torch.tensor(lr))  # a number would be copied to the device, which waits
        return loss

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Record the gradient norm for the check."""
        self._guard.watch_gradient(self)

    @property
    def threshold(self) -> float:
        """Probability from which a shot counts as a boundary; 0.5 until val has been scored."""
        return float(self.metadata.get("threshold", 0.5)) if isinstance(self._threshold, str) else self._threshold

    def _reader(self, batch: WindowBatch) -> Callable[[slice], Tensor]:
        """Return a function from rows of a batch to windows of shot features (B, S, D); encode key-frames now."""
        if self._table is not None:
            table = self._table
            return lambda rows: table.gather(batch.shots[rows], self.device)
        assert batch.keyframes is not None
        encoded = torch.cat([self._encode(part) for part in batch.keyframes.split(SHOTS_AT_A_TIME)])
        return lambda rows: encoded[batch.shots[rows].to(self.device)]

    @torch.no_grad()
    def _encode(self, keyframes: Tensor) -> Tensor:
        """Encode key-frames (U, K, 3, H, W) in host memory to features (U, D)."""
        (encoder,) = self._encoder
        images = normalize(keyframes.to(self.device).flatten(0, 1)).unflatten(0, keyframes.shape[:2])
        return mean_over_keyframes(encoder, images).float()

    def transfer_batch_to_device(self, batch: WindowBatch, device: torch.device, dataloader_idx: int) -> WindowBatch:
        """Move labels, and row numbers to where the table is; key-frames stay on the host until they are encoded."""
        is_on_host = self._table is None or self._table.values.device.type == "cpu"
        shots = batch.shots if is_on_host else batch.shots.to(device, non_blocking=True)
        row, label = (part.to(device, non_blocking=True) for part in (batch.row, batch.label))
        return WindowBatch(row, label, shots, batch.keyframes)

    def setup(self, stage: str) -> None:
        """Move the encoder and the features, which are not submodules, to the device; features only if they fit."""
        if self._encoder and self._table is None:
            self._encoder[0].to(self.device, memory_format=torch.channels_last)
        if self._table is not None:
            self._table.values = on_device_if_it_fits(self._table.values, self.device)

    def on_validation_epoch_start(self) -> None:
        """Reset the scores, and stop if a weight is not finite."""
        if not self.trainer.testing:
            self._guard.flush()
            check_weights(self.trainer)
        self._scored = []

    def validation_step(self, batch: WindowBatch, batch_idx: int) -> None:
        """Score a batch of the evaluated split."""
        features, step = self._reader(batch), windows_at_a_time(self.device)
        logits = [self(features(slice(start, start + step))) for start in range(0, len(batch.row), step)]
        probability = torch.cat(logits).float().softmax(1)[:, 1]
        self._scored.append((batch.row, probability))

    def on_validation_epoch_end(self) -> None:
        """Compute the metrics of the split over the shots of all ranks, each shot once."""
        split = self._splits["test" if self.trainer.testing else self._validated]
        predictions = self._gather_predictions(split)
        if split.name == "val":
            rows = predictions.deduplicated(self._uncertain)
            threshold = best_f1_threshold(rows.probability, rows.label)
            if math.isfinite(threshold):  # NaN: val has no boundary
                self.metadata["threshold"] = threshold
        results = scene_metrics(
            predictions, split.frames, threshold=self.threshold, fps=self._fps, uncertain=self._uncertain
        )
        self.evaluations[split.name] = Evaluation(results, predictions)
        for name, value in results.items():
            self.log(f"{split.name}/{name}", value, prog_bar=name == "AP")
        self.scored_step = self.global_step
        if not self.trainer.testing:
            self.trained_epochs = self.current_epoch + 1
            if split.name == "val":
                self.metadata["val"] = results

    def _gather_predictions(self, split: Split) -> ShotPredictions:
        """Collect the scores of all ranks; raise RunError if one is not finite."""
        row = gather_uneven(_joined([r for r, _ in self._scored], torch.int64, self.device)).cpu().numpy()
        probability = gather_uneven(_joined([p for _, p in self._scored], torch.float32, self.device)).cpu().numpy()
        if not np.isfinite(probability).all():
            raise RunError(
                f"{np.count_nonzero(~np.isfinite(probability))} of {len(probability)} probabilities of {split.name} "
                "are NaN; check the features, or set config.TRAINER.precision=32"
            )
        rows = split.annotations
        return ShotPredictions(rows.film[row], rows.shot[row], probability.astype(np.float64), rows.label[row])

    def on_train_epoch_end(self) -> None:
        """Count the epoch, also if it is not scored, and check its last step."""
        self._guard.flush()
        self.trained_epochs, self.has_trained = self.current_epoch + 1, True

    def restore(self, best: Path) -> None:
        """Load weights, threshold and val scores of the epoch that val selected."""
        stored = torch.load(best, map_location="cpu", weights_only=True)
        weights = {name: value for name, value in stored["state_dict"].items() if not name.startswith("shot_encoder.")}
        self.load_state_dict(weights)
        self.metadata |= stored["bassl"]
        self.trained_epochs = int(stored["epoch"]) + 1
        log.info("best on val: epoch %d, AP %.4f", self.trained_epochs, stored["bassl"]["val"]["AP"])

    on_test_epoch_start = on_validation_epoch_start
    test_step = validation_step
    on_test_epoch_end = on_validation_epoch_end

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Adam with cosine decay per step; weight decay spares biases."""
        groups = parameter_groups(self, self._optimizer.weight_decay)
        kind = torch.optim.Adam if self._optimizer.name == "adam" else torch.optim.AdamW
        is_scaled = getattr(self.trainer.precision_plugin, "scaler", None) is not None
        fused = not (is_scaled and self.trainer.gradient_clip_val)  # fused it unscales too late for clipping
        optimizer = kind(groups, lr=self._lr, fused=fused)
        total = int(self.trainer.estimated_stepping_batches)
        scheduler = warmup_cosine(optimizer, total, int(total * self._optimizer.scheduler.warmup))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add the frozen encoder, so that the file is a whole model, and the metadata."""
        self._guard.flush()
        for encoder in self._encoder:
            checkpoint["state_dict"] |= {f"shot_encoder.{name}": value for name, value in encoder.state_dict().items()}
        checkpoint["bassl"] = self.metadata

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remove the encoder again, and set the position of the data."""
        for name in [name for name in checkpoint["state_dict"] if name.startswith("shot_encoder.")]:
            del checkpoint["state_dict"][name]
        self.trained_epochs = int(checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"])
        restore_position(checkpoint, self.trainer.datamodule)  # type: ignore[attr-defined]


def windows_at_a_time(device: torch.device) -> int:
    """Return the windows whose activations are in memory at once: all on a GPU, because of the scale of fp16."""
    return CPU_WINDOWS if device.type == "cpu" else ALL_WINDOWS


def on_device_if_it_fits(values: Tensor, device: torch.device) -> Tensor:
    """Move features to the GPU if they leave half of its free memory; otherwise batches are moved one by one."""
    if device.type != "cuda":
        return values
    free, _ = torch.cuda.mem_get_info(device)
    return values.to(device) if values.nbytes < free // 2 else values


def _joined(parts: list[Tensor], dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.cat(parts).to(device) if parts else torch.empty(0, dtype=dtype, device=device)

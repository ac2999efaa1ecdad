"""Extraction of shot features, from its plan: the frozen shot encoder over every shot of every film."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from bassl.config.plan import ExtractPlan
from bassl.dataset.annotation import Annotations, read_annotations
from bassl.dataset.datamodule import fingerprint, loader, usable_workers
from bassl.dataset.features import FeatureWriter
from bassl.dataset.keyframes import NUM_KEYFRAMES, Keyframes, open_keyframes
from bassl.dataset.movienet import FilmChunk, FilmChunks
from bassl.dataset.sampler import balanced_shares
from bassl.dataset.shot_files import read_known_shot_frames
from bassl.dataset.transform import normalize
from bassl.distributed import is_rank_zero, rank, world_size
from bassl.model.checkpoint import Checkpoint, log_unused_keys, read_checkpoint
from bassl.model.loading import load_encoder, load_encoder_into
from bassl.model.shot_encoder import for_inference, mean_over_keyframes
from bassl.training.launching import EndTogether, settle_port
from bassl.training.preemption import take_signals_from_lightning
from bassl.training.records import record_run
from bassl.training.trainer import Device, choose_device, set_up_logging

log = logging.getLogger(__name__)
PATIENCE = timedelta(days=30)
"""How long a process waits for the others at the end: after a resume, or on unequal GPUs, they are hours apart.

Nobody waits that long for a process that died: `EndTogether`, torchrun and SLURM end the others.
"""


def extract(plan: ExtractPlan, config: Mapping[str, Any], encoder: Callable[[], nn.Module] | None = None) -> None:
    """Extract the films of a split into the plan's feature store; films that are there already are left alone.

    config: what is written beside the features where a film is extracted. encoder: makes the encoder that the
    checkpoint's weights are for, where it is none of ours.
    """
    set_up_logging()
    device = choose_device(plan.compute, half=True)
    checkpoint = read_checkpoint(plan.checkpoint)
    network: Any = load_encoder(checkpoint) if encoder is None else load_encoder_into(encoder(), checkpoint)
    warn_of_other_pictures(plan, checkpoint)
    log_unused_keys(checkpoint)
    annotations = films_to_extract(plan)
    keyframes = open_keyframes(
        plan.data.keyframes,
        annotations,
        strict=plan.data.strict,
        max_fraction=plan.data.max_faulty_share,
        list_file=None if plan.dry_run else plan.features / "broken_keyframes.txt",
    )
    writer = FeatureWriter(plan.features, network.feature_dim, plan.dtype, identity(plan, checkpoint, device))
    settle_port(plan.compute.num_processes, plan.compute.num_nodes)
    trainer = pl.Trainer(
        accelerator="gpu" if device.kind == "cuda" else "cpu",
        devices=plan.compute.num_processes,
        num_nodes=plan.compute.num_nodes,
        strategy=DDPStrategy(timeout=PATIENCE) if plan.compute.world_size > 1 else "auto",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        use_distributed_sampler=False,
        benchmark=device.kind == "cuda",
        limit_predict_batches=1 if plan.dry_run else None,
        callbacks=[EndTogether()],
    )
    take_signals_from_lightning(trainer)
    module = Extractor(for_inference(network, device.dtype), None if plan.dry_run else writer, plan.progress_bar)
    chunk_size = max(1, plan.compute.batch_size // NUM_KEYFRAMES)
    data = ExtractData(keyframes, writer, chunk_size, plan, pin_memory=device.kind == "cuda")
    try:
        if trainer.is_global_zero and not plan.dry_run:
            writer.begin()
            if not all(map(writer.has, annotations.films, annotations.num_shots.tolist())):
                record_run(plan.features, config, None, fingerprint(plan.data.annotations, [plan.split], keyframes))
        trainer.predict(module, datamodule=data, return_predictions=False)
        trainer.strategy.barrier()
        if trainer.is_global_zero and not plan.dry_run:
            writer.finish(dict(zip(annotations.films, annotations.num_shots.tolist(), strict=True)))
    finally:
        writer.close()
    if plan.dry_run:
        log.info("dry run: one batch worked; nothing was written")
    else:
        if trainer.is_global_zero:
            keyframes.corrupt.report()
        log.info(
            "features of %d films (%d shots): %s", len(annotations.films), annotations.num_shots.sum(), plan.features
        )


def films_to_extract(plan: ExtractPlan) -> Annotations:
    """The split's films with their lengths, which shot files know best."""
    annotations = read_annotations(plan.data.annotations / f"anno.{plan.split}.ndjson")
    frames = read_known_shot_frames(plan.shots, annotations.films)
    return annotations.with_num_shots({name: len(shots) for name, shots in frames.items()}, str(plan.shots))


def warn_of_other_pictures(plan: ExtractPlan, checkpoint: Checkpoint) -> None:
    """Say where key-frames are resized or cropped otherwise than for the checkpoint, if it knows our keys."""
    config = checkpoint.metadata.get("bassl", {}).get("config") or checkpoint.config or {}
    transform = config.get("TRANSFORM")
    test = transform.get("test") if isinstance(transform, dict) else None
    size = plan.test_transform
    if not isinstance(test, dict) or None in (test.get("resize"), test.get("crop")):
        return
    if (test["resize"], test["crop"]) != (size.resize, size.crop):
        log.warning(
            "key-frames are resized to %d and cropped to %d pixels, those of %s were to %s and %s; for the same, set "
            "config.TRANSFORM.test.resize=%s config.TRANSFORM.test.crop=%s",
            size.resize, size.crop, checkpoint.path, test["resize"], test["crop"], test["resize"], test["crop"],
        )  # fmt: skip


def identity(plan: ExtractPlan, checkpoint: Checkpoint, device: Device) -> dict[str, Any]:
    """What decides the numbers of a feature store."""
    name = checkpoint.path.parent.name if checkpoint.path.suffix else checkpoint.path.name
    return {
        "model": {"name": name, "sha256": checkpoint.sha256},
        "transform": {"resize": plan.test_transform.resize, "crop": plan.test_transform.crop},
        "precision": device.precision,
    }


class ExtractData(pl.LightningDataModule):
    """This rank's films that are not written yet, in chunks. Shares depend on the films alone, not on what is done."""

    def __init__(
        self, keyframes: Keyframes, writer: FeatureWriter, chunk_size: int, plan: ExtractPlan, pin_memory: bool
    ) -> None:
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True  # fewer films than ranks
        self.keyframes, self.writer, self.chunk_size, self.plan = keyframes, writer, chunk_size, plan
        self._pin_memory = pin_memory

    def predict_dataloader(self) -> DataLoader[Any]:
        """The chunks, in order."""
        notes, size = self.keyframes.annotations, self.plan.test_transform
        mine = balanced_shares(notes.num_shots, world_size())[rank()]
        if not self.plan.dry_run:
            done = [film for film in mine if self.writer.has(notes.films[film], int(notes.num_shots[film]))]
            if done:
                log.info("%d of %d films are extracted already", len(done), len(mine))
            mine = [film for film in mine if film not in set(done)]
        chunks = FilmChunks(
            self.keyframes, mine, chunk_size=self.chunk_size, resize=size.resize, crop=size.crop, all_shots=True
        )
        compute = self.plan.compute
        workers = usable_workers(compute.num_workers, compute.num_processes)
        return loader(chunks, workers, pin_memory=self._pin_memory, batch_size=None)


class Extractor(pl.LightningModule):
    """Mean over key-frames through the encoder; a film is written when its last chunk is through."""

    def __init__(self, encoder: nn.Module, writer: FeatureWriter | None, progress_bar: bool) -> None:
        super().__init__()
        self.encoder, self._writer, self._show = encoder, writer, progress_bar
        self._film: list[Tensor] = []
        self._bar: tqdm[Any] | None = None

    def on_predict_start(self) -> None:
        """Open the progress bar."""
        chunks: FilmChunks = self.trainer.predict_dataloaders.dataset  # type: ignore[union-attr]
        self._names = chunks.annotations.films
        self._bar = tqdm(
            total=chunks.num_shots, desc="extracting", unit="shot", disable=not (self._show and is_rank_zero())
        )

    @torch.inference_mode()
    def predict_step(self, batch: FilmChunk, batch_idx: int) -> int:
        """Encode one chunk of a film; returns its number of shots."""
        images = normalize(batch.keyframes.flatten(0, 1)).unflatten(0, batch.keyframes.shape[:2])
        self._film.append(mean_over_keyframes(self.encoder, images).float().cpu())
        assert self._bar is not None
        self._bar.update(len(batch.shots))
        if batch.is_last:
            features = torch.cat(self._film).numpy()
            self._film = []
            if not np.isfinite(features).all():
                log.warning(
                    "features of %s hold NaN or infinity; the checkpoint may have diverged", self._names[batch.film]
                )
            if self._writer is not None:
                self._writer.write(self._names[batch.film], features)
        return len(batch.shots)

    def on_predict_end(self) -> None:
        """Close the progress bar."""
        if self._bar is not None:
            self._bar.close()

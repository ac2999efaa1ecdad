"""Extract shot features: run the frozen shot encoder over every shot of every film."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict
from datetime import timedelta
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor, nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from bassl.config.batches import eval_batch_size, num_processes
from bassl.config.paths import data_paths, fault_options, feature_folder, pretrained_checkpoint
from bassl.config.schema import Extract
from bassl.console import setup_logging
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
from bassl.training.device import Device, choose_device
from bassl.training.preemption import disable_lightning_signals
from bassl.training.run_folder import record_run
from bassl.training.trainer import StopTogether

log = logging.getLogger(__name__)
PATIENCE = timedelta(days=30)
"""Limit for waiting on the other processes: after a resume, or on unequal GPUs, they finish hours apart.

A process that died is noticed earlier: `StopTogether`, torchrun and SLURM end the others.
"""


def extract(config: Extract, encoder: Callable[[], nn.Module] | None = None) -> None:
    """Extract the films of a split into the feature store; films that are stored already are skipped.

    Args:
        encoder: Makes the custom encoder that the checkpoint's weights are for; None: a ResNet of ours.
    """
    # 1. The encoder with its weights, and the films.
    setup_logging()
    device = choose_device(config, half=True)
    source, folder = pretrained_checkpoint(config), feature_folder(config)
    assert source is not None and folder is not None, "LOAD_FROM is required"
    checkpoint = read_checkpoint(source)
    network: Any = load_encoder(checkpoint) if encoder is None else load_encoder_into(encoder(), checkpoint)
    warn_of_other_transform(config, checkpoint)
    log_unused_keys(checkpoint)
    annotations = films_to_extract(config)
    keyframes = open_keyframes(
        data_paths(config).keyframes, annotations, **fault_options(config, None if config.DRY_RUN else folder)
    )
    writer = FeatureWriter(folder, network.feature_dim, config.FEATURE_DTYPE, identity(config, checkpoint, device))

    # 2. The trainer shares the films out over the processes.
    trainer = pl.Trainer(
        accelerator="gpu" if device.kind == "cuda" else "cpu",
        devices=config.DISTRIBUTED.NUM_PROC_PER_NODE,
        num_nodes=config.DISTRIBUTED.NUM_NODES,
        strategy=DDPStrategy(timeout=PATIENCE) if num_processes(config) > 1 else "auto",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        use_distributed_sampler=False,
        benchmark=device.kind == "cuda",
        limit_predict_batches=1 if config.DRY_RUN else None,
        callbacks=[StopTogether()],
    )
    disable_lightning_signals(trainer)
    module = Extractor(
        for_inference(network, device.dtype), None if config.DRY_RUN else writer, config.TRAINER.progress_bar
    )
    data = ExtractData(config, keyframes, writer, pin_memory=device.kind == "cuda")

    # 3. One file per film, then the index.
    try:
        if trainer.is_global_zero and not config.DRY_RUN:
            writer.begin()
            if not all(map(writer.has, annotations.films, annotations.num_shots.tolist())):
                read = fingerprint(data_paths(config).annotations, [config.SPLIT], keyframes)
                record_run(folder, asdict(config), None, read)
        trainer.predict(module, datamodule=data, return_predictions=False)
        trainer.strategy.barrier()
        if trainer.is_global_zero and not config.DRY_RUN:
            writer.finish(dict(zip(annotations.films, annotations.num_shots.tolist(), strict=True)))
    finally:
        writer.close()
    if config.DRY_RUN:
        log.info("dry run: one batch worked; nothing was written")
        return
    if trainer.is_global_zero:
        keyframes.corrupt.report()
    log.info("features of %d films (%d shots): %s", len(annotations.films), annotations.num_shots.sum(), folder)


def films_to_extract(config: Extract) -> Annotations:
    """Return the films of the split, with the numbers of shots of the shot files if there are any."""
    paths = data_paths(config)
    annotations = read_annotations(paths.annotations / f"anno.{config.SPLIT}.ndjson")
    frames = read_known_shot_frames(paths.shots, annotations.films)
    return annotations.with_num_shots({name: len(shots) for name, shots in frames.items()}, str(paths.shots))


def warn_of_other_transform(config: Extract, checkpoint: Checkpoint) -> None:
    """Warn if key-frames are resized or cropped differently from pre-training, if the checkpoint records it."""
    trained, test = checkpoint.test_transform, config.TRANSFORM.test
    if trained is not None and trained != (test.resize, test.crop):
        log.warning(
            "key-frames are resized to %d and cropped to %d pixels, those of %s were to %s and %s; for the same, set "
            "config.TRANSFORM.test.resize=%s config.TRANSFORM.test.crop=%s",
            test.resize, test.crop, checkpoint.path, *trained, *trained,
        )  # fmt: skip


def identity(config: Extract, checkpoint: Checkpoint, device: Device) -> dict[str, Any]:
    """Return everything that decides the features; the writer refuses a store with another identity."""
    name = checkpoint.path.parent.name if checkpoint.path.suffix else checkpoint.path.name
    return {
        "model": {"name": name, "sha256": checkpoint.sha256},
        "transform": {"resize": config.TRANSFORM.test.resize, "crop": config.TRANSFORM.test.crop},
        "precision": device.precision,
    }


class ExtractData(pl.LightningDataModule):
    """Chunks of the films of this rank that are not stored yet; shares depend on the films alone."""

    def __init__(self, config: Extract, keyframes: Keyframes, writer: FeatureWriter, *, pin_memory: bool) -> None:
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True  # fewer films than ranks
        self.config, self.keyframes, self.writer, self._pin_memory = config, keyframes, writer, pin_memory

    def predict_dataloader(self) -> DataLoader[Any]:
        """Return the chunks, in order."""
        annotations, test = self.keyframes.annotations, self.config.TRANSFORM.test
        films = balanced_shares(annotations.num_shots, world_size())[rank()]
        if not self.config.DRY_RUN:
            stored = {
                film for film in films if self.writer.has(annotations.films[film], int(annotations.num_shots[film]))
            }
            if stored:
                log.info("%d of %d films are extracted already", len(stored), len(films))
            films = [film for film in films if film not in stored]
        chunks = FilmChunks(
            self.keyframes,
            films,
            chunk_size=max(1, eval_batch_size(self.config) // NUM_KEYFRAMES),
            resize=test.resize,
            crop=test.crop,
            all_shots=True,
        )
        workers = usable_workers(self.config.TRAIN.NUM_WORKERS, self.config.DISTRIBUTED.NUM_PROC_PER_NODE)
        return loader(chunks, workers, pin_memory=self._pin_memory, batch_size=None)


class Extractor(pl.LightningModule):
    """Encode shots as the mean over their key-frames, and write film by film."""

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
        """Encode one chunk of a film and return its number of shots; write the film after its last chunk."""
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

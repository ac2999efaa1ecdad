"""Lightning data modules: which rows a rank reads, in which order, with how many workers."""

from __future__ import annotations

import logging
import os
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl
from torch.utils.data import DataLoader, Dataset, default_collate

from bassl.dataset.keyframes import Keyframes
from bassl.dataset.movienet import FilmChunks, LabelledWindows, PretrainShots, RawWindows, collate_pretrain
from bassl.dataset.sampler import EpochSampler, balanced_shares, share
from bassl.distributed import rank, world_size
from bassl.errors import InputError
from bassl.files import sha256_of

if TYPE_CHECKING:
    from bassl.dataset.features import FeatureStore

log = logging.getLogger(__name__)
WORKER_GRACE = 60  # seconds for which a data worker survives a SIGTERM
USABLE_MEMORY = 0.75  # fraction that batches may take: key-frames are read through the page cache
MEMORY_LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


@dataclass(frozen=True)
class LoaderSpec:
    """How the batches of a run are loaded.

    Attributes:
        batch_size: rows per process and micro-batch.
        eval_batch_size: rows per process in an evaluation.
        num_processes: of the whole run.
        local_processes: that share this machine.
        accumulate: micro-batches of an optimiser step.
        num_workers: data workers per process.
        pin_memory: for a GPU.
    """

    batch_size: int
    eval_batch_size: int = 1
    num_processes: int = 1
    local_processes: int = 1
    accumulate: int = 1
    num_workers: int = 0
    pin_memory: bool = False


class TrainingData(pl.LightningDataModule):
    """A training set, drawn by an EpochSampler, that can resume within an epoch. None: there is nothing to train.

    Attributes:
        effective_batch: rows of an optimiser step over all processes.
        num_steps: optimiser steps of an epoch.
        accumulate: micro-batches of a step; a trainer's own number takes precedence.

    Raises InputError if a step needs more rows than there are.
    """

    def __init__(self, train: Dataset[Any] | None, spec: LoaderSpec, *, seed: int) -> None:
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True  # fewer films than ranks
        self.train_set, self.spec, self._seed, self._position = train, spec, seed, (0, 0)
        self.num_workers, self.accumulate = spec.num_workers, spec.accumulate
        self.effective_batch, self.num_steps = spec.batch_size * spec.num_processes * spec.accumulate, 0
        if train is not None:
            sampler = self._sampler(0, spec.num_processes, spec.accumulate)
            self.num_steps = sampler.num_batches // spec.accumulate

    def resume_at(self, epoch: int, batch: int) -> None:
        """Start in the middle of an epoch, after its first `batch` batches."""
        self._position = (epoch, batch)

    def train_dataloader(self) -> DataLoader[Any]:
        """Return this rank's training batches."""
        assert self.train_set is not None
        accumulate = self.trainer.accumulate_grad_batches if self.trainer else self.accumulate
        sampler = self._sampler(rank(), world_size(), accumulate)
        sampler.set_epoch(self._position[0])
        sampler.skip_batches(self._position[1])
        return self._loader(self.train_set, sampler=sampler, batch_size=self.spec.batch_size, drop_last=True)

    def _sampler(self, rank: int, num_processes: int, accumulate: int) -> EpochSampler:
        num_rows = len(self.train_set)  # type: ignore[arg-type]
        return EpochSampler(num_rows, self.spec.batch_size, rank, num_processes, self._seed, accumulate)

    def _loader(self, data: Dataset[Any], **options: Any) -> DataLoader[Any]:
        return loader(data, self.num_workers, pin_memory=self.spec.pin_memory, **options)

    def teardown(self, stage: str) -> None:
        """Report corrupt key-frames at the end of training."""
        if stage == "fit" and rank() == 0 and isinstance(self.train_set, (PretrainShots, RawWindows)):
            self.train_set.keyframes.corrupt.report()


class PretrainData(TrainingData):
    """Pre-training samples, and whole films in chunks for k-NN validation.

    validation: key-frames of the films that are validated on; None for no validation.
    chunks: chunk_size, resize and crop of their `FilmChunks`.
    """

    def __init__(
        self,
        train: PretrainShots,
        spec: LoaderSpec,
        *,
        seed: int,
        validation: Keyframes | None = None,
        chunks: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(train, spec, seed=seed)
        self.train_set: PretrainShots = train
        self._validation, self._chunks = validation, dict(chunks or {})

    def val_dataloader(self) -> Any:
        """Return this rank's films, in chunks."""
        if self._validation is None:
            return []
        annotations = self._validation.annotations
        num_rows = np.bincount(annotations.film, minlength=len(annotations.films))
        films = balanced_shares(num_rows, world_size())[rank()]
        chunks = FilmChunks(self._validation, films, never_empty=True, **self._chunks)
        return self._loader(chunks, batch_size=None)


class FinetuneData(TrainingData):
    """Labelled windows, and evaluation sets that are shared out without padding, so that no shot is counted twice.

    Features need no workers. Workers that load key-frames are limited to the batches that fit into memory. Raises
    InputError if not even one batch fits.
    """

    def __init__(
        self,
        train: LabelledWindows | RawWindows | None,
        evaluations: Sequence[LabelledWindows | RawWindows],
        spec: LoaderSpec,
        *,
        seed: int,
    ) -> None:
        workers = spec.num_workers if any(isinstance(data, RawWindows) for data in evaluations) else 0
        for data in (train, *evaluations):
            if isinstance(data, RawWindows):
                workers = min(workers, _workers_that_fit(data, replace(spec, num_workers=workers), data is train))
        super().__init__(train, replace(spec, num_workers=workers), seed=seed)
        self._evaluations = evaluations

    def val_dataloader(self) -> list[DataLoader[Any]]:
        """Return this rank's part of each evaluation set."""
        size = self.spec.eval_batch_size
        return [
            self._loader(data, sampler=share(len(data), rank(), world_size()), batch_size=size)
            for data in self._evaluations
        ]

    def test_dataloader(self) -> list[DataLoader[Any]]:
        """Return the same sets, for an evaluation alone."""
        return self.val_dataloader()


def _workers_that_fit(windows: RawWindows, spec: LoaderSpec, is_training: bool) -> int:
    """Return the data workers whose batches of key-frames fit into memory; warn if these are fewer than asked for."""
    # 1. the largest batch: an evaluation reads neighbouring rows, which share their shots
    batch_size = spec.batch_size if is_training else spec.eval_batch_size
    batch_bytes = windows.max_shots(batch_size, in_order=not is_training) * windows.shot_bytes
    # 2. one batch per worker beside the one in use; workers hand theirs over through /dev/shm
    memory = int(machine_memory() * USABLE_MEMORY) // spec.local_processes
    num_fitting = memory // batch_bytes - 1
    if num_fitting < 0:
        parts = spec.num_processes * (spec.accumulate if is_training else 1)
        raise InputError(
            f"a batch of {batch_size} windows of key-frames takes {batch_bytes} bytes, and memory has {memory} for the "
            f"batches of a process; set config.{'TRAIN' if is_training else 'TEST'}.BATCH_SIZE.effective_batch_size="
            f"{max(1, memory * batch_size // batch_bytes) * parts}, or leave config.USE_RAW_SHOT out and extract "
            "features"
        )
    shared = shared_memory()
    num_shared = spec.num_workers if shared is None else shared // spec.local_processes // batch_bytes
    workers = min(spec.num_workers, num_fitting, num_shared)
    if workers < spec.num_workers:
        log.warning(
            "%d of %d data workers are used: each holds a batch of %.1f GB, and memory (or /dev/shm) fits no more",
            workers, spec.num_workers, batch_bytes / 1e9,
        )  # fmt: skip
    return workers


def machine_memory() -> int:
    """Return the bytes of memory of this machine, or of the container that the process runs in."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [path.read_text().strip() for path in MEMORY_LIMITS if path.is_file()]
    return min([memory, *(int(limit) for limit in limits if limit.isdigit())])


def shared_memory() -> int | None:
    """Return the free bytes of /dev/shm; None if there is none."""
    return shutil.disk_usage("/dev/shm").free if Path("/dev/shm").is_dir() else None


def usable_workers(num_workers: int, num_processes: int) -> int:
    """Limit data workers of a process to its part of the cores, which `num_processes` of this machine share."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(num_workers, max(1, cores // num_processes))


def loader(data: Dataset[Any], num_workers: int, **options: Any) -> DataLoader[Any]:
    """Return a DataLoader over one of our datasets, with the collation that it needs."""
    if isinstance(data, RawWindows):  # a batch may take gigabytes
        options |= {"pin_memory": False} | ({"prefetch_factor": 1} if num_workers else {})
    collate: Callable[[Any], Any] = default_collate
    if isinstance(data, PretrainShots):
        collate = collate_pretrain
    elif hasattr(data, "__getitems__") or options["batch_size"] is None:
        collate = _identity
    return DataLoader(
        data,
        num_workers=num_workers,
        collate_fn=collate,
        persistent_workers=num_workers > 0,
        worker_init_fn=_ignore_signals if num_workers else None,
        **options,
    )


def _ignore_signals(_worker: int) -> None:
    """Leave signals to the training process: SLURM and Ctrl-C send them to data workers as well.

    A worker that ended by one would end the run before it has saved itself.
    """
    if not hasattr(signal, "alarm"):  # Windows
        return
    for number in (signal.SIGUSR1, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda _number, _frame: signal.alarm(WORKER_GRACE))


def _identity(batch: Any) -> Any:
    return batch


def fingerprint(
    annotations: Path, splits: Sequence[str], keyframes: Keyframes | None = None, store: FeatureStore | None = None
) -> dict[str, Any]:
    """Identify the data of a run for its `environment.json`, so that another release or a changed label shows.

    Args:
        annotations: folder; the SHA-256 of `anno.<split>.ndjson` in it is taken for each split.
        splits: names of the splits that the run reads.
        keyframes: identified by the first key-frame of each film; hashing millions of files would take hours.
        store: identified by its index, which names the model that made it.
    """
    names = sorted({f"anno.{split}.ndjson" for split in splits})
    result: dict[str, Any] = {"annotations": str(annotations)}
    result["sha256"] = {name: sha256_of(annotations / name) for name in names}
    if keyframes is not None:
        result["keyframes"] = {"folder": str(keyframes.root), "first_of_films_sha256": keyframes.first_hash()}
    if store is not None:
        index = store.folder / "index.json"
        result["features"] = {"folder": str(store.folder), "sha256": sha256_of(index) if index.is_file() else None}
    return result

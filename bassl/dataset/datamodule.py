"""Lightning data modules: which rows a rank reads, in which order, with how many workers."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Callable
from typing import Any

import numpy as np
import pytorch_lightning as pl
from torch.utils.data import DataLoader, Dataset, default_collate

from bassl.dataset.annotation import Annotations
from bassl.dataset.memory import USABLE, machine_memory, workers_that_fit
from bassl.dataset.movienet import FilmChunks, LabelledWindows, PretrainShots, RawWindows, collate_pretrain
from bassl.dataset.sampler import EpochSampler, balanced_shares, share
from bassl.distributed import rank, world_size
from bassl.errors import InputError

log = logging.getLogger(__name__)
WORKER_GRACE = 60  # seconds that a data worker goes on after a SIGTERM


class TrainingData(pl.LightningDataModule):
    """A training set, and for each evaluation a set of rows; knows where a resumed run has to go on.

    train: rows drawn by an EpochSampler. batch_size is per process. drop_last is always on, as in the reference.
    seed decides the order. accumulate: batches of an optimiser step, which a trainer knows better. pin_memory: for a
    GPU. effective_batch: samples of a step over all `num_processes`; num_steps: steps of an epoch. train None: there
    are evaluations only. Raises InputError where such a batch is larger than the data.
    """

    def __init__(
        self,
        train: Dataset[Any] | None,
        num_rows: int,
        batch_size: int,
        seed: int,
        num_workers: int,
        num_processes: int = 1,
        accumulate: int = 1,
        pin_memory: bool = False,
    ) -> None:
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True  # fewer films than ranks
        self.train_set, self._num_rows, self._batch_size, self._seed = train, num_rows, batch_size, seed
        self.num_workers, self.accumulate, self._pin_memory = num_workers, accumulate, pin_memory
        self._position = (0, 0)
        self.effective_batch, self.num_steps = batch_size * num_processes * accumulate, 0
        if train is not None:
            sampler = EpochSampler(num_rows, batch_size, 0, num_processes, seed, accumulate)  # refuses what cannot work
            self.num_steps = sampler.num_batches // accumulate

    def resume_at(self, epoch: int, batch: int) -> None:
        """Go on in the middle of an epoch, after its first `batch` batches."""
        self._position = (epoch, batch)

    def train_dataloader(self) -> DataLoader[Any]:
        """This rank's training batches."""
        assert self.train_set is not None
        accumulate = self.trainer.accumulate_grad_batches if self.trainer else self.accumulate
        sampler = EpochSampler(self._num_rows, self._batch_size, rank(), world_size(), self._seed, accumulate)
        sampler.set_epoch(self._position[0])
        sampler.skip_batches(self._position[1])
        return self._loader(self.train_set, sampler=sampler, batch_size=self._batch_size, drop_last=True)

    def _loader(self, data: Dataset[Any], **options: Any) -> DataLoader[Any]:
        return loader(data, self.num_workers, pin_memory=self._pin_memory, **options)

    def teardown(self, stage: str) -> None:
        """Say at the end of training which key-frames were broken."""
        if stage == "fit" and rank() == 0 and isinstance(self.train_set, (PretrainShots, RawWindows)):
            self.train_set.keyframes.faults.report()


class PretrainData(TrainingData):
    """Pre-training samples, and the chunks of whole films that k-NN validation reads (None: no validation)."""

    def __init__(
        self,
        train: PretrainShots,
        batch_size: int,
        seed: int,
        num_workers: int,
        validation: Annotations | None = None,
        num_processes: int = 1,
        accumulate: int = 1,
        pin_memory: bool = False,
        **chunks: Any,
    ) -> None:
        super().__init__(train, len(train), batch_size, seed, num_workers, num_processes, accumulate, pin_memory)
        self.train_set: PretrainShots = train
        self._validation, self._chunks = validation, chunks

    def val_dataloader(self) -> Any:
        """This rank's films, in chunks."""
        if self._validation is None:
            return []
        films = film_shares(self._validation)[rank()]
        chunks = FilmChunks(self._validation, films=films, never_empty=True, **self._chunks)
        return self._loader(chunks, batch_size=None)


class FinetuneData(TrainingData):
    """Labelled windows; each named evaluation set is shared out without padding, so no shot is counted twice.

    Features need no workers. Of key-frames no more batches are on their way than memory holds; raises InputError where
    it does not hold one. processes_here: those that share this machine.
    """

    def __init__(
        self,
        train: LabelledWindows | RawWindows | None,
        evaluations: list[LabelledWindows | RawWindows],
        batch_size: int,
        eval_batch_size: int,
        seed: int,
        num_workers: int,
        num_processes: int = 1,
        accumulate: int = 1,
        processes_here: int = 1,
        pin_memory: bool = False,
    ) -> None:
        workers = num_workers if any(isinstance(data, RawWindows) for data in evaluations) else 0
        if isinstance(train, RawWindows):
            workers = raw_workers(train, batch_size, workers, num_processes * accumulate, processes_here)
        for data in evaluations:
            if isinstance(data, RawWindows):
                workers = raw_workers(data, eval_batch_size, workers, num_processes, processes_here, in_order=True)
        num_rows = len(train) if train is not None else 0
        super().__init__(train, num_rows, batch_size, seed, workers, num_processes, accumulate, pin_memory)
        self._evaluations, self._eval_batch_size = evaluations, eval_batch_size

    def val_dataloader(self) -> list[DataLoader[Any]]:
        """This rank's part of each evaluation set."""
        return [
            self._loader(data, sampler=share(len(data), rank(), world_size()), batch_size=self._eval_batch_size)
            for data in self._evaluations
        ]

    def test_dataloader(self) -> list[DataLoader[Any]]:
        """The same sets, for evaluation alone."""
        return self.val_dataloader()


def film_shares(annotations: Annotations) -> list[list[int]]:
    """Films of each rank, as many rows on one as on another where possible."""
    return balanced_shares(np.bincount(annotations.film, minlength=len(annotations.films)), world_size())


def raw_workers(
    windows: RawWindows, batch_size: int, asked: int, parts: int, processes_here: int, in_order: bool = False
) -> int:
    """Data workers for batches of key-frames; fewer than asked for, with a warning, where memory holds no more.

    parts: processes and accumulated micro-batches that share the effective batch. in_order: an evaluation, which reads
    neighbouring rows. Raises InputError where a batch does not fit.
    """
    batch_bytes = windows.most_shots(batch_size, in_order) * windows.shot_bytes
    workers = workers_that_fit(asked, batch_bytes, processes_here)
    if workers < 0:
        memory = int(machine_memory() * USABLE) // processes_here
        fitting = max(1, memory * batch_size // batch_bytes) * parts
        raise InputError(
            f"a batch of {batch_size} windows of key-frames takes {batch_bytes} bytes, and memory has {memory} for the "
            f"batches of a process; set config.{'TEST' if in_order else 'TRAIN'}.BATCH_SIZE.effective_batch_size="
            f"{fitting}, or leave config.USE_RAW_SHOT out and extract features"
        )
    if workers < asked:
        log.warning(
            "%d of %d data workers: each holds a batch of %.1f GB, and memory (or /dev/shm) has room for no more",
            workers, asked, batch_bytes / 1e9,
        )  # fmt: skip
    return workers


def usable_workers(asked: int, num_processes: int) -> int:
    """Data workers of a process that there are cores for, where `num_processes` of this machine share them."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(asked, max(1, cores // num_processes))


def loader(data: Dataset[Any], num_workers: int, **options: Any) -> DataLoader[Any]:
    """A DataLoader over one of our datasets, with the collation that it needs."""
    collate: Callable[[Any], Any]
    is_large = isinstance(data, RawWindows)  # a batch may take gigabytes
    if is_large:
        options["pin_memory"] = False
    if is_large and num_workers:
        options["prefetch_factor"] = 1
    if isinstance(data, PretrainShots):
        collate = collate_pretrain
    else:
        collate = _as_it_is if hasattr(data, "__getitems__") or options["batch_size"] is None else default_collate
    return DataLoader(
        data,
        num_workers=num_workers,
        collate_fn=collate,
        persistent_workers=num_workers > 0,
        worker_init_fn=_outlive_signals if num_workers else None,
        **options,
    )


def _outlive_signals(_worker: int) -> None:
    """Leave signals to the process that trains: SLURM and a terminal's Ctrl-C send them to workers as well.

    A worker that they ended would end the run before it has saved itself.
    """
    for number in (signal.SIGUSR1, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda _number, _frame: signal.alarm(WORKER_GRACE))


def _as_it_is(batch: Any) -> Any:
    return batch

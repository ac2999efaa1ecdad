"""Which samples a process draws in an epoch: a pure function of seed, epoch and rank, so any run can be resumed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler

from bassl.errors import InputError


class SampleKey(NamedTuple):
    """A sample to draw: its row, and the epoch, which with the run's seed decides every random choice in it."""

    epoch: int
    row: int


class EpochSampler(Sampler[SampleKey]):
    """Shuffled training rows of one rank.

    Batch b of an epoch is the same set of rows for any number of ranks with the same effective batch: rank r takes
    the r-th share of it. The incomplete last batch is dropped, as in the reference, and with it the batches that would
    be fewer than the `accumulate` of an optimiser step. `skip_batches` leaves out the batches of the current epoch that
    a resumed run has already seen.
    """

    def __init__(
        self, num_rows: int, batch_size: int, rank: int, world_size: int, seed: int, accumulate: int = 1
    ) -> None:
        parts = world_size * accumulate
        if num_rows < batch_size * parts:
            largest = num_rows // parts * parts
            remedy = f"set config.TRAIN.BATCH_SIZE.effective_batch_size to {largest} or less"
            counted = "processes x micro-batches" if accumulate > 1 else "processes"
            raise InputError(
                f"a batch of {batch_size * parts} samples does not fit the {num_rows} samples there are; "
                + (remedy if largest else f"use {max(1, num_rows)} {counted} or fewer")
            )
        self.num_rows, self.batch_size, self.accumulate = num_rows, batch_size, accumulate
        self.rank, self.world_size, self.seed = rank, world_size, seed
        self.epoch, self._skip = 0, 0

    @property
    def num_batches(self) -> int:
        """Batches in an epoch, those of whole optimiser steps."""
        return self.num_rows // (self.batch_size * self.world_size * self.accumulate) * self.accumulate

    def __len__(self) -> int:
        return self.num_batches * self.batch_size

    def set_epoch(self, epoch: int) -> None:
        """Draw this epoch next (Lightning calls it)."""
        self.epoch = epoch

    def skip_batches(self, num_batches: int) -> None:
        """Leave out that many batches of the epoch that is drawn next."""
        self._skip = num_batches

    def __iter__(self) -> Iterator[SampleKey]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.num_rows)
        skip, self._skip = self._skip, 0
        whole = order[: self.num_batches * self.batch_size * self.world_size]
        mine = whole.reshape(self.num_batches, self.world_size, self.batch_size)[skip:, self.rank].reshape(-1)
        epoch = self.epoch
        return (SampleKey(epoch, int(row)) for row in mine)


def share(num_items: int, rank: int, world_size: int) -> range:
    """The items of one rank, each item once over all ranks, in order: no padding, so nothing is counted twice."""
    return range(num_items * rank // world_size, num_items * (rank + 1) // world_size)


def balanced_shares(sizes: np.ndarray, world_size: int) -> list[list[int]]:
    """Items dealt out to ranks so that the sums of their sizes are close: the largest first, to the emptiest rank."""
    shares: list[list[int]] = [[] for _ in range(world_size)]
    loads = np.zeros(world_size)
    for item in np.argsort(-sizes, kind="stable"):
        rank = int(loads.argmin())
        shares[rank].append(int(item))
        loads[rank] += sizes[item]
    return [sorted(items) for items in shares]

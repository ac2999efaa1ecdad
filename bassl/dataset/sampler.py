"""Order of the training rows: a pure function of seed, epoch and rank, so that any run can be resumed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler

from bassl.errors import InputError


class SampleKey(NamedTuple):
    """A training sample: its row and its epoch, which decide every random choice in it together with the seed."""

    epoch: int
    row: int


class EpochSampler(Sampler[SampleKey]):
    """Shuffle the training rows and return those of one rank.

    Batch b of an epoch holds the same rows for any number of ranks with the same effective batch: rank r takes its
    r-th part. As in the reference, the incomplete last batch is dropped. So are batches that do not fill the
    `accumulate` batches of an optimiser step. Raises InputError if one step needs more rows than there are.
    """

    def __init__(
        self, num_rows: int, batch_size: int, rank: int, world_size: int, seed: int, accumulate: int = 1
    ) -> None:
        parts = world_size * accumulate
        if num_rows < batch_size * parts:
            largest = num_rows // parts * parts
            remedy = f"set config.TRAIN.BATCH_SIZE.effective_batch_size to {largest} or less"
            kind = "processes x micro-batches" if accumulate > 1 else "processes"
            raise InputError(
                f"a batch of {batch_size * parts} samples does not fit the {num_rows} samples there are; "
                + (remedy if largest else f"use {max(1, num_rows)} {kind} or fewer")
            )
        self.num_rows, self.batch_size, self.accumulate = num_rows, batch_size, accumulate
        self.rank, self.world_size, self.seed = rank, world_size, seed
        self.epoch, self._skip = 0, 0

    @property
    def num_batches(self) -> int:
        """Batches of a rank in an epoch."""
        return self.num_rows // (self.batch_size * self.world_size * self.accumulate) * self.accumulate

    def __len__(self) -> int:
        return self.num_batches * self.batch_size

    def set_epoch(self, epoch: int) -> None:
        """Draw this epoch next; Lightning calls it."""
        self.epoch = epoch

    def skip_batches(self, num_batches: int) -> None:
        """Skip the first batches of the epoch that is drawn next, which a resumed run has already seen."""
        self._skip = num_batches

    def __iter__(self) -> Iterator[SampleKey]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.num_rows)
        skip, self._skip = self._skip, 0
        whole = order[: self.num_batches * self.batch_size * self.world_size]
        local_rows = whole.reshape(self.num_batches, self.world_size, self.batch_size)[skip:, self.rank].reshape(-1)
        epoch = self.epoch
        return (SampleKey(epoch, int(row)) for row in local_rows)


def share(num_items: int, rank: int, world_size: int) -> range:
    """Return the items of one rank, in order and without padding, so that no item is counted twice."""
    return range(num_items * rank // world_size, num_items * (rank + 1) // world_size)


def balanced_shares(sizes: np.ndarray, world_size: int) -> list[list[int]]:
    """Distribute items over ranks with similar total sizes: the largest first, each to the rank with the least."""
    shares: list[list[int]] = [[] for _ in range(world_size)]
    loads = np.zeros(world_size)
    for item in np.argsort(-sizes, kind="stable"):
        rank = int(loads.argmin())
        shares[rank].append(int(item))
        loads[rank] += sizes[item]
    return [sorted(items) for items in shares]

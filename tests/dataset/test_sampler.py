from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bassl.dataset.sampler import EpochSampler, balanced_shares, share
from bassl.errors import InputError

NUM_ROWS, EFFECTIVE, SEED = 100, 12, 3


def global_batches(world_size: int, epoch: int = 0, skip: int = 0) -> list[list[int]]:
    """Rows of each batch of all ranks, in rank order."""
    batch_size, parts = EFFECTIVE // world_size, []
    for rank in range(world_size):
        sampler = EpochSampler(NUM_ROWS, batch_size, rank, world_size, SEED)
        sampler.set_epoch(epoch)
        sampler.skip_batches(skip)
        keys = list(sampler)
        assert {key.epoch for key in keys} <= {epoch}
        parts.append(np.array([key.row for key in keys], dtype=int).reshape(-1, batch_size))
    return np.concatenate(parts, axis=1).tolist()


@pytest.mark.parametrize("world_size", [2, 3, 12])
def test_any_number_of_ranks_draws_the_batches_of_one_also_on_resuming(world_size: int) -> None:
    for epoch in range(3):
        assert global_batches(world_size, epoch) == global_batches(1, epoch)
        for skip in (1, 7, 8):
            assert global_batches(world_size, epoch, skip) == global_batches(1, epoch)[skip:]


def test_an_epoch_draws_each_row_once_and_drops_a_random_incomplete_batch() -> None:
    dropped = []
    for epoch in range(4):
        batches = global_batches(1, epoch)
        rows = {row for batch in batches for row in batch}
        assert (len(batches), len(rows)) == (8, 96)
        dropped.append(frozenset(range(NUM_ROWS)) - rows)
    assert [len(rows) for rows in dropped] == [4] * 4
    assert len(set(dropped)) == 4
    assert len({tuple(EpochSampler(NUM_ROWS, EFFECTIVE, 0, 1, seed)) for seed in (0, 1, 2**32 - 1)}) == 3


def test_only_the_resumed_epoch_is_shortened() -> None:
    sampler = EpochSampler(NUM_ROWS, EFFECTIVE, 0, 1, SEED)
    sampler.skip_batches(3)
    assert len(sampler) == 96
    assert [len(list(sampler)), len(list(sampler))] == [60, 96]


@pytest.mark.parametrize("world_size", [1, 2])
def test_an_epoch_has_whole_optimiser_steps(world_size: int) -> None:
    sampler = EpochSampler(95, 8 // world_size, 0, world_size, SEED, accumulate=2)
    plain = EpochSampler(95, 8 // world_size, 0, world_size, SEED)
    assert (sampler.num_batches, plain.num_batches) == (10, 11)  # five steps of 16, not a sixth of 8
    assert list(sampler) == list(plain)[: 10 * sampler.batch_size]


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        ((11, 12, 0, 1, 0), "a batch of 12 samples does not fit the 11 .*effective_batch_size to 11 or less"),
        ((11, 6, 0, 2, 0), "a batch of 12 samples .*effective_batch_size to 10 or less"),
        ((15, 8, 0, 1, 0, 2), "a batch of 16 samples .*effective_batch_size to 14 or less"),
        ((3, 1, 0, 8, 0), "use 3 processes or fewer"),
        ((3, 8, 0, 1, 0, 4), "use 3 processes x micro-batches or fewer"),
    ],
)
def test_a_step_larger_than_the_data_is_refused_with_one_that_fits(arguments: tuple[int, ...], remedy: str) -> None:
    with pytest.raises(InputError, match=remedy):
        EpochSampler(*arguments)


@given(st.integers(0, 60), st.integers(1, 9))
def test_shares_cover_each_item_once_and_in_order(num_items: int, world_size: int) -> None:
    parts = [share(num_items, rank, world_size) for rank in range(world_size)]
    assert [item for part in parts for item in part] == list(range(num_items))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(st.lists(st.integers(0, 500), max_size=40), st.integers(1, 9))
def test_balanced_shares_cover_each_item_once_and_differ_by_at_most_one_item(sizes: list[int], world_size: int) -> None:
    shares = balanced_shares(np.asarray(sizes, dtype=np.int64), world_size)
    assert sorted(item for items in shares for item in items) == list(range(len(sizes)))
    loads = [sum(sizes[item] for item in items) for items in shares]
    assert (len(loads), max(loads) - min(loads) <= max(sizes, default=0)) == (world_size, True)
    assert balanced_shares(np.array([10, 1, 9, 2]), 2) == [[0, 1], [2, 3]]

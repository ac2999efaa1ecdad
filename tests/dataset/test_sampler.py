from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bassl.dataset.sampler import EpochSampler, SampleKey, balanced_shares, share
from bassl.errors import InputError

NUM_ROWS, EFFECTIVE, SEED = 100, 12, 3


def global_batches(world_size: int, epoch: int = 0, skip: int = 0, num_rows: int = NUM_ROWS) -> list[list[int]]:
    """Rows of each batch of all ranks, in rank order."""
    batch_size, parts = EFFECTIVE // world_size, []
    for rank in range(world_size):
        sampler = EpochSampler(num_rows, batch_size, rank, world_size, SEED)
        sampler.set_epoch(epoch)
        sampler.skip_batches(skip)
        keys = list(sampler)
        assert {key.epoch for key in keys} <= {epoch}
        parts.append(np.array([key.row for key in keys], dtype=int).reshape(-1, batch_size))
    return np.concatenate(parts, axis=1).tolist()


@pytest.mark.parametrize("world_size", [2, 3, 12])
def test_any_number_of_ranks_draws_the_batches_of_one(world_size: int) -> None:
    for epoch in range(3):
        assert global_batches(world_size, epoch) == global_batches(1, epoch)


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_an_epoch_draws_each_row_once_and_drops_the_incomplete_batch(world_size: int) -> None:
    batches = global_batches(world_size)
    assert len(batches) == NUM_ROWS // EFFECTIVE == 8
    rows = [row for batch in batches for row in batch]
    assert len(rows) == len(set(rows)) == 96
    assert set(rows) <= set(range(NUM_ROWS))


def test_epochs_and_seeds_differ_and_repeat() -> None:
    assert global_batches(1, epoch=0) != global_batches(1, epoch=1)
    assert global_batches(1, epoch=1) == global_batches(1, epoch=1)
    orders = {tuple(EpochSampler(NUM_ROWS, EFFECTIVE, 0, 1, seed)) for seed in (0, 1, 2**32 - 1)}
    assert len(orders) == 3


def test_rows_are_left_out_at_random_and_not_always_the_same() -> None:
    dropped = [
        set(range(NUM_ROWS)) - {row for batch in global_batches(1, epoch) for row in batch} for epoch in range(4)
    ]
    assert [len(rows) for rows in dropped] == [4] * 4
    assert len({frozenset(rows) for rows in dropped}) == 4


@pytest.mark.parametrize("world_size", [1, 2, 3])
@pytest.mark.parametrize("skip", [0, 1, 7, 8])
def test_a_resumed_epoch_goes_on_where_it_was_left(world_size: int, skip: int) -> None:
    assert global_batches(world_size, epoch=5, skip=skip) == global_batches(world_size, epoch=5)[skip:]


def test_only_the_resumed_epoch_is_shortened() -> None:
    sampler = EpochSampler(NUM_ROWS, EFFECTIVE, 0, 1, SEED)
    sampler.skip_batches(3)
    assert [len(list(sampler)), len(list(sampler))] == [60, 96]


def test_its_length_is_that_of_a_whole_epoch() -> None:
    sampler = EpochSampler(NUM_ROWS, 6, 1, 2, SEED)
    assert (len(sampler), sampler.num_batches) == (48, 8)
    sampler.skip_batches(2)
    assert len(sampler) == 48


def test_an_epoch_that_has_begun_is_not_changed_by_the_next() -> None:
    sampler = EpochSampler(NUM_ROWS, EFFECTIVE, 0, 1, SEED)
    keys = iter(sampler)
    first = next(keys)
    sampler.set_epoch(1)
    assert [first, *keys] == list(EpochSampler(NUM_ROWS, EFFECTIVE, 0, 1, SEED))
    assert first == SampleKey(epoch=0, row=first.row)
    assert type(first.row) is int


@pytest.mark.parametrize("world_size", [1, 2])
def test_an_epoch_is_of_whole_optimiser_steps(world_size: int) -> None:
    sampler = EpochSampler(95, 8 // world_size, 0, world_size, SEED, accumulate=2)
    plain = EpochSampler(95, 8 // world_size, 0, world_size, SEED)
    assert (sampler.num_batches, plain.num_batches) == (10, 11)  # five steps of 16, not a sixth of 8
    whole = list(sampler)
    assert len(whole) == len(sampler) == 10 * sampler.batch_size
    assert whole == list(plain)[: len(whole)], "the batches that stay are those of before"
    sampler.skip_batches(4)
    assert list(sampler) == whole[4 * sampler.batch_size :]


@pytest.mark.parametrize(("num_rows", "accumulate", "said"), [
    (15, 2, "a batch of 16 samples does not fit the 15 samples there are; set "
            "config.TRAIN.BATCH_SIZE.effective_batch_size to 14 or less"),
    (3, 4, "a batch of 32 samples does not fit the 3 samples there are; use 3 processes x micro-batches or fewer"),
])  # fmt: skip
def test_a_step_larger_than_the_data_is_refused(num_rows: int, accumulate: int, said: str) -> None:
    with pytest.raises(InputError) as refusal:
        EpochSampler(num_rows, 8, 0, 1, SEED, accumulate)
    assert str(refusal.value) == said


@pytest.mark.parametrize(("num_rows", "batch_size", "world_size", "said"), [
    (11, 12, 1, "a batch of 12 samples does not fit the 11 samples there are; set "
                "config.TRAIN.BATCH_SIZE.effective_batch_size to 11 or less"),
    (11, 6, 2, "a batch of 12 samples does not fit the 11 samples there are; set "
               "config.TRAIN.BATCH_SIZE.effective_batch_size to 10 or less"),
    (3, 1, 8, "a batch of 8 samples does not fit the 3 samples there are; use 3 processes or fewer"),
])  # fmt: skip
def test_a_batch_larger_than_the_data_is_refused(num_rows: int, batch_size: int, world_size: int, said: str) -> None:
    with pytest.raises(InputError) as refusal:
        EpochSampler(num_rows, batch_size, 0, world_size, SEED)
    assert str(refusal.value) == said
    assert len(EpochSampler(12, 12, 0, 1, SEED)) == 12


@given(st.integers(0, 60), st.integers(1, 9))
def test_shares_cover_each_item_once_and_in_order(num_items: int, world_size: int) -> None:
    parts = [share(num_items, rank, world_size) for rank in range(world_size)]
    assert [item for part in parts for item in part] == list(range(num_items))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(st.lists(st.integers(0, 500), max_size=40), st.integers(1, 9))
def test_balanced_shares_cover_each_item_once_and_differ_by_one_item_at_most(sizes: list[int], world_size: int) -> None:
    shares = balanced_shares(np.asarray(sizes, dtype=np.int64), world_size)
    assert len(shares) == world_size
    assert sorted(item for items in shares for item in items) == list(range(len(sizes)))
    assert all(items == sorted(items) for items in shares)
    loads = [sum(sizes[item] for item in items) for items in shares]
    assert max(loads) - min(loads) <= max(sizes, default=0)


def test_balanced_shares_by_hand() -> None:
    assert balanced_shares(np.array([10, 1, 9, 2]), 2) == [[0, 1], [2, 3]]
    assert balanced_shares(np.array([5]), 3) == [[0], [], []]

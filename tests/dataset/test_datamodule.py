from __future__ import annotations

from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from bassl.dataset import datamodule, memory
from bassl.dataset.annotation import Annotations, read_annotations
from bassl.dataset.augmentation import AugmentationSettings
from bassl.dataset.datamodule import FinetuneData, PretrainData, film_shares, loader, usable_workers
from bassl.dataset.keyframes import Keyframes
from bassl.dataset.movienet import LabelledWindows, PretrainBatch, PretrainShots, RawWindows
from bassl.dataset.sampler import EpochSampler
from bassl.errors import InputError
from tests.dataset.conftest import CODED_FILMS
from tests.movienet import NUM_KEYFRAMES, decoded

SEED = 5
CHUNKS: dict[str, Any] = {"chunk_size": 10, "resize": 20, "crop": 16}


def as_rank(monkeypatch: pytest.MonkeyPatch, rank: int, world_size: int) -> None:
    monkeypatch.setattr(datamodule, "rank", lambda: rank)
    monkeypatch.setattr(datamodule, "world_size", lambda: world_size)


def pretrain_data(training: Keyframes, batch_size: int = 4, **changes: Any) -> PretrainData:
    settings = AugmentationSettings(size=8)
    samples = PretrainShots(training.annotations, training, settings, SEED, "instance")
    return PretrainData(samples, batch_size, SEED, 0, **changes)


def shots_of(batch: PretrainBatch) -> list[tuple[int, int]]:
    return [decoded(views[0])[:2] for views in batch.keyframes]


@pytest.fixture
def test_rows(coded_movienet: Path) -> Annotations:
    """Labelled rows of all coded films."""
    return read_annotations(coded_movienet / "anno" / "anno.trainvaltest.ndjson")


@pytest.mark.parametrize("world_size", [1, 3])
def test_training_batches_of_all_ranks_are_the_epochs(
    world_size: int, coded_keyframes: Keyframes, monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = coded_keyframes.annotations
    batch_size, parts = 12 // world_size, []
    for rank in range(world_size):
        as_rank(monkeypatch, rank, world_size)
        parts.append([shots_of(batch) for batch in pretrain_data(coded_keyframes, batch_size).train_dataloader()])
    drawn = [list(chain.from_iterable(batches)) for batches in zip(*parts, strict=True)]
    rows = [key.row for key in EpochSampler(len(notes), 12, 0, 1, SEED)]
    expected = [(int(notes.film[row]), int(notes.shot[row])) for row in rows]
    assert list(chain.from_iterable(drawn)) == expected
    assert len(drawn) == 69 // 12


def test_a_resumed_run_goes_on_in_its_epoch_with_the_draws_it_would_have_had(
    coded_keyframes: Keyframes,
) -> None:
    whole = pretrain_data(coded_keyframes)
    whole.resume_at(2, 0)
    resumed = pretrain_data(coded_keyframes)
    resumed.resume_at(2, 11)
    notes, sampler = coded_keyframes.annotations, EpochSampler(69, 4, 0, 1, SEED)
    sampler.set_epoch(2)
    epoch = list(whole.train_dataloader())
    drawn = list(chain.from_iterable(shots_of(batch) for batch in epoch))
    assert drawn == [(notes.film[key.row], notes.shot[key.row]) for key in sampler]
    expected = epoch[11:]
    found = list(resumed.train_dataloader())
    assert len(found) == len(expected) == 17 - 11
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.keyframes, other.keyframes)
        np.testing.assert_array_equal(one.draws.sigma, other.draws.sigma)


def test_a_batch_larger_than_the_data_is_refused_before_work_starts(coded_keyframes: Keyframes) -> None:
    with pytest.raises(InputError, match="a batch of 70 samples does not fit the 69 samples there are"):
        pretrain_data(coded_keyframes, 70)
    with pytest.raises(InputError, match=r"a batch of 80 samples .*effective_batch_size to 64 or less"):
        pretrain_data(coded_keyframes, 10, num_processes=8)
    pretrain_data(coded_keyframes, 8, num_processes=8)


def test_an_epoch_is_of_whole_steps_also_where_only_the_trainer_knows_them(coded_keyframes: Keyframes) -> None:
    assert len(pretrain_data(coded_keyframes).train_dataloader()) == 17
    assert len(pretrain_data(coded_keyframes, accumulate=2).train_dataloader()) == 16
    data = pretrain_data(coded_keyframes)
    data.trainer = SimpleNamespace(accumulate_grad_batches=5)  # type: ignore[assignment]
    assert len(data.train_dataloader()) == 15
    with pytest.raises(InputError, match="a batch of 72 samples does not fit the 69"):
        pretrain_data(coded_keyframes, 4, accumulate=18)


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_each_film_is_validated_by_one_rank(
    world_size: int, coded_movienet: Path, test_rows: Annotations, coded_keyframes: Keyframes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    keyframes = Keyframes(coded_movienet / "240P_frames", test_rows)
    seen = []
    for rank in range(world_size):
        as_rank(monkeypatch, rank, world_size)
        data = pretrain_data(coded_keyframes, validation=test_rows, keyframes=keyframes, **CHUNKS)
        chunks = list(data.val_dataloader())
        assert len(chunks) >= 1  # a rank without films takes part all the same
        seen += [(chunk.film, shot) for chunk in chunks for shot in chunk.shots.tolist()]
        assert all(chunk.keyframes.shape[1:] == (NUM_KEYFRAMES, 3, 16, 16) for chunk in chunks)
    counts = [num_shots - 1 for num_shots in CODED_FILMS.values()]
    assert sorted(seen) == [(film, shot) for film, count in enumerate(counts) for shot in range(count)]


def test_no_validation_means_no_loader(coded_keyframes: Keyframes) -> None:
    assert pretrain_data(coded_keyframes).val_dataloader() == []


def test_films_are_shared_out_by_their_rows(test_rows: Annotations, monkeypatch: pytest.MonkeyPatch) -> None:
    as_rank(monkeypatch, 0, 2)
    assert film_shares(test_rows) == [[0], [1, 2]]  # 39 rows against 23 and 4


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
def test_each_row_is_evaluated_once(world_size: int, test_rows: Annotations, monkeypatch: pytest.MonkeyPatch) -> None:
    windows = LabelledWindows(test_rows, np.array([0, 40, 64]))
    few = LabelledWindows(test_rows.select(np.arange(4)), np.array([0, 40, 64]))
    seen: list[list[int]] = [[], []]
    for rank in range(world_size):
        as_rank(monkeypatch, rank, world_size)
        data = FinetuneData(windows, [windows, few], 8, 5, SEED, num_workers=4)
        assert data.num_workers == 0  # features need none
        for rows, batches in zip(seen, data.val_dataloader(), strict=True):
            for batch in batches:
                assert len(batch.row) <= 5
                rows += batch.row.tolist()
        assert len(data.test_dataloader()) == 2
    assert seen == [list(range(len(test_rows))), list(range(4))]


def test_windows_are_fetched_a_whole_batch_at_a_time(test_rows: Annotations) -> None:
    windows = LabelledWindows(test_rows, np.array([0, 40, 64]))
    data = FinetuneData(windows, [windows], 8, 5, SEED, num_workers=0)
    batches = list(data.train_dataloader())
    assert len(batches) == len(test_rows) // 8
    for batch in batches:
        expected = windows.__getitems__(batch.row.tolist())
        assert torch.equal(batch.shots, expected.shots)
        assert torch.equal(batch.label, expected.label)
    rows = torch.cat([batch.row for batch in batches])
    assert len(rows.unique()) == len(rows)


def test_evaluation_alone_needs_no_training_rows(test_rows: Annotations) -> None:
    windows = LabelledWindows(test_rows, np.array([0, 40, 64]))
    data = FinetuneData(None, [windows], 8, 100, SEED, num_workers=0)
    (batches,) = data.test_dataloader()
    assert [batch.row.tolist() for batch in batches] == [list(range(len(test_rows)))]


def test_key_frames_are_collated_by_the_data_set(coded_movienet: Path, test_rows: Annotations) -> None:
    keyframes = Keyframes(coded_movienet / "240P_frames", test_rows)
    windows = RawWindows(test_rows.select(np.arange(3)), keyframes, resize=20, crop=16)
    data = FinetuneData(windows, [windows], 2, 2, SEED, num_workers=3)
    assert data.num_workers == 3
    batches = list(loader(windows, 0, sampler=range(3), batch_size=2))
    assert [batch.row.tolist() for batch in batches] == [[0, 1], [2]]
    assert batches[0].shots.shape == (2, 17)
    assert batches[0].keyframes.shape == (10, NUM_KEYFRAMES, 3, 16, 16)
    assert torch.equal(batches[1].keyframes, windows.__getitems__([2]).keyframes)
    assert batches[0].label.shape == (2,)


@pytest.mark.parametrize(
    ("room", "shared", "workers"), [(9.5, 99, 4), (3.5, 99, 2), (1.5, 99, 0), (9.5, 1.5, 1), (9, 0, 0)]
)
def test_no_more_batches_of_key_frames_are_on_their_way_than_memory_holds(
    room: float, shared: float, workers: int, coded_movienet: Path, test_rows: Annotations,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """A batch a worker, and the one in use. room and shared: memory and /dev/shm, in batches of this process."""
    windows = RawWindows(test_rows, Keyframes(coded_movienet / "240P_frames", test_rows), resize=20, crop=16)
    batch_bytes = 8 * 17 * NUM_KEYFRAMES * 3 * 16 * 16
    monkeypatch.setattr(memory, "machine_memory", lambda: int(2 * room * batch_bytes / memory.USABLE))
    monkeypatch.setattr(memory, "shared_memory", lambda: int(2 * shared * batch_bytes))
    data = FinetuneData(windows, [windows], 8, 8, SEED, num_workers=4, processes_here=2)
    assert data.num_workers == workers
    assert [f"{workers} of 4 data workers" in message for message in caplog.messages] == [True] * (workers < 4)
    if workers:
        assert data.train_dataloader().prefetch_factor == 1


@pytest.mark.parametrize("train", [True, False])
def test_a_batch_of_key_frames_that_memory_cannot_hold_is_refused_with_one_that_it_holds(
    train: bool, coded_movienet: Path, test_rows: Annotations, monkeypatch: pytest.MonkeyPatch
) -> None:
    windows = RawWindows(test_rows, Keyframes(coded_movienet / "240P_frames", test_rows), resize=20, crop=16)
    window_bytes = 17 * NUM_KEYFRAMES * 3 * 16 * 16
    for part in (memory, datamodule):
        monkeypatch.setattr(part, "machine_memory", lambda: int((5.5 if train else 1.5) * window_bytes / memory.USABLE))
    key = "TRAIN" if train else "TEST"
    words = rf"of 24 windows of key-frames takes \d+ bytes.*config.{key}.BATCH_SIZE.effective_batch_size=(\d+)"
    with pytest.raises(InputError, match=words) as refusal:
        FinetuneData(windows if train else None, [windows], 24, 24, SEED, 0, num_processes=2, accumulate=2)
    if train:
        assert str(24 * window_bytes) in str(refusal.value)
        assert "=20, or" in str(refusal.value), "five windows of each process and micro-batch"


@pytest.mark.parametrize("pin_memory", [False, True])
def test_batches_are_pinned_where_the_run_computes_on_a_gpu_not_where_there_is_one(
    pin_memory: bool, test_rows: Annotations, coded_movienet: Path, coded_keyframes: Keyframes,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    windows = LabelledWindows(test_rows, np.array([0, 40, 64]))
    keyframes = Keyframes(coded_movienet / "240P_frames", test_rows)
    films = {"validation": test_rows, "keyframes": keyframes, **CHUNKS}
    pretrain = pretrain_data(coded_keyframes, pin_memory=pin_memory, **films)
    finetune = FinetuneData(windows, [windows], 8, 5, SEED, num_workers=0, pin_memory=pin_memory)
    loaders = [data.train_dataloader() for data in (pretrain, finetune)]
    loaders += [pretrain.val_dataloader(), *finetune.val_dataloader(), *finetune.test_dataloader()]
    assert [found.pin_memory for found in loaders] == [pin_memory] * 5


@pytest.mark.parametrize(("asked", "cores", "processes", "used"), [
    (8, 16, 1, 8), (8, 4, 1, 4), (8, 16, 8, 2), (8, 4, 8, 1), (0, 16, 1, 0),
])  # fmt: skip
def test_workers_are_capped_at_the_cores_and_shared_by_the_processes(
    asked: int, cores: int, processes: int, used: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert usable_workers(asked, processes) == used

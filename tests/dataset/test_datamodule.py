from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from bassl.dataset import datamodule
from bassl.dataset.annotation import Annotations, read_annotations
from bassl.dataset.augmentation import AugmentationSettings
from bassl.dataset.datamodule import (
    USABLE_MEMORY,
    FinetuneData,
    LoaderSpec,
    PretrainData,
    fingerprint,
    loader,
    usable_workers,
)
from bassl.dataset.features import FeatureStore, FeatureWriter
from bassl.dataset.keyframes import Keyframes
from bassl.dataset.movienet import LabelledWindows, PretrainBatch, PretrainShots, RawWindows
from bassl.dataset.sampler import EpochSampler
from bassl.errors import InputError
from tests.movienet import NUM_KEYFRAMES, decoded

SEED = 5
WINDOW_BYTES = 17 * NUM_KEYFRAMES * 3 * 16 * 16


def as_rank(monkeypatch: pytest.MonkeyPatch, rank: int, world_size: int) -> None:
    monkeypatch.setattr(datamodule, "rank", lambda: rank)
    monkeypatch.setattr(datamodule, "world_size", lambda: world_size)


def pretrain_data(training: Keyframes, batch_size: int = 4, validation: Any = None, **spec: Any) -> PretrainData:
    samples = PretrainShots(training, AugmentationSettings(size=8), seed=SEED, sampling="instance")
    chunks = {"chunk_size": 10, "resize": 20, "crop": 16}
    return PretrainData(samples, LoaderSpec(batch_size, **spec), seed=SEED, validation=validation, chunks=chunks)


def shots_of(batch: PretrainBatch) -> list[tuple[int, int]]:
    return [decoded(views[0])[:2] for views in batch.keyframes]


@pytest.fixture
def windows(labelled: Annotations) -> LabelledWindows:
    return LabelledWindows(labelled, np.array([0, 40, 64]))


@pytest.fixture
def raw_windows(labelled: Annotations, coded_keyframes: Keyframes) -> RawWindows:
    return RawWindows(replace(coded_keyframes, annotations=labelled), resize=20, crop=16)


@pytest.mark.parametrize("world_size", [1, 3])
def test_training_batches_of_all_ranks_are_the_epochs(
    world_size: int, coded_keyframes: Keyframes, monkeypatch: pytest.MonkeyPatch
) -> None:
    annotations, parts = coded_keyframes.annotations, []
    for rank in range(world_size):
        as_rank(monkeypatch, rank, world_size)
        batches = pretrain_data(coded_keyframes, 12 // world_size).train_dataloader()
        parts.append([shots_of(batch) for batch in batches])
    drawn = [list(chain.from_iterable(batches)) for batches in zip(*parts, strict=True)]
    rows = [key.row for key in EpochSampler(69, 12, 0, 1, SEED)]
    expected = [(int(annotations.film[row]), int(annotations.shot[row])) for row in rows]
    assert (list(chain.from_iterable(drawn)), len(drawn)) == (expected, 69 // 12)


def test_a_resumed_run_draws_the_rest_of_its_epoch(coded_keyframes: Keyframes) -> None:
    whole, resumed = pretrain_data(coded_keyframes), pretrain_data(coded_keyframes)
    whole.resume_at(2, 0)
    resumed.resume_at(2, 11)
    expected, batches = list(whole.train_dataloader())[11:], list(resumed.train_dataloader())
    assert len(batches) == len(expected) == 17 - 11
    for batch, other in zip(batches, expected, strict=True):
        assert torch.equal(batch.keyframes, other.keyframes)
        np.testing.assert_array_equal(batch.draws.sigma, other.draws.sigma)


def test_steps_are_counted_over_processes_and_micro_batches(coded_keyframes: Keyframes) -> None:
    data = pretrain_data(coded_keyframes, 4, num_processes=2, accumulate=2)
    assert (data.effective_batch, data.num_steps, data.accumulate) == (16, 4, 2)
    assert len(pretrain_data(coded_keyframes, accumulate=2).train_dataloader()) == 16
    data = pretrain_data(coded_keyframes)
    data.trainer = SimpleNamespace(accumulate_grad_batches=5)  # type: ignore[assignment]
    assert len(data.train_dataloader()) == 15
    with pytest.raises(InputError, match=r"a batch of 80 samples .*effective_batch_size to 64 or less"):
        pretrain_data(coded_keyframes, 10, num_processes=8)


@pytest.mark.parametrize("world_size", [1, 2, 5])
def test_each_film_is_validated_by_one_rank(
    world_size: int, labelled: Annotations, coded_keyframes: Keyframes, monkeypatch: pytest.MonkeyPatch
) -> None:
    validation, seen = replace(coded_keyframes, annotations=labelled), []
    for rank in range(world_size):
        as_rank(monkeypatch, rank, world_size)
        chunks = list(pretrain_data(coded_keyframes, validation=validation).val_dataloader())
        assert len(chunks) >= 1, "a rank without films takes part all the same"
        assert all(chunk.keyframes.shape[1:] == (NUM_KEYFRAMES, 3, 16, 16) for chunk in chunks)
        seen.append({(chunk.film, shot) for chunk in chunks for shot in chunk.shots.tolist()})
    assert sum(map(len, seen)) == len(set().union(*seen)) == len(labelled)
    if world_size == 2:
        assert [len(shots) for shots in seen] == [39, 23 + 4]
    assert pretrain_data(coded_keyframes).val_dataloader() == []


@pytest.mark.parametrize("world_size", [1, 3, 7])
def test_each_row_is_evaluated_once(world_size: int, windows: LabelledWindows, monkeypatch: pytest.MonkeyPatch) -> None:
    few = LabelledWindows(windows.annotations.select(np.arange(4)), windows.first)
    seen: list[list[int]] = [[], []]
    for rank in range(world_size):
        as_rank(monkeypatch, rank, world_size)
        data = FinetuneData(None, [windows, few], LoaderSpec(8, 5, num_workers=4), seed=SEED)
        assert data.num_workers == 0, "features need none"
        for rows, batches in zip(seen, data.val_dataloader(), strict=True):
            for batch in batches:
                assert len(batch.row) <= 5
                rows += batch.row.tolist()
        assert len(data.test_dataloader()) == 2
    assert seen == [list(range(len(windows))), list(range(4))]


def test_windows_are_fetched_a_whole_batch_at_a_time(windows: LabelledWindows, raw_windows: RawWindows) -> None:
    for data in (windows, raw_windows):
        batches = list(FinetuneData(data, [data], LoaderSpec(8), seed=SEED).train_dataloader())
        assert len(batches) == len(data) // 8
        for batch in batches[:3]:
            expected = data.__getitems__(batch.row.tolist())
            assert torch.equal(batch.shots, expected.shots)
            assert torch.equal(batch.label, expected.label)
            assert batch.keyframes is None or torch.equal(batch.keyframes, expected.keyframes)
    assert FinetuneData(raw_windows, [raw_windows], LoaderSpec(2, num_workers=3), seed=SEED).num_workers == 3


@pytest.mark.parametrize(
    ("memory", "shared", "workers"), [(9.5, 99, 4), (3.5, 99, 2), (1.5, 99, 0), (9.5, 1.5, 1), (9, 0, 0)]
)
def test_workers_are_limited_to_the_batches_of_key_frames_that_memory_holds(
    memory: float, shared: float, workers: int, raw_windows: RawWindows,
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """One batch per worker and the one in use. memory and shared (/dev/shm): in batches of this process."""
    monkeypatch.setattr(datamodule, "machine_memory", lambda: int(2 * memory * 8 * WINDOW_BYTES / USABLE_MEMORY))
    monkeypatch.setattr(datamodule, "shared_memory", lambda: int(2 * shared * 8 * WINDOW_BYTES))
    spec = LoaderSpec(8, 8, num_workers=4, local_processes=2)
    data = FinetuneData(raw_windows, [raw_windows], spec, seed=SEED)
    assert data.num_workers == workers
    assert [f"{workers} of 4 data workers" in message for message in caplog.messages] == [True] * (workers < 4)
    assert not workers or data.train_dataloader().prefetch_factor == 1


@pytest.mark.parametrize(("key", "largest"), [("TRAIN", 5 * 2 * 2), ("TEST", 5 * 2)])
def test_a_batch_of_key_frames_that_memory_cannot_hold_is_refused_with_one_that_fits(
    key: str, largest: int, raw_windows: RawWindows, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 24 * WINDOW_BYTES if key == "TRAIN" else raw_windows.max_shots(24, in_order=True) * WINDOW_BYTES // 17
    monkeypatch.setattr(datamodule, "machine_memory", lambda: int(5.5 * most / 24 / USABLE_MEMORY))
    with pytest.raises(InputError, match=rf"config\.{key}\.BATCH_SIZE\.effective_batch_size={largest}, or"):
        FinetuneData(
            raw_windows if key == "TRAIN" else None, [raw_windows], LoaderSpec(24, 24, 2, accumulate=2), seed=SEED
        )


@pytest.mark.parametrize("pin_memory", [False, True])
def test_every_loader_pins_its_batches_where_the_run_computes_on_a_gpu(
    pin_memory: bool, windows: LabelledWindows, coded_keyframes: Keyframes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    pretrain = pretrain_data(coded_keyframes, validation=coded_keyframes, pin_memory=pin_memory)
    finetune = FinetuneData(windows, [windows], LoaderSpec(8, pin_memory=pin_memory), seed=SEED)
    loaders = [data.train_dataloader() for data in (pretrain, finetune)]
    loaders += [pretrain.val_dataloader(), *finetune.val_dataloader(), *finetune.test_dataloader()]
    assert [each.pin_memory for each in loaders] == [pin_memory] * 5
    assert loader(windows, 0, batch_size=2).pin_memory is False


@pytest.mark.parametrize(
    ("asked", "cores", "processes", "used"), [(8, 16, 1, 8), (8, 4, 1, 4), (8, 16, 8, 2), (8, 4, 8, 1), (0, 16, 1, 0)]
)
def test_workers_are_capped_at_the_cores_which_the_processes_share(
    asked: int, cores: int, processes: int, used: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(cores)), raising=False)
    assert usable_workers(asked, processes) == used


def test_the_fingerprint_identifies_annotations_key_frames_and_features(tiny_movienet: Path, tmp_path: Path) -> None:
    data = shutil.copytree(tiny_movienet, tmp_path / "data")
    anno = data / "anno" / "anno.train.ndjson"
    writer = FeatureWriter(tmp_path / "store", 4, "float32", {"model": {"name": "one", "sha256": "1"}})
    writer.begin()
    writer.finish({})
    store, keyframes = FeatureStore.open(tmp_path / "store"), Keyframes(data / "240P_frames", read_annotations(anno))
    before = fingerprint(data / "anno", ["train", "test"], keyframes, store)
    assert before["sha256"]["anno.train.ndjson"] == hashlib.sha256(anno.read_bytes()).hexdigest()
    assert (set(before["sha256"]), before["annotations"]) == ({anno.name, "anno.test.ndjson"}, str(data / "anno"))
    assert (before["features"]["folder"], before["keyframes"]["folder"]) == (str(store.folder), str(keyframes.root))

    def changed() -> list[str]:
        after = fingerprint(data / "anno", ["train", "test"], keyframes, store)
        return [name for name in before if after[name] != before[name]]

    assert changed() == []
    (store.folder / "index.json").write_text("{}")
    assert changed() == ["features"]
    shutil.copy(keyframes.path(0, 1, 0), keyframes.path(0, 0, 0))
    assert changed() == ["keyframes", "features"]
    anno.write_text(anno.read_text().replace('"boundary_label": 0', '"boundary_label": 1', 1))
    assert changed() == ["sha256", "keyframes", "features"]

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from bassl.dataset.annotation import UNKNOWN_SCENE, Annotations, read_annotations
from bassl.dataset.augmentation import AugmentationSettings, AugmentParams, crop
from bassl.dataset.datamodule import loader
from bassl.dataset.keyframes import NUM_KEYFRAMES, Keyframes
from bassl.dataset.movienet import (
    FilmChunks,
    LabelledWindows,
    PretrainBatch,
    PretrainShots,
    RawWindows,
    collate_pretrain,
)
from bassl.dataset.sampler import SampleKey
from bassl.dataset.transform import decode_keyframe, resize_and_crop
from bassl.dataset.window import WindowSpec, clipped_window, pretrain_window
from bassl.errors import InputError
from tests.movienet import decoded

SIZE = 16
SAMPLINGS: list[tuple[str, tuple[int, ...]]] = [
    ("window", (0, 16)), ("window", (0, 16, 8)), ("window", (8,)), ("temporal", ()), ("instance", ()),
]  # fmt: skip


def samples(keyframes: Keyframes, sampling: str = "window", seed: int = 0, **changes: Any) -> PretrainShots:
    return PretrainShots(keyframes, AugmentationSettings(size=SIZE), seed=seed, sampling=sampling, **changes)


def codes(sample: PretrainBatch) -> list[tuple[int, int, int]]:
    """(film, shot, keyframe) of each view of a sample."""
    return [decoded(image) for image in sample.keyframes]


def assert_same(first: PretrainBatch, second: PretrainBatch) -> None:
    assert torch.equal(first.keyframes, second.keyframes)
    assert torch.equal(first.mask, second.mask)
    for name, ours, theirs in zip(AugmentParams._fields, first.draws, second.draws, strict=True):
        np.testing.assert_array_equal(ours, theirs, err_msg=name)


# --- pre-training ---


@pytest.mark.parametrize("sparse", [(0, 16), (0, 16, 8), (8,)])
def test_sparse_views_are_the_same_key_frames_as_the_dense_window(
    sparse: tuple[int, ...], coded_keyframes: Keyframes
) -> None:
    data, annotations = samples(coded_keyframes, sparse=sparse), coded_keyframes.annotations
    for row in range(0, len(data), 3):
        views = codes(data[SampleKey(0, row)])
        dense, film = views[len(sparse) :], int(annotations.film[row])
        expected = pretrain_window(int(annotations.shot[row]), int(annotations.num_shots[film])).tolist()
        assert [(film, shot) for film, shot, _ in dense] == [(film, shot) for shot in expected]
        assert views[: len(sparse)] == [dense[position] for position in sparse]


@pytest.mark.parametrize(("size", "interval"), [(3, 1), (8, 2), (2, 7)])
def test_the_window_has_the_given_size_and_interval(size: int, interval: int, coded_keyframes: Keyframes) -> None:
    data = samples(coded_keyframes, sparse=(0, 2 * size, size), window=WindowSpec(size, interval))
    sample = data[SampleKey(0, 20)]
    assert [shot for _, shot, _ in codes(sample)[3:]] == pretrain_window(20, 40, size, interval).tolist()
    assert sample.mask.shape == (2 * size + 1,)
    for probability in (0.0, 1.0):
        masks = samples(coded_keyframes, masking_probability=probability)[SampleKey(0, 20)].mask
        assert masks.sum() == (17 if probability else 1)


def test_temporal_pairs_the_centre_with_another_shot_nearby(coded_keyframes: Keyframes) -> None:
    data, annotations = samples(coded_keyframes, "temporal"), coded_keyframes.annotations
    offsets: Counter[int] = Counter()
    for epoch in range(6):
        for row in range(len(data)):
            (film, shot, _), (other_film, other, _) = codes(data[SampleKey(epoch, row)])
            assert (film, shot, other_film) == (annotations.film[row], annotations.shot[row], film)
            offsets[other - shot] += 1
    assert sum(offsets.values()) == 6 * 69
    assert (min(offsets), max(offsets), offsets[0]) == (-8, 8, 0)
    single = replace(coded_keyframes, annotations=replace(annotations, num_shots=np.array([40, 24, 1])))
    with pytest.raises(InputError, match="film tiny has a single shot"):
        samples(single, "temporal")


def test_instance_shows_the_same_key_frame_twice(coded_keyframes: Keyframes) -> None:
    data, annotations = samples(coded_keyframes, "instance"), coded_keyframes.annotations
    views = [codes(data[SampleKey(0, row)]) for row in range(len(data))]
    assert all(first == second for first, second in views)
    assert [first[:2] for first, _ in views] == list(zip(annotations.film, annotations.shot, strict=True))
    assert {first[2] for first, _ in views} == set(range(NUM_KEYFRAMES))


@pytest.mark.parametrize(("sampling", "sparse"), SAMPLINGS)
def test_a_sequence_shares_a_crop_and_depends_on_seed_epoch_and_row_alone(
    sampling: str, sparse: tuple[int, ...], coded_keyframes: Keyframes
) -> None:
    keys = [SampleKey(epoch, row) for epoch in (0, 1) for row in (0, 5, 39, 40, 68)]
    data = samples(coded_keyframes, sampling, sparse=sparse)
    once = [data[key] for key in keys]
    num_first = len(sparse) if sampling == "window" else 1
    for sample, key in zip(once, keys, strict=True):
        assert_same(sample, samples(coded_keyframes, sampling, sparse=sparse)[key])
        first, second = sample.draws.box[:num_first], sample.draws.box[num_first:]
        assert (first == first[0]).all() and (second == second[0]).all()
        assert (first[0] != second[0]).any()
        assert (sample.keyframes.shape, sample.keyframes.dtype) == (
            (len(first) + len(second), 3, SIZE, SIZE),
            torch.uint8,
        )
    other_seed = samples(coded_keyframes, sampling, seed=1, sparse=sparse)[keys[0]]
    assert len({sample.draws.sigma.tobytes() for sample in (*once, other_seed)}) == len(keys) + 1


def test_a_view_is_the_drawn_crop_of_its_file(tiny_movienet: Path) -> None:
    rows = read_annotations(tiny_movienet / "anno" / "anno.pretrain.ndjson")
    keyframes = Keyframes(tiny_movienet / "240P_frames", rows)
    sample = samples(keyframes, "instance")[SampleKey(0, 3)]
    candidates = [decode_keyframe(keyframes.path(0, 3, k)) for k in range(NUM_KEYFRAMES)]
    for view, box in zip(sample.keyframes, sample.draws.box, strict=True):
        assert sum(torch.equal(crop([image], box, SIZE)[0], view) for image in candidates) == 1


class SharedMemoryCollate:
    """Collate, and report whether it happened in shared memory."""

    def __call__(self, rows: list[PretrainBatch]) -> tuple[PretrainBatch, bool]:
        batch = collate_pretrain(rows)
        return batch, batch.keyframes.is_shared() and batch.mask.is_shared()


@pytest.mark.parametrize("num_workers", [0, 2])
def test_workers_collate_the_same_batch_straight_into_shared_memory(
    num_workers: int, coded_keyframes: Keyframes
) -> None:
    data = samples(coded_keyframes)
    keys = [SampleKey(2, row) for row in (3, 60, 7, 41)]
    batches = list(loader(data, num_workers, sampler=keys, batch_size=2))
    shared = DataLoader(data, 2, sampler=keys, num_workers=num_workers, collate_fn=SharedMemoryCollate())  # type: ignore[arg-type]
    assert [is_shared for _, is_shared in shared] == [num_workers > 0] * 2
    for batch, start in zip(batches, (0, 2), strict=True):
        rows = [data[key] for key in keys[start : start + 2]]
        assert_same(batch, collate_pretrain(rows))
        assert torch.equal(batch.keyframes, torch.stack([row.keyframes for row in rows]))
        np.testing.assert_array_equal(batch.draws.box, np.stack([row.draws.box for row in rows]))
        assert batch.keyframes.permute(0, 1, 3, 4, 2).is_contiguous()


# --- test time ---


def chunks_of(keyframes: Keyframes, films: list[int], chunk_size: int, **changes: Any) -> FilmChunks:
    return FilmChunks(keyframes, films, chunk_size=chunk_size, resize=20, crop=16, **changes)


@pytest.mark.parametrize("chunk_size", [1, 7, 24, 1000])
def test_chunks_cover_every_shot_of_every_film_once(chunk_size: int, coded_keyframes: Keyframes) -> None:
    chunks = chunks_of(coded_keyframes, [1, 2], chunk_size)
    parts = [chunks[index] for index in range(len(chunks))]
    shots = [(1, shot) for shot in range(24)] + [(2, shot) for shot in range(5)]
    assert [(part.film, shot) for part in parts for shot in part.shots.tolist()] == shots
    assert chunks.num_shots == 24 + 5
    assert [part.film for part in parts if part.is_last] == [1, 2]
    for part in parts:
        assert part.keyframes.shape == (len(part.shots), NUM_KEYFRAMES, 3, 16, 16)
        expected = [(part.film, shot, k) for shot in part.shots.tolist() for k in range(NUM_KEYFRAMES)]
        assert [decoded(image) for image in part.keyframes.flatten(0, 1)] == expected
        assert len(part.shots) <= chunk_size


def test_chunks_hold_the_rows_in_order_or_all_shots(coded_keyframes: Keyframes) -> None:
    whole = coded_keyframes.annotations
    rows = np.flatnonzero((whole.film == 1) & np.isin(whole.shot, [2, 3, 9]))[::-1]
    keyframes = replace(coded_keyframes, annotations=whole.select(rows))
    (part,) = [*chunks_of(keyframes, [1], 100)]
    assert part.shots.tolist() == [2, 3, 9]
    everything = chunks_of(keyframes, [1], 100, all_shots=True)[0]
    assert everything.shots.tolist() == list(range(24))
    assert set(everything.scenes.tolist()) == {UNKNOWN_SCENE}
    assert len(chunks_of(keyframes, [0], 100)) == 0
    (empty,) = [*chunks_of(keyframes, [], 8, never_empty=True)]
    assert (empty.keyframes.shape, empty.is_last) == ((0, NUM_KEYFRAMES, 3, 16, 16), False)


def test_chunks_carry_the_scenes_of_their_shots_and_the_test_time_transform(tiny_movienet: Path) -> None:
    rows = read_annotations(tiny_movienet / "anno" / "anno.test.ndjson")
    keyframes = Keyframes(tiny_movienet / "240P_frames", rows)
    chunk = chunks_of(keyframes, [0], 100)[0]
    assert chunk.scenes.tolist() == rows.scene.tolist()
    images = [decode_keyframe(keyframes.path(0, shot, k)) for shot in (0, 1, 2) for k in range(3)]
    small = resize_and_crop(torch.stack(images), 20, 16)
    assert torch.equal(chunk.keyframes[:3].flatten(0, 1), small)
    batch = RawWindows(keyframes, resize=20, crop=16, window=WindowSpec(2)).__getitems__([0])
    assert batch.keyframes is not None
    assert torch.equal(batch.keyframes[batch.shots[0]].flatten(0, 1), small[[0, 1, 2] * 3 + list(range(3, 9))])


# --- fine-tuning ---


@pytest.mark.parametrize(("size", "interval"), [(8, 1), (3, 1), (4, 3)])
def test_labelled_windows_are_the_clipped_windows_of_the_feature_table(
    size: int, interval: int, labelled: Annotations
) -> None:
    first = np.array([100, 7, 60])
    longer = labelled.with_num_shots({"long": 40}, "the store")  # its last shot has no row
    rows = list(range(len(longer)))[::-1]
    batch = LabelledWindows(longer, first, WindowSpec(size, interval)).__getitems__([SampleKey(3, row) for row in rows])
    assert batch.row.tolist() == rows
    assert batch.label.tolist() == longer.label[rows].tolist()
    assert set(batch.label.tolist()) == {-1, 0, 1}
    for row, window in zip(rows, batch.shots, strict=True):
        film, shot = longer.film[row], int(longer.shot[row])
        expected = clipped_window(shot, {0: 40, 1: 23, 2: 4}[int(film)], size, interval) + first[film]
        assert window.tolist() == expected.tolist()


def test_a_batch_of_raw_windows_holds_each_shot_of_its_films_once(coded_keyframes: Keyframes) -> None:
    """Also with more shots of a film than are decoded at a time, and rows out of order."""
    annotations = coded_keyframes.annotations
    windows = RawWindows(coded_keyframes, resize=20, crop=16)
    rows = [40, *range(12, 40), 0, 68]
    batch = windows.__getitems__(rows)
    assert batch.keyframes is not None
    assert batch.row.tolist() == rows
    for index, row in enumerate(rows):
        film, shot = int(annotations.film[row]), int(annotations.shot[row])
        window = clipped_window(shot, int(annotations.num_shots[film])).tolist()
        views = [[decoded(image) for image in images] for images in batch.keyframes[batch.shots[index]]]
        assert views == [[(film, number, k) for k in range(NUM_KEYFRAMES)] for number in window]
    held = [decoded(images[0]) for images in batch.keyframes]
    assert len(set(held)) == len(held) <= 40 + 2 * 17
    assert windows.max_shots(31, in_order=False) == 31 * 17
    consecutive = [windows.__getitems__(range(start, min(start + 31, 69))).keyframes for start in (0, 31, 62)]
    assert windows.max_shots(31, in_order=True) == max(len(part) for part in consecutive if part is not None)

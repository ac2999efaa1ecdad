from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from bassl.dataset.annotation import UNKNOWN_SCENE, Annotations, read_annotations
from bassl.dataset.augmentation import AugmentationSettings, ViewDraw, crop
from bassl.dataset.datamodule import loader
from bassl.dataset.keyframes import NUM_KEYFRAMES, Keyframes
from bassl.dataset.movienet import (
    FilmChunks,
    LabelledWindows,
    PretrainBatch,
    PretrainShots,
    RawWindows,
    collate_pretrain,
    scene_numbers,
)
from bassl.dataset.sampler import SampleKey
from bassl.dataset.transform import decode_keyframe, resize_and_crop
from bassl.dataset.window import clipped_window, pretrain_window
from bassl.errors import InputError
from tests.movienet import decoded

SIZE = 16
SETTINGS = AugmentationSettings(size=SIZE)
SPARSE = [(0, 16), (0, 16, 8), (8,)]
SAMPLINGS: list[tuple[str, tuple[int, ...]]] = [
    ("window", (0, 16)), ("window", (0, 16, 8)), ("window", (8,)), ("temporal", ()), ("instance", ()),
]  # fmt: skip

Code = tuple[int, int, int]


def samples(keyframes: Keyframes, sampling: str = "window", seed: int = 0, **changes: Any) -> PretrainShots:
    return PretrainShots(keyframes.annotations, keyframes, SETTINGS, seed, sampling, **changes)


def codes(sample: PretrainBatch) -> list[Code]:
    """(film, shot, keyframe) of each view of a sample."""
    return [decoded(image) for image in sample.keyframes]


def assert_same(one: PretrainBatch, other: PretrainBatch) -> None:
    assert torch.equal(one.keyframes, other.keyframes)
    assert torch.equal(one.mask, other.mask)
    for name, first, second in zip(ViewDraw._fields, one.draws, other.draws, strict=True):
        np.testing.assert_array_equal(first, second, err_msg=name)


@pytest.mark.parametrize("sparse", SPARSE)
def test_sparse_views_show_the_very_key_frames_of_the_dense_window(
    sparse: tuple[int, ...], coded_keyframes: Keyframes
) -> None:
    data = samples(coded_keyframes, sparse=sparse)
    notes = coded_keyframes.annotations
    for row in range(0, len(data), 3):
        views = codes(data[SampleKey(0, row)])
        dense = views[len(sparse) :]
        film = int(notes.film[row])
        assert len(dense) == 17
        assert [shot for _, shot, _ in dense] == pretrain_window(
            int(notes.shot[row]), int(notes.num_shots[film])
        ).tolist()
        assert {film for film, _, _ in views} == {film}
        assert views[: len(sparse)] == [dense[position] for position in sparse]


def test_the_last_window_never_reads_past_the_film(coded_keyframes: Keyframes) -> None:
    data = samples(coded_keyframes)
    notes = coded_keyframes.annotations
    for film, num_shots in enumerate(notes.num_shots.tolist()):
        (row,) = np.flatnonzero((notes.film == film) & (notes.shot == num_shots - 1))
        shots = [shot for _, shot, _ in codes(data[SampleKey(0, int(row))])]
        assert max(shots) == num_shots - 1
        assert min(shots) == max(0, num_shots - 17)


@pytest.mark.parametrize(("size", "interval"), [(3, 1), (8, 2), (2, 7)])
def test_size_and_interval_of_the_neighbourhood_shape_the_window(
    size: int, interval: int, coded_keyframes: Keyframes
) -> None:
    changes = {"sparse": (0, 2 * size, size), "neighbor_size": size, "neighbor_interval": interval}
    sample = samples(coded_keyframes, **changes)[SampleKey(0, 20)]
    dense = codes(sample)[3:]
    assert [shot for _, shot, _ in dense] == pretrain_window(20, 40, size, interval).tolist()
    assert sample.mask.shape == (2 * size + 1,)


def test_every_key_frame_of_a_shot_is_drawn_about_equally_often(coded_keyframes: Keyframes) -> None:
    data = samples(coded_keyframes, sparse=())
    drawn = Counter(k for row in range(0, 40, 2) for _, _, k in codes(data[SampleKey(0, row)]))
    assert sum(drawn.values()) == 20 * 17
    assert sorted(drawn) == list(range(NUM_KEYFRAMES))
    assert min(drawn.values()) > 80  # 113 expected, 9 standard deviation


def test_temporal_pairs_the_centre_with_another_shot_near_by(coded_keyframes: Keyframes) -> None:
    data = samples(coded_keyframes, "temporal")
    notes = coded_keyframes.annotations
    offsets: Counter[int] = Counter()
    for epoch in range(6):
        for row in range(len(data)):
            (film, shot, _), (other_film, other, _) = codes(data[SampleKey(epoch, row)])
            assert (film, shot) == (notes.film[row], notes.shot[row])
            assert other_film == film
            assert other < notes.num_shots[film]
            offsets[other - shot] += 1
    assert sum(offsets.values()) == 6 * (40 + 24 + 5)
    assert 0 not in offsets
    assert (min(offsets), max(offsets)) == (-8, 8)


def test_instance_shows_the_same_key_frame_twice(coded_keyframes: Keyframes) -> None:
    data = samples(coded_keyframes, "instance")
    notes = coded_keyframes.annotations
    drawn = set()
    for row in range(len(data)):
        first, second = codes(data[SampleKey(0, row)])
        assert first == second
        assert first[:2] == (notes.film[row], notes.shot[row])
        drawn.add(first[2])
    assert drawn == set(range(NUM_KEYFRAMES))


@pytest.mark.parametrize(("sampling", "sparse"), SAMPLINGS)
def test_views_of_a_sequence_share_a_crop_and_sequences_do_not(
    sampling: str, sparse: tuple[int, ...], coded_keyframes: Keyframes
) -> None:
    sample = samples(coded_keyframes, sampling, sparse=sparse)[SampleKey(0, 5)]
    num_first = len(sparse) if sampling == "window" else 1
    first, second = sample.draws.box[:num_first], sample.draws.box[num_first:]
    assert len(second) == (17 if sampling == "window" else 1)
    assert (first == first[0]).all()
    assert (second == second[0]).all()
    assert (first[0] != second[0]).any()
    assert sample.keyframes.shape == (num_first + len(second), 3, SIZE, SIZE)
    assert sample.keyframes.dtype == torch.uint8


def test_a_view_is_the_drawn_crop_of_its_file(tiny_movienet: Path) -> None:
    notes = read_annotations(tiny_movienet / "anno" / "anno.pretrain.ndjson")
    keyframes = Keyframes(tiny_movienet / "240P_frames", notes)
    sample = PretrainShots(notes, keyframes, SETTINGS, seed=1, sampling="instance")[SampleKey(0, 3)]
    candidates = [decode_keyframe(keyframes.path(0, 3, k)) for k in range(NUM_KEYFRAMES)]
    for view, box in zip(sample.keyframes, sample.draws.box, strict=True):
        assert sum(torch.equal(crop([image], box, SIZE)[0], view) for image in candidates) == 1


def test_masks_hide_at_least_one_shot_and_about_the_asked_share(coded_keyframes: Keyframes) -> None:
    for probability, low, high in ((0.0, 1 / 17, 1 / 17), (0.15, 0.1, 0.25), (1.0, 1.0, 1.0)):
        data = samples(coded_keyframes, sparse=(), masking_probability=probability)
        masks = torch.stack([data[SampleKey(0, row)].mask for row in range(0, 69, 3)])
        assert masks.shape == (23, 17)
        assert set(masks.unique().tolist()) <= {0.0, 1.0}
        assert (masks.sum(1) >= 1).all()
        assert low - 1e-6 <= masks.mean() <= high + 1e-6


@pytest.mark.parametrize(("sampling", "sparse"), SAMPLINGS)
def test_a_sample_depends_on_seed_epoch_and_row_alone(
    sampling: str, sparse: tuple[int, ...], coded_keyframes: Keyframes
) -> None:
    keys = [SampleKey(epoch, row) for epoch in (0, 1) for row in (0, 5, 39, 40, 68)]
    data = samples(coded_keyframes, sampling, sparse=sparse)
    once = [data[key] for key in keys]
    again = [samples(coded_keyframes, sampling, sparse=sparse)[key] for key in reversed(keys)][::-1]
    for one, other in zip(once, again, strict=True):
        assert_same(one, other)
    assert len({sample.draws.sigma.tobytes() for sample in once}) == len(keys)
    other_seed = samples(coded_keyframes, sampling, seed=1, sparse=sparse)[keys[0]]
    assert other_seed.draws.sigma.tobytes() != once[0].draws.sigma.tobytes()


@pytest.mark.parametrize(("sampling", "sparse"), [SAMPLINGS[0], SAMPLINGS[3]])
@pytest.mark.parametrize("num_workers", [1, 2])
def test_the_number_of_workers_changes_nothing(
    num_workers: int, sampling: str, sparse: tuple[int, ...], coded_keyframes: Keyframes
) -> None:
    data = samples(coded_keyframes, sampling, sparse=sparse)
    keys = [SampleKey(2, row) for row in (3, 60, 7, 41, 12, 0)]
    batches = list(loader(data, num_workers, sampler=keys, batch_size=2))
    assert len(batches) == 3
    for batch, start in zip(batches, range(0, 6, 2), strict=True):
        assert_same(batch, collate_pretrain([data[key] for key in keys[start : start + 2]]))


def test_collated_samples_are_stacked_and_channels_last(coded_keyframes: Keyframes) -> None:
    data = samples(coded_keyframes)
    alone = [data[SampleKey(0, row)] for row in (1, 50)]
    batch = collate_pretrain(alone)
    assert batch.keyframes.shape == (2, 19, 3, SIZE, SIZE)
    assert batch.keyframes.permute(0, 1, 3, 4, 2).is_contiguous()
    assert (batch.mask.shape, batch.draws.box.shape) == ((2, 17), (2, 19, 4))
    for index, sample in enumerate(alone):
        assert torch.equal(batch.keyframes[index], sample.keyframes)
        assert torch.equal(batch.mask[index], sample.mask)
        np.testing.assert_array_equal(batch.draws.flip[index], sample.draws.flip)


class Told:
    """Collates, and says whether it did so in shared memory."""

    def __call__(self, alone: list[PretrainBatch]) -> tuple[PretrainBatch, list[bool]]:
        batch = collate_pretrain(alone)
        return batch, [tensor.is_shared() for tensor in (batch.keyframes, batch.mask)]


def test_a_worker_collates_straight_into_shared_memory(coded_keyframes: Keyframes) -> None:
    """A batch in private memory would be copied once more on its way to the process that trains."""
    data = samples(coded_keyframes)
    keys = [SampleKey(0, row) for row in (1, 50, 7)]
    expected = collate_pretrain([data[key] for key in keys])
    for num_workers in (0, 1):
        ((batch, shared),) = DataLoader(data, 3, sampler=keys, num_workers=num_workers, collate_fn=Told())  # type: ignore[arg-type]
        assert shared == [num_workers > 0] * 2
        assert batch.keyframes.permute(0, 1, 3, 4, 2).is_contiguous()
        assert_same(batch, expected)


def test_temporal_needs_films_of_two_shots_and_says_so_before_work_starts(coded_keyframes: Keyframes) -> None:
    notes = replace(coded_keyframes.annotations, num_shots=np.array([40, 24, 1]))
    with pytest.raises(InputError, match="film tiny has a single shot, so the method temporal finds no other shot"):
        PretrainShots(notes, coded_keyframes, SETTINGS, seed=0, sampling="temporal")
    assert len(PretrainShots(notes, coded_keyframes, SETTINGS, seed=0, sampling="instance")) == 69


def chunks_of(keyframes: Keyframes, films: Sequence[int], chunk_size: int, **changes: Any) -> FilmChunks:
    return FilmChunks(keyframes.annotations, keyframes, films, chunk_size, resize=20, crop=16, **changes)


@pytest.mark.parametrize("chunk_size", [1, 7, 24, 1000])
@pytest.mark.parametrize("all_shots", [False, True])
def test_chunks_cover_every_shot_of_every_film_once(
    chunk_size: int, all_shots: bool, coded_keyframes: Keyframes
) -> None:
    films = [1, 2]
    chunks = chunks_of(coded_keyframes, films, chunk_size, all_shots=all_shots)
    parts = [chunks[index] for index in range(len(chunks))]
    assert [(part.film, shot) for part in parts for shot in part.shots.tolist()] == [
        (film, shot) for film in films for shot in range(int(coded_keyframes.annotations.num_shots[film]))
    ]
    assert chunks.num_shots == 24 + 5
    assert [part.film for part in parts if part.is_last] == films
    assert all(len(part.shots) <= chunk_size for part in parts)
    for part in parts:
        assert part.keyframes.shape == (len(part.shots), NUM_KEYFRAMES, 3, 16, 16)
        expected = [(part.film, shot, k) for shot in part.shots.tolist() for k in range(NUM_KEYFRAMES)]
        assert [decoded(image) for image in part.keyframes.flatten(0, 1)] == expected


def test_chunks_of_partial_and_unsorted_rows_hold_those_rows_or_all_shots(coded_keyframes: Keyframes) -> None:
    whole = coded_keyframes.annotations
    rows = np.flatnonzero((whole.film == 1) & np.isin(whole.shot, [2, 3, 9]))[::-1]
    keyframes = Keyframes(coded_keyframes.root, whole.select(rows))
    (part,) = [*chunks_of(keyframes, [1], 100)]
    assert part.shots.tolist() == [2, 3, 9]
    assert chunks_of(keyframes, [1], 100, all_shots=True)[0].shots.tolist() == list(range(24))
    assert len(chunks_of(keyframes, [0], 100)) == 0


def test_a_rank_without_films_may_hold_one_empty_chunk(coded_keyframes: Keyframes) -> None:
    assert len(chunks_of(coded_keyframes, [], 8)) == 0
    (part,) = [*chunks_of(coded_keyframes, [], 8, never_empty=True)]
    assert part.keyframes.shape == (0, NUM_KEYFRAMES, 3, 16, 16)
    assert (len(part.shots), len(part.scenes), part.is_last) == (0, 0, False)
    assert len(chunks_of(coded_keyframes, [2], 8, never_empty=True)) == 1


def test_chunks_carry_the_scenes_of_their_shots(coded_movienet: Path) -> None:
    notes = read_annotations(coded_movienet / "anno" / "anno.train.ndjson")
    chunks = chunks_of(Keyframes(coded_movienet / "240P_frames", notes), [0], 10)
    scenes = torch.cat([chunks[index].scenes for index in range(len(chunks))])
    assert scenes.tolist() == notes.scene.tolist()
    everything = chunks_of(Keyframes(coded_movienet / "240P_frames", notes), [0], 100, all_shots=True)[0]
    assert set(everything.scenes.tolist()) == {UNKNOWN_SCENE}


def notes_of(labels: list[int], scenes: list[int], films: list[int], shots: list[int]) -> Annotations:
    counts = np.array([100] * (max(films) + 1))
    columns = [np.asarray(column) for column in (films, shots, labels, scenes)]
    return Annotations(tuple(f"film{index}" for index in range(len(counts))), *columns, counts, counts * 0 + 4)


def test_scenes_are_as_annotated_or_counted_from_the_labels() -> None:
    annotated = notes_of([0, 1, 0], [4, 4, 5], [0, 0, 0], [0, 1, 2])
    assert scene_numbers(annotated).tolist() == [4, 4, 5]
    counted = notes_of([0, 1, 0, -1, 0, 1], [UNKNOWN_SCENE] * 6, [0] * 6, list(range(6)))
    assert scene_numbers(counted).tolist() == [0, 0, 1, 1, 2, 2]
    assert counted.scene.tolist() == [UNKNOWN_SCENE] * 6


def test_scenes_are_counted_by_shot_number_and_film() -> None:
    notes = notes_of([0, 1, 1, 0], [UNKNOWN_SCENE] * 4, [0, 1, 0, 1], [9, 3, 2, 4])
    assert scene_numbers(notes).tolist() == [1, 0, 0, 1]
    mixed = notes_of([0, 1, 1, 0], [7, UNKNOWN_SCENE, 7, UNKNOWN_SCENE], [0, 1, 0, 1], [9, 3, 2, 4])
    assert scene_numbers(mixed).tolist() == [7, 0, 7, 1]


@pytest.mark.parametrize(("size", "interval"), [(8, 1), (3, 1), (4, 3)])
def test_labelled_windows_are_the_clipped_windows_of_the_feature_table(
    size: int, interval: int, coded_notes: Annotations
) -> None:
    first = np.array([100, 7, 60])
    data = LabelledWindows(coded_notes, first, size, interval)
    rows = list(range(len(data)))[::-1]
    batch = data.__getitems__(rows)
    assert batch.row.tolist() == rows
    assert batch.shots.shape == (69, 2 * size + 1)
    for row, window in zip(rows, batch.shots, strict=True):
        film, shot = coded_notes.film[row], int(coded_notes.shot[row])
        expected = clipped_window(shot, int(coded_notes.num_shots[film]), size, interval) + first[film]
        assert window.tolist() == expected.tolist()
    assert (batch.row.dtype, batch.label.dtype, batch.shots.dtype) == (torch.int64,) * 3


def test_uncertain_labels_reach_the_batch_as_they_are(coded_movienet: Path) -> None:
    notes = read_annotations(coded_movienet / "anno" / "anno.train.ndjson")
    data = LabelledWindows(notes, np.zeros(1, np.int64))
    batch = data.__getitems__([SampleKey(3, row) for row in range(len(data))])
    assert batch.label.tolist() == notes.label.tolist()
    assert set(batch.label.tolist()) == {-1, 0, 1}


def test_a_window_reaches_the_last_shot_that_the_store_knows_and_no_further(coded_movienet: Path) -> None:
    """The labelled rows leave the last shot out, the store has it."""
    notes = read_annotations(coded_movienet / "anno" / "anno.train.ndjson")
    assert notes.num_shots.tolist() == [39]
    longer = notes.with_num_shots({"long": 40}, "the store")
    for known, last in ((notes, 38), (longer, 39)):
        shots = LabelledWindows(known, np.zeros(1, np.int64)).__getitems__([38]).shots
        assert shots[0].tolist() == [min(shot, last) for shot in range(30, 47)]


@pytest.mark.parametrize("row", [0, 20, 39, 40, 64, 68])
def test_raw_windows_equal_reading_shot_by_shot(row: int, coded_keyframes: Keyframes) -> None:
    notes = coded_keyframes.annotations
    batch = RawWindows(notes, coded_keyframes, resize=20, crop=16).__getitems__([row])
    assert batch.keyframes is not None
    shots = batch.keyframes[batch.shots[0]]
    film, shot = int(notes.film[row]), int(notes.shot[row])
    window = clipped_window(shot, int(notes.num_shots[film])).tolist()
    assert shots.shape == (17, NUM_KEYFRAMES, 3, 16, 16)
    assert len(batch.keyframes) == len(set(window)), "each shot once"
    assert (batch.row.item(), batch.label.item()) == (row, -1)
    assert [[decoded(image) for image in images] for images in shots] == [
        [(film, shot, k) for k in range(NUM_KEYFRAMES)] for shot in window
    ]


def test_a_batch_of_raw_windows_holds_each_shot_of_its_films_once(coded_keyframes: Keyframes) -> None:
    """Also more shots of a film than are decoded at a time, and rows out of order."""
    notes = coded_keyframes.annotations
    windows = RawWindows(notes, coded_keyframes, resize=20, crop=16)
    rows = [40, *range(12, 40), 0, 68]
    batch = windows.__getitems__(rows)
    assert batch.keyframes is not None
    assert batch.row.tolist() == rows
    for index, row in enumerate(rows):
        film, shot = int(notes.film[row]), int(notes.shot[row])
        expected = [(film, number, 1) for number in clipped_window(shot, int(notes.num_shots[film])).tolist()]
        assert [decoded(images[1]) for images in batch.keyframes[batch.shots[index]]] == expected
    held = [decoded(images[0]) for images in batch.keyframes]
    assert len(set(held)) == len(held) <= 40 + 2 * 17
    assert windows.most_shots(31, in_order=False) == 31 * 17
    consecutive = [windows.__getitems__(range(start, min(start + 31, 69))).keyframes for start in (0, 31, 62)]
    assert windows.most_shots(31, in_order=True) == max(len(part) for part in consecutive if part is not None)


def test_raw_windows_hold_the_test_time_transform_of_the_files(tiny_movienet: Path) -> None:
    notes = read_annotations(tiny_movienet / "anno" / "anno.test.ndjson")
    keyframes = Keyframes(tiny_movienet / "240P_frames", notes)
    batch = RawWindows(notes, keyframes, resize=20, crop=16, neighbor_size=2).__getitems__([SampleKey(1, 0)])
    assert batch.keyframes is not None
    slow = torch.stack(
        [torch.stack([decode_keyframe(keyframes.path(0, shot, k)) for k in range(3)]) for shot in (0, 0, 0, 1, 2)]
    )
    expected: Tensor = resize_and_crop(slow.flatten(0, 1), 20, 16)
    assert torch.equal(batch.keyframes[batch.shots[0]].flatten(0, 1), expected)

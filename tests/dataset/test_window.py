from __future__ import annotations

import numpy as np
import pytest
from bassl.config.resolve import resolve_pretrain
from hypothesis import given
from hypothesis import strategies as st

from bassl.config.load import load
from bassl.dataset.window import (
    clipped_window,
    clipped_windows,
    draw_mask,
    draw_temporal_neighbor,
    pretrain_window,
    pretrain_windows,
)
from bassl.errors import InputError
from tests.reference import load_json


@st.composite
def shots_of_films(draw: st.DrawFn) -> tuple[int, int, int, int]:
    num_shots = draw(st.integers(1, 120))
    center = draw(st.integers(0, num_shots - 1))
    return center, num_shots, draw(st.integers(1, 10)), draw(st.integers(1, 4))


def slow_pretrain_window(center: int, num_shots: int, neighbor_size: int, interval: int) -> list[int]:
    window = [center + offset * interval for offset in range(-neighbor_size, neighbor_size + 1)]
    fits = window[-1] - window[0] < num_shots
    while window[0] < 0 and (fits or window[-1] < num_shots - 1):
        window = [shot + 1 for shot in window]
    while window[-1] > num_shots - 1 and (fits or window[0] > 0):
        window = [shot - 1 for shot in window]
    return [min(max(shot, 0), num_shots - 1) for shot in window]


@pytest.mark.parametrize("key, method", [("sequence_edge", "bassl"), ("sequence_edge_center", "bassl+shotcol")])
def test_pretrain_windows_are_the_references(key: str, method: str) -> None:
    positions = resolve_pretrain(load("pretrain", [f"+method={method}"])).method.sparse
    rows = load_json("samplers.json")[key]
    assert len(rows) == 37
    for num_shots, center, sparse, window in rows:  # here the reference's num_shot is the number of shots
        assert pretrain_window(center, num_shots).tolist() == window
        assert list(positions) == sparse


def test_clipped_windows_are_the_references() -> None:
    rows = load_json("samplers.json")["neighbor"]
    assert len(rows) == 37
    for last_shot, center, window in rows:  # here the reference's num_shot is the last shot's index
        assert clipped_window(center, last_shot + 1).tolist() == window


def test_window_in_the_middle_of_a_film_is_centred() -> None:
    assert pretrain_window(10, 21, neighbor_size=2).tolist() == [8, 9, 10, 11, 12]
    assert pretrain_window(10, 21, neighbor_size=2, interval=3).tolist() == [4, 7, 10, 13, 16]


def test_window_of_a_short_film_covers_it_and_repeats_its_edges() -> None:
    assert pretrain_window(0, 3, neighbor_size=2).tolist() == [0, 0, 0, 1, 2]
    assert pretrain_window(1, 3, neighbor_size=2).tolist() == [0, 0, 1, 2, 2]
    assert pretrain_window(2, 3, neighbor_size=2).tolist() == [0, 1, 2, 2, 2]
    assert pretrain_window(0, 1).tolist() == [0] * 17


@given(shots_of_films())
def test_pretrain_window_equals_one_moved_shot_by_shot(film: tuple[int, int, int, int]) -> None:
    assert pretrain_window(*film).tolist() == slow_pretrain_window(*film)


@given(shots_of_films())
def test_the_windows_of_a_film_are_the_single_ones(film: tuple[int, int, int, int]) -> None:
    """Also of a film that is shorter than a window."""
    _, num_shots, neighbor_size, interval = film
    centers = np.arange(num_shots, dtype=np.int32)[::-1]
    windows = pretrain_windows(centers, num_shots, neighbor_size, interval)
    assert windows.dtype == np.int64
    assert windows.tolist() == [slow_pretrain_window(c, num_shots, neighbor_size, interval) for c in centers.tolist()]
    assert pretrain_windows(centers[:0], num_shots, neighbor_size, interval).shape == (0, 2 * neighbor_size + 1)


@given(shots_of_films())
def test_pretrain_window_never_leaves_the_film(film: tuple[int, int, int, int]) -> None:
    center, num_shots, neighbor_size, interval = film
    window = pretrain_window(center, num_shots, neighbor_size, interval)
    assert window.shape == (2 * neighbor_size + 1,)
    assert window.min() >= 0
    assert window.max() <= num_shots - 1
    assert set(np.diff(window)) <= set(range(interval + 1))
    if num_shots > 2 * neighbor_size * interval:
        assert set(np.diff(window)) == {interval}
    if interval == 1:
        assert center in window
    if num_shots <= 2 * neighbor_size * interval:
        assert {window[0], window[-1]} == {0, num_shots - 1}


@given(shots_of_films())
def test_clipped_window_never_leaves_the_film_and_keeps_its_centre(film: tuple[int, int, int, int]) -> None:
    center, num_shots, neighbor_size, interval = film
    window = clipped_window(center, num_shots, neighbor_size, interval)
    offsets = range(-neighbor_size, neighbor_size + 1)
    assert window.tolist() == [min(max(center + k * interval, 0), num_shots - 1) for k in offsets]
    assert window[neighbor_size] == center


@given(st.lists(shots_of_films(), min_size=1, max_size=8))
def test_many_clipped_windows_are_the_single_ones(films: list[tuple[int, int, int, int]]) -> None:
    centers, num_shots = np.array([film[:2] for film in films], dtype=np.int32).T
    windows = clipped_windows(centers, num_shots, neighbor_size=3, interval=2)
    assert windows.shape == (len(films), 7)
    for window, center, length in zip(windows, centers, num_shots, strict=True):
        assert window.tolist() == clipped_window(int(center), int(length), 3, 2).tolist()


@given(shots_of_films().filter(lambda film: film[1] > 1), st.integers(0, 2**32 - 1))
def test_temporal_neighbor_is_another_shot_of_the_window(film: tuple[int, int, int, int], seed: int) -> None:
    center, num_shots, neighbor_size, interval = film
    shot = draw_temporal_neighbor(*film, np.random.default_rng(seed))
    assert shot != center
    assert shot in clipped_window(center, num_shots, neighbor_size, interval)


def test_every_temporal_neighbor_is_equally_likely_also_at_the_films_edge() -> None:
    rng = np.random.default_rng(0)
    counts = np.bincount([draw_temporal_neighbor(0, 100, 8, 1, rng) for _ in range(8000)], minlength=100)
    assert counts[0] == 0
    assert counts[9:].sum() == 0
    np.testing.assert_allclose(counts[1:9], 1000, atol=5 * np.sqrt(1000))


def test_film_of_one_shot_has_no_temporal_neighbor() -> None:
    with pytest.raises(InputError, match="a film of 1 shot has no neighbour"):
        draw_temporal_neighbor(0, 1, 8, 1, np.random.default_rng(0))


def test_mask_hides_each_shot_with_its_probability() -> None:
    rng = np.random.default_rng(0)
    masks = np.stack([draw_mask(17, rng) for _ in range(20000)])
    assert masks.dtype == np.float32
    assert set(np.unique(masks)) == {0.0, 1.0}
    assert masks.sum(1).min() == 1
    none = 0.85**17  # an empty mask gets one of 17, evenly
    np.testing.assert_allclose(masks.mean(0), 0.15 + none / 17, atol=0.0125)


def test_mask_hides_one_shot_even_at_probability_zero() -> None:
    rng = np.random.default_rng(0)
    masks = np.stack([draw_mask(4, rng, probability=0.0) for _ in range(400)])
    assert (masks.sum(1) == 1).all()
    assert (masks.sum(0) > 50).all()


def test_draws_repeat_with_their_seed() -> None:
    def draw(seed: int) -> tuple[int, list[float]]:
        rng = np.random.default_rng(seed)
        return draw_temporal_neighbor(50, 100, 8, 1, rng), draw_mask(17, rng).tolist()

    assert draw(0) == draw(0)
    assert len({str(draw(seed)) for seed in range(10)}) > 5


@pytest.mark.parametrize("center, num_shots", [(-1, 10), (10, 10), (0, 0)])
def test_shot_outside_its_film_is_refused(center: int, num_shots: int) -> None:
    for window in (pretrain_window, clipped_window):
        with pytest.raises(InputError, match="film of"):
            window(center, num_shots)


@pytest.mark.parametrize("neighbor_size, interval", [(0, 1), (8, 0)])
def test_empty_window_is_refused(neighbor_size: int, interval: int) -> None:
    with pytest.raises(InputError, match="must both be 1 or more"):
        pretrain_window(0, 10, neighbor_size, interval)

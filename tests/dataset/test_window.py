from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bassl.dataset.window import (
    WindowSpec,
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
    return draw(st.integers(0, num_shots - 1)), num_shots, draw(st.integers(1, 10)), draw(st.integers(1, 4))


def slow_pretrain_window(center: int, num_shots: int, neighbor_size: int, interval: int) -> list[int]:
    window = [center + offset * interval for offset in range(-neighbor_size, neighbor_size + 1)]
    fits = window[-1] - window[0] < num_shots
    while window[0] < 0 and (fits or window[-1] < num_shots - 1):
        window = [shot + 1 for shot in window]
    while window[-1] > num_shots - 1 and (fits or window[0] > 0):
        window = [shot - 1 for shot in window]
    return [min(max(shot, 0), num_shots - 1) for shot in window]


def test_windows_are_the_references() -> None:
    recorded = load_json("samplers.json")
    for key in ("sequence_edge", "sequence_edge_center"):
        assert len(recorded[key]) == 37
        for num_shots, center, _, window in recorded[key]:  # here the reference's num_shot is the number of shots
            assert pretrain_window(center, num_shots).tolist() == window
    assert len(recorded["neighbor"]) == 37
    for last_shot, center, window in recorded["neighbor"]:  # here it is the index of the last shot
        assert clipped_window(center, last_shot + 1).tolist() == window


@given(shots_of_films())
def test_a_pretrain_window_equals_one_moved_shot_by_shot(film: tuple[int, int, int, int]) -> None:
    center, num_shots, neighbor_size, interval = film
    window = pretrain_window(*film)
    assert window.tolist() == slow_pretrain_window(*film)
    assert 0 <= window.min() <= window.max() <= num_shots - 1
    assert interval > 1 or center in window
    centers = np.arange(num_shots, dtype=np.int32)[::-1]
    windows = pretrain_windows(centers, num_shots, neighbor_size, interval)
    assert windows.tolist() == [slow_pretrain_window(c, num_shots, neighbor_size, interval) for c in centers.tolist()]


@given(st.lists(shots_of_films(), min_size=1, max_size=8))
def test_a_clipped_window_is_centred_and_never_leaves_the_film(films: list[tuple[int, int, int, int]]) -> None:
    for center, num_shots, size, interval in films:
        expected = [min(max(center + k * interval, 0), num_shots - 1) for k in range(-size, size + 1)]
        assert clipped_window(center, num_shots, size, interval).tolist() == expected
    centers, num_shots = np.array([film[:2] for film in films], dtype=np.int32).T
    windows = clipped_windows(centers, num_shots, neighbor_size=3, interval=2)
    for window, center, length in zip(windows, centers, num_shots, strict=True):
        assert window.tolist() == clipped_window(int(center), int(length), 3, 2).tolist()


@given(shots_of_films().filter(lambda film: film[1] > 1), st.integers(0, 2**32 - 1))
def test_a_temporal_neighbor_is_another_shot_of_the_window(film: tuple[int, int, int, int], seed: int) -> None:
    shot = draw_temporal_neighbor(*film, np.random.default_rng(seed))
    assert shot != film[0]
    assert shot in clipped_window(*film)


def test_every_temporal_neighbor_is_equally_likely_also_at_the_films_edge() -> None:
    rng = np.random.default_rng(0)
    counts = np.bincount([draw_temporal_neighbor(0, 100, 8, 1, rng) for _ in range(8000)], minlength=100)
    assert counts[0] == counts[9:].sum() == 0
    np.testing.assert_allclose(counts[1:9], 1000, atol=5 * np.sqrt(1000))
    with pytest.raises(InputError, match="a film of 1 shot has no neighbour"):
        draw_temporal_neighbor(0, 1, 8, 1, rng)


def test_a_mask_hides_each_shot_with_its_probability_and_at_least_one() -> None:
    rng = np.random.default_rng(0)
    masks = np.stack([draw_mask(17, rng) for _ in range(20000)])
    assert (masks.dtype, masks.sum(1).min()) == (np.float32, 1)
    none = 0.85**17  # an empty mask gets one of 17, evenly
    np.testing.assert_allclose(masks.mean(0), 0.15 + none / 17, atol=0.0125)
    single = np.stack([draw_mask(4, rng, probability=0.0) for _ in range(400)])
    assert (single.sum(1) == 1).all()
    assert (single.sum(0) > 50).all()


@pytest.mark.parametrize("arguments", [(-1, 10), (10, 10), (0, 0), (0, 10, 0), (0, 10, 8, 0)])
def test_a_shot_outside_its_film_and_an_empty_window_are_refused(arguments: tuple[int, ...]) -> None:
    for window in (pretrain_window, clipped_window):
        with pytest.raises(InputError, match=r"outside its film|must both be at least 1"):
            window(*arguments)
    assert WindowSpec().num_shots == 17

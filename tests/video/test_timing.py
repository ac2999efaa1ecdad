from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from bassl.errors import InputError
from bassl.video.timing import FrameTimes, measure_times

FILM, VIDEO = Fraction(24000, 1001), Fraction(30000, 1001)
MILLI = Fraction(1, 1000)


@pytest.mark.parametrize("rate", [FILM, Fraction(60000, 1001)])
def test_a_rate_that_matroska_rounds_to_milliseconds_is_found_exactly_over_two_hours(rate):
    num_frames = int(7200 * rate)
    ticks = [round(1000 * n / rate) for n in range(0, num_frames)]
    times = measure_times(ticks, MILLI, [rate])
    assert not times.is_variable
    assert times.rate == rate
    assert times.seconds(num_frames) == num_frames / rate


def test_a_wrong_guess_is_overruled_by_the_frames():
    ticks = [round(1000 * n / FILM) for n in range(5000)]
    times = measure_times(ticks, MILLI, [Fraction(24), Fraction(25)])
    assert (times.rate, times.is_variable) == (FILM, False)


def test_variable_rate_keeps_every_frames_own_time():
    ticks = np.cumsum([40, 40, 20, 60, 40, 100, 33]) - 40
    times = measure_times(ticks, MILLI, [Fraction(25)], start=Fraction(1, 2), last_ticks=50)
    assert times.is_variable
    assert [times.seconds(n) for n in range(7)] == [Fraction(1, 2) + int(t) * MILLI for t in ticks]
    assert times.seconds(7) == Fraction(1, 2) + (int(ticks[-1]) + 50) * MILLI
    assert times.duration == (int(ticks[-1]) + 50) * MILLI


def test_one_missing_frame_makes_the_rate_variable_and_leaves_positions_right():
    ticks = [n for n in range(100) if n != 40]
    times = measure_times(ticks, Fraction(1, 25), [Fraction(25)])
    assert times.is_variable
    assert times.rate == 25
    assert [times.position(n) for n in (0, 39, 40, 98)] == [0, 39, 41, 99]


@pytest.mark.parametrize(("ticks", "guesses", "rate"), [
    (np.arange(300) * 20 + np.arange(300) % 3, [Fraction(30), Fraction(36240, 1211)], 30),  # a phone's
    (np.cumsum(np.arange(300) % 3 * 25 + 25), [Fraction(24), Fraction(1788, 143)], 24),  # frames left out
    (np.cumsum(np.arange(300) % 2 * 13 + 22), [Fraction(90000), Fraction(21, 1)], 21),
    (np.cumsum(np.arange(300) % 2 * 13 + 22), [None, Fraction(600 * 7, 199)], 24),
    (np.cumsum(np.arange(300) % 2 + 2), [Fraction(600)], 240),
])  # fmt: skip
def test_the_nominal_rate_is_one_that_editors_know(ticks, guesses, rate):
    times = measure_times(ticks, Fraction(1, 600), guesses)
    assert times.is_variable
    assert times.rate == rate
    clock = float(times.seconds(299))
    assert abs(times.position(299) / float(rate) - clock) <= 0.5 / rate


@pytest.mark.parametrize("times", [
    FrameTimes(FILM, Fraction(1, 3), 50),
    FrameTimes(Fraction(25), Fraction(1, 3), 5, np.array([0, 40, 60, 120, 160]), MILLI, 40),
])  # fmt: skip
def test_nearest_frame_undoes_seconds(times):
    assert [times.nearest_frame(times.seconds(n)) for n in range(times.num_frames + 1)] == list(
        range(times.num_frames + 1)
    )
    assert times.nearest_frame(Fraction(-5)) == 0
    assert times.nearest_frame(Fraction(10_000)) == times.num_frames


def test_a_single_frame_has_the_guessed_rate():
    times = measure_times([77], MILLI, [Fraction(25)])
    assert (times.num_frames, times.rate, times.seconds(1)) == (1, 25, Fraction(1, 25))


def test_a_film_without_frames_is_refused():
    with pytest.raises(InputError, match="no frames"):
        measure_times([], MILLI, [Fraction(25)])


@pytest.mark.parametrize(("ticks", "expected"), [
    ([0, 5, 10, 15, 20, 240], [0, 1, 2, 3, 4, 6, 7]),  # 5 ms at a nominal 25 frames a second
    ([0, 40, 80, 200, 202, 204], [0, 1, 2, 3, 4, 5, 6]),  # pushed forward by what the end leaves no room for
    ([0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 5, 6]),  # more than there are positions
])  # fmt: skip
def test_positions_in_an_editor_can_be_kept_apart(ticks, expected):
    times = FrameTimes(Fraction(25), Fraction(0), 6, np.array(ticks), Fraction(1, 1000), 40)
    assert list(times.distinct_positions(range(7)).values()) == expected

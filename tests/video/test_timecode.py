from __future__ import annotations

import itertools
from fractions import Fraction

import pytest

from bassl.video.timecode import TimecodeTrack, clock, short_clock, timecode

FILM, VIDEO, DOUBLE = Fraction(24000, 1001), Fraction(30000, 1001), Fraction(60000, 1001)


def counted_slowly(count: int, dropped: int):
    """Every label of the day in order, written out: hours, minutes, seconds, frames, without the left-out ones."""
    for hour, minute, second, frame in itertools.product(range(24), range(60), range(60), range(count)):
        if not (dropped and minute % 10 and second == 0 and frame < dropped):
            yield f"{hour:02d}:{minute:02d}:{second:02d}{';' if dropped else ':'}{frame:02d}"


@pytest.mark.parametrize(("frame", "rate", "expected"), [
    (0, FILM, "00:00:00:00"),
    (86400, FILM, "01:00:00:00"),  # 3603.6 s on the clock
    (1799, VIDEO, "00:00:59;29"),
    (1800, VIDEO, "00:01:00;02"),
    (17981, VIDEO, "00:09:59;29"),
    (17982, VIDEO, "00:10:00;00"),
    (107892, VIDEO, "01:00:00;00"),
    (3600, DOUBLE, "00:01:00;04"),
    (35964, DOUBLE, "00:10:00;00"),
    (25 * 3600 * 24, Fraction(25), "00:00:00:00"),
    (250, Fraction(250), "00:00:01:000"),
])  # fmt: skip
def test_timecode_is_what_editors_show(frame, rate, expected):
    assert timecode(frame, rate) == expected


@pytest.mark.parametrize(("rate", "count", "dropped"), [(FILM, 24, 0), (VIDEO, 30, 2), (DOUBLE, 60, 4)])
def test_timecode_counts_as_written_out_for_eleven_minutes(rate, count, dropped):
    num_frames = 11 * 60 * count
    labels = list(itertools.islice(counted_slowly(count, dropped), num_frames))
    assert [timecode(frame, rate) for frame in range(num_frames)] == labels


def test_drop_frame_stays_with_the_clock_for_a_day():
    for hour in range(1, 24):
        frame = round(3600 * hour * VIDEO)
        assert timecode(frame, VIDEO).startswith(f"{hour:02d}:00:00;0")


@pytest.mark.parametrize(("tag", "rate", "first", "shown"), [
    ("01:00:00:00", Fraction(25), 90000, "01:00:00:00"),
    ("01:00:00;00", VIDEO, 107892, "01:00:00;00"),
    ("00:01:00;02", VIDEO, 1800, "00:01:00;02"),
    ("01:00:00:00", VIDEO, 108000, "01:00:00:00"),
    (None, VIDEO, 0, "00:00:00;00"),
    ("garbage", FILM, 0, "00:00:00:00"),
    ("00:00:00:24", FILM, 0, "00:00:00:00"),
])  # fmt: skip
def test_a_films_own_timecode_is_counted_on_from(tag, rate, first, shown):
    track = TimecodeTrack.of(rate, tag)
    assert (track.first, track.text(0)) == (first, shown)


def test_clock_never_shows_a_time_before_the_frame():
    frame_17 = 17 / FILM  # 0.7090416...
    assert clock(frame_17) == "00:00:00.710"
    assert clock(Fraction(3600)) == "01:00:00.000"
    assert all(Fraction(clock(n / VIDEO)[-6:]) >= n / VIDEO for n in range(1, 900, 7))


def test_short_clock_leaves_out_what_is_not_needed():
    assert [short_clock(Fraction(s)) for s in (0, 59, Fraction(119, 2), 600, 3661)] == [
        "0:00",
        "0:59",
        "0:59",
        "10:00",
        "1:01:01",
    ]

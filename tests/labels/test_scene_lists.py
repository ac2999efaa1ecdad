from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bassl.errors import InputError
from bassl.labels.label_files import NO_LABEL
from bassl.labels.scene_lists import labels_from_scenes, read_scene_list, to_frame
from bassl.video.timecode import TimecodeTrack
from bassl.video.timing import FrameTimes

FRAMES = np.stack([np.arange(6) * 48, np.arange(6) * 48 + 47], axis=1)  # six shots of 2 s at 24 fps
TIMES = FrameTimes(Fraction(24), Fraction(0), 288)
NTSC_RATE = Fraction(30000, 1001)
NTSC = FrameTimes(NTSC_RATE, Fraction(0), 200_000)


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "scenes.csv"
    path.write_text(text)
    return path


def labels_of(tmp_path: Path, text: str, unit: str = "auto") -> list[int]:
    scenes = read_scene_list(write(tmp_path, text), unit)
    return labels_from_scenes(scenes, "film", FRAMES, TIMES, "film")[0].tolist()


LISTS = {
    "frames": "film,start,end\nfilm,0,95\nfilm,96,191\nfilm,192,287\n",
    "frames by pandas": "film,start_frame,end_frame\nfilm,0.0,95.0\nfilm,96.0,191.0\nfilm,192.0,287.0\n",
    "seconds": "film,start,end\nfilm,0,4.0\nfilm,4.0,8.0\nfilm,8.0,12\n",
    "seconds by Python": "film,start_seconds,end_seconds\nfilm,0,4.000000000000001\nfilm,4,8e0\nfilm,8,1.2e1\n",
    "clock": "film,start,end\nfilm,0:00:00,0:00:04\nfilm,0:00:04,0:00:08.000\nfilm,00:08,00:12\n",
    "smpte": "film,00:00:00:00,00:00:04:00\nfilm,00:00:04:00,00:00:08:00\nfilm,00:00:08:00,00:00:12:00\n",
    "no header": "film,0,95\nfilm,96,191\nfilm,192,287\n",
    "named units": "End (s);note;Start (s);film\n4;a;0;film\n8;b;4;film\n12;c;8;film\n",
    "a spreadsheet's": "sep=;\r\nfilm;start;end\r\nfilm;0.00;4.00\r\nfilm;4.00;8.00\r\nfilm;8.00;12.00\r\n\r\n",
}


@pytest.mark.parametrize("name", LISTS)
def test_the_same_scenes_are_read_however_they_are_written(tmp_path: Path, name: str) -> None:
    scenes = read_scene_list(write(tmp_path, LISTS[name]))
    labels, findings = labels_from_scenes(scenes, "film", FRAMES, TIMES, "film")
    assert labels.tolist() == [0, 1, 0, 1, 0, NO_LABEL]
    assert "ends moved by 0 frames (median), 0 at most" in findings[0].what


@pytest.mark.parametrize(
    ("text", "unit", "frame"),
    [
        ("1:00:00:00", "timecode", 86_400),
        ("00:00:01:23", "timecode", 47),
        ("0:01.5", "timecode", 36),
        ("01:01", "timecode", 1_464),
        ("1.5", "seconds", 36),
        ("36", "frames", 36),
        ("3600", "seconds", 86_400),
    ],
)
def test_times_become_frames(text: str, unit: str, frame: int) -> None:
    assert to_frame(text, unit, FrameTimes(Fraction(24), Fraction(0), 100_000)) == frame


def test_timecode_at_fractional_rates_counts_rounded_frames_and_drop_frame_stays_with_the_clock() -> None:
    times = {"00:01:00;02": 1_800, "00:10:00;00": 17_982, "01:00:00;00": 107_892, "01:00:00:00": 108_000}
    assert {text: to_frame(text, "timecode", NTSC) for text in times} == times
    assert to_frame("1:00:00", "timecode", NTSC) == 107_892  # a clock time: 3600 s
    film = FrameTimes(Fraction(24000, 1001), Fraction(0), 100_000)  # counts 24 per second
    assert to_frame("01:00:00:00", "timecode", film) == to_frame("3603.6", "seconds", film) == 86_400
    with pytest.raises(InputError, match="drop-frame"):
        to_frame("00:01:00;02", "timecode", TIMES)


def test_timecodes_count_from_the_films_own_and_clock_times_from_its_start() -> None:
    track = TimecodeTrack.of(Fraction(24), "01:00:00:00")
    assert to_frame("01:00:05:12", "timecode", TIMES, track) == to_frame("0:05.5", "timecode", TIMES, track) == 132
    with pytest.raises(InputError, match="lies before the film, whose own begins at 01:00:00:00"):
        to_frame("00:00:05:12", "timecode", TIMES, track)
    dropping = TimecodeTrack.of(NTSC_RATE, "01:00:00;00")
    for text in ("01:01:00;02", "01:01:00:02"):  # many write the second
        assert to_frame(text, "timecode", NTSC, dropping) == 1_800
    assert to_frame("01:01:00:02", "timecode", NTSC, TimecodeTrack.of(NTSC_RATE, "01:00:00:00")) == 1_802


@pytest.mark.parametrize(
    ("rate", "start"), [(Fraction(25), "23:59:50:00"), (NTSC_RATE, "23:59:50;00"), (NTSC_RATE, "23:59:50:00")]
)
def test_timecodes_past_midnight_are_of_the_next_day(rate: Fraction, start: str) -> None:
    times, track = FrameTimes(rate, Fraction(0), 1_000), TimecodeTrack.of(rate, start)
    for frame in (0, 299, 300, 301, 999, 1_000):
        assert to_frame(track.text(frame), "timecode", times, track) == frame
    with pytest.raises(InputError, match="lies before the film"):
        to_frame(track.text(1_001), "timecode", times, track)


def test_at_a_variable_rate_seconds_are_looked_up() -> None:
    ticks = np.array([0, 10, 20, 500, 510, 520])
    film = FrameTimes(Fraction(10), Fraction(0), 6, ticks, Fraction(1, 100), 10)
    assert [to_frame(text, "seconds", film) for text in ("0.1", "4.9", "5.1", "9")] == [1, 3, 4, 43]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("film,start,end\n", "holds no scenes"),
        ("film,0\n", "line 1: 2 fields"),
        ("film,0,5\nfilm,-1,5\n", "line 2: '-1' is not a frame"),
        ("film,0,5\nfilm,0:00:05,0:00:09\n", "line 2: '0:00:05' is not in frames"),
        ("film,start_frame,end_frame\nfilm,0,5.5\n", "line 2: '5.5' is not in frames"),
        ("movie,from,to\nfilm,0,5\n", "line 1: no column 'start'"),
        ("film,start_frame,end_seconds\nfilm,0,5\n", "different units"),
        ("film,95,0\n", "line 1: the scene ends .* before it starts"),
        ("film,5000,6000\n", "past the film"),
        ("film,0:00:61,0:02:00\n", "line 1: timecode '0:00:61' has more than 59"),
        ("film,0:00:00:24,0:00:02:00\n", "has frame 24, the film 24 per second"),
        ("film,0,99999\n", "a scene ends at frame 99999"),
    ],
)
def test_a_list_that_cannot_be_right_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=rf"scenes\.csv.*{message}"):
        labels_of(tmp_path, text)


def test_integers_that_may_be_seconds_need_a_unit(tmp_path: Path) -> None:
    text = "film,0,4\nfilm,4,12\n"  # the film has 288 frames and 12 seconds
    with pytest.raises(InputError, match=r"ends at 12, which can be a frame \(of 288\) or a second \(of 12\)"):
        labels_of(tmp_path, text)
    assert labels_of(tmp_path, text, "seconds") == [0, 1, 0, 0, 0, NO_LABEL]
    assert labels_of(tmp_path, text, "frames") == [1, 0, 0, 0, 0, NO_LABEL]
    assert labels_of(tmp_path, "film,start_frame,end_frame\n" + text) == [1, 0, 0, 0, 0, NO_LABEL]
    assert labels_of(tmp_path, text.replace("12", "100"))[1] == 1  # frames for certain


def test_a_guessed_unit_is_reported(tmp_path: Path) -> None:
    for text, unit, is_guessed in ((LISTS["no header"], "auto", True), (LISTS["no header"], "frames", False)):
        scenes = read_scene_list(write(tmp_path, text), unit)
        note = labels_from_scenes(scenes, "film", FRAMES, TIMES, "film")[1][0].what
        assert ("read as frames" in note) == is_guessed


times = st.one_of(
    st.integers(0, 400).map(str),
    st.floats(0, 20).map(str),
    st.tuples(*(st.integers(0, 61),) * 2).map(lambda part: "0:{:02}:{:02}".format(*part)),
    st.tuples(*(st.integers(0, 30),) * 2).map(lambda part: "00:00:{:02}:{:02}".format(*part)),
    st.text(alphabet="0123456789:;.,-x ", max_size=8),
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(st.sampled_from(["film", "../film", ""]), times, times), max_size=6),
    header=st.sampled_from(["", "film,start,end\n", "film,start_frame,end_frame\n", "video;begin;stop\n"]),
    unit=st.sampled_from(["auto", "frames", "seconds", "timecode"]),
)
def test_any_list_is_labels_of_the_films_length_or_refused(
    tmp_path: Path, rows: list[tuple[str, str, str]], header: str, unit: str
) -> None:
    path = write(tmp_path, header + "".join(",".join(row) + "\n" for row in rows))
    with suppress(InputError):
        scenes = read_scene_list(path, unit)
        for film in scenes.scenes:
            labels, _ = labels_from_scenes(scenes, film, FRAMES, TIMES, "film")
            assert set(labels[:-1].tolist()) <= {0, 1}
            assert (len(labels), labels[-1]) == (6, NO_LABEL)

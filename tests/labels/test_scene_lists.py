from __future__ import annotations

from contextlib import suppress
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bassl.errors import InputError
from bassl.labels.findings import NOTE, WARNING
from bassl.labels.label_files import NO_LABEL
from bassl.labels.scene_lists import labels_from_scenes, read_scene_list, to_frame
from bassl.video.timecode import TimecodeTrack
from bassl.video.timing import FrameTimes

FRAMES = np.stack([np.arange(6) * 48, np.arange(6) * 48 + 47], axis=1)  # six shots of 2 s at 24 fps
TIMES = FrameTimes(Fraction(24), Fraction(0), 288)
NTSC = FrameTimes(Fraction(30000, 1001), Fraction(0), 200_000)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "scenes.csv"
    path.write_text(text)
    return path


def labels_of(tmp_path: Path, text: str, unit: str = "auto") -> list[int]:
    scenes = read_scene_list(written(tmp_path, text), unit)
    return labels_from_scenes(scenes, "film", FRAMES, TIMES, "film")[0].tolist()


LISTS = {
    "frames": "film,start,end\nfilm,0,95\nfilm,96,191\nfilm,192,287\n",
    "seconds": "film,start,end\nfilm,0,4.0\nfilm,4.0,8.0\nfilm,8.0,12\n",
    "clock": "film,start,end\nfilm,0:00:00,0:00:04\nfilm,0:00:04,0:00:08.000\nfilm,00:08,00:12\n",
    "smpte": "film,00:00:00:00,00:00:04:00\nfilm,00:00:04:00,00:00:08:00\nfilm,00:00:08:00,00:00:12:00\n",
    "no header": "film,0,95\nfilm,96,191\nfilm,192,287\n",
    "named units": "end_seconds;note;start_seconds;film\n4;a;0;film\n8;b;4;film\n12;c;8;film\n",
    "tabs, not sorted": "film\tstart\tend\nfilm\t192\t287\nfilm\t0\t95\nfilm\t96\t191\n",
    "off by some frames": "film,0,99\nfilm,100,185\nfilm,186,280\n",
    "quoted": '"film","start","end"\n"film","0","95"\n"film","96","191"\n\n"film","192","287"\n',
}


@pytest.mark.parametrize("name", LISTS)
def test_the_same_scenes_are_read_however_they_are_written(tmp_path: Path, name: str) -> None:
    assert labels_of(tmp_path, LISTS[name]) == [0, 1, 0, 1, 0, NO_LABEL]


def test_how_far_ends_were_moved_is_reported(tmp_path: Path) -> None:
    scenes = read_scene_list(written(tmp_path, "film,0,99\nfilm,100,185\nfilm,186,287\n"))
    _, found = labels_from_scenes(scenes, "film", FRAMES, TIMES, "film")
    assert [(finding.severity, finding.what) for finding in found] == [
        (
            NOTE,
            "3 scenes, read as frames (if they are seconds, call the columns start_seconds and end_seconds, "
            "or give --unit seconds); ends moved by 4 frames (median), 6 at most, to the nearest shot end",
        )
    ]


def test_scenes_that_do_not_fit_the_shots_are_warned_of(tmp_path: Path) -> None:
    text = "film,0,119\nfilm,110,190\nfilm,191,192\n"  # an end far from shots, an overlap, one shot for two ends
    _, found = labels_from_scenes(read_scene_list(written(tmp_path, text)), "film", FRAMES, TIMES, "film")
    short = FrameTimes(Fraction(12), Fraction(0), 288)
    _, far = labels_from_scenes(read_scene_list(written(tmp_path, text)), "film", FRAMES, short, "film")
    assert [finding.what for finding in found if finding.severity == WARNING] == [
        "1 scene ends with the shot that another ends with",
        "1 scene starts before the one before it has ended",
    ]
    assert "1 scene end lies more than 1 s from any shot's end" in [finding.what for finding in far]


def test_whole_shots_between_scenes_are_a_scene_of_their_own(tmp_path: Path) -> None:
    text = "film,48,95\nfilm,144,287\n"  # shot 0 is a title, shot 2 an advertisement
    assert labels_of(tmp_path, text) == [1, 1, 1, 0, 0, NO_LABEL]


@pytest.mark.parametrize(
    ("text", "unit", "frame"),
    [
        ("1:00:00:00", "timecode", 86_400),
        ("00:00:01:23", "timecode", 47),
        ("0:01.5", "timecode", 36),
        ("01:01", "timecode", 1_464),
        ("1.5", "seconds", 36),
        ("36", "frames", 36),
    ],
)
def test_times_become_frames(text: str, unit: str, frame: int) -> None:
    assert to_frame(text, unit, FrameTimes(Fraction(24), Fraction(0), 100_000)) == frame


def test_drop_frame_timecode_stays_with_the_clock() -> None:
    assert to_frame("00:01:00;02", "timecode", NTSC) == 1_800
    assert to_frame("00:10:00;00", "timecode", NTSC) == 17_982
    assert to_frame("01:00:00;00", "timecode", NTSC) == 107_892
    assert to_frame("01:00:00:00", "timecode", NTSC) == 108_000
    assert to_frame("1:00:00", "timecode", NTSC) == 107_892  # a clock time: 3600 s
    with pytest.raises(InputError, match="drop-frame"):
        to_frame("00:01:00;02", "timecode", TIMES)


def test_timecode_at_23976_counts_24_a_second() -> None:
    film = FrameTimes(Fraction(24000, 1001), Fraction(0), 100_000)
    assert to_frame("01:00:00:00", "timecode", film) == 86_400
    assert to_frame("3603.6", "seconds", film) == 86_400


def test_timecodes_count_on_from_the_films_own() -> None:
    """As editors show them, and as our results have them; clock times count from the start of the film."""
    track = TimecodeTrack.of(Fraction(24), "01:00:00:00")
    assert to_frame("01:00:05:12", "timecode", TIMES, track) == 132
    assert to_frame("0:05.5", "timecode", TIMES, track) == 132
    with pytest.raises(InputError, match="lies before the film, whose own begins at 01:00:00:00"):
        to_frame("00:00:05:12", "timecode", TIMES, track)
    dropping = TimecodeTrack.of(Fraction(30000, 1001), "01:00:00;00")
    assert to_frame("01:01:00;02", "timecode", NTSC, dropping) == 1_800
    assert to_frame("01:01:00:02", "timecode", NTSC, dropping) == 1_800  # as many write it
    whole = TimecodeTrack.of(Fraction(30000, 1001), "01:00:00:00")
    assert to_frame("01:01:00:02", "timecode", NTSC, whole) == 1_802


def test_at_a_variable_rate_seconds_are_looked_up() -> None:
    ticks = np.array([0, 10, 20, 500, 510, 520])
    film = FrameTimes(Fraction(10), Fraction(0), 6, ticks, Fraction(1, 100), 10)
    assert [to_frame(text, "seconds", film) for text in ("0.1", "4.9", "5.1", "9")] == [1, 3, 4, 43]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "film,start,end\n",
        "film,0\n",
        "film,0,x\n",
        "film,-1,5\n",
        "film,0,5\nfilm,0:00:05,0:00:09\n",
        "movie,from,to\nfilm,0,5\n",
        "film,start_frame,end_seconds\nfilm,0,5\n",
        "film,1e5,5\n",
        "film,٣,٤\n",
    ],
)
def test_a_list_that_cannot_be_read_is_an_input_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match="scenes"):
        read_scene_list(written(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "what"),
    [("film,95,0\n", "before it starts"), ("film,5000,6000\n", "past the film"), ("film,0:00:61,0:02:00\n", "59")],
)
def test_a_scene_that_cannot_be_is_an_input_error(tmp_path: Path, text: str, what: str) -> None:
    with pytest.raises(InputError, match=what):
        labels_of(tmp_path, text)


@pytest.mark.parametrize("end", [12, 13, 14, 100])
def test_whole_seconds_are_not_taken_for_frames(tmp_path: Path, end: int) -> None:
    """The film has 288 frames and 12 seconds."""
    text = f"film,0,4\nfilm,4,{end}\n"
    if end == 100:
        assert labels_of(tmp_path, text)[1] == 1
        return
    with pytest.raises(InputError, match=rf"ends at {end}, which can be a frame \(of 288\) or a second \(of 12\)"):
        labels_of(tmp_path, text)
    assert labels_of(tmp_path, text, "seconds") == [0, 1, 0, 0, 0, NO_LABEL]
    assert labels_of(tmp_path, text, "frames") == [1, 0, 0, 0, 0, NO_LABEL]
    assert labels_of(tmp_path, "film,start_frame,end_frame\n" + text) == [1, 0, 0, 0, 0, NO_LABEL]


def test_a_stated_unit_is_no_guess_to_be_told(tmp_path: Path) -> None:
    for text, unit in ((LISTS["no header"], "frames"), (LISTS["named units"], "auto")):
        scenes = read_scene_list(written(tmp_path, text), unit)
        assert "read as" not in labels_from_scenes(scenes, "film", FRAMES, TIMES, "film")[1][0].what


def test_ends_past_the_film_are_warned_of_and_are_no_part_of_how_far_ends_moved(tmp_path: Path) -> None:
    def told(end: int) -> list[str]:
        scenes = read_scene_list(written(tmp_path, f"film,0,97\nfilm,98,{end}\n"), "frames")
        return [finding.what for finding in labels_from_scenes(scenes, "film", FRAMES, TIMES, "film")[1]]

    note = "2 scenes; ends moved by 2 frames (median), 2 at most, to the nearest shot end"
    assert told(287 + 48) == [note]
    assert told(287 + 72) == [note, "1 scene ends more than 2 s past the film, up to 3 s"]
    for end in (287 + 145, 99_999_999):
        with pytest.raises(InputError, match=r"scenes\.csv: a scene ends at frame \d+, and the film with frame 287"):
            told(end)


@pytest.mark.parametrize(
    "text",
    [
        "r2997,00:00:00;00,00:01:00;02\nr2997,00:01:00;02,00:02:00;04\n",
        "r2997;00:00:00;00:01:00.060\nr2997;00:01:00.060;2:00.12\n",
        '"r;2997"\t"00:00:00;00"\t"00:01:00;02"\nr;2997\t00:01:00;02\t00:02:00;04\n',
    ],
)
def test_semicolons_within_timecodes_separate_no_fields(tmp_path: Path, text: str) -> None:
    scenes = read_scene_list(written(tmp_path, text))
    ((name, rows),) = scenes.scenes.items()
    assert name.replace(";", "") == "r2997"
    assert [to_frame(row.end, scenes.unit, NTSC) for row in rows] == [1_800, 3_600]


times = st.one_of(
    st.integers(0, 400).map(str),
    st.floats(0, 20).map(lambda seconds: f"{seconds:.3f}"),
    st.tuples(st.integers(0, 1), st.integers(0, 61), st.integers(0, 61)).map(lambda t: "{}:{:02}:{:02}".format(*t)),
    st.tuples(st.integers(0, 1), st.integers(0, 60), st.integers(0, 30)).map(
        lambda t: "00:{:02}:{:02}:{:02}".format(*t)
    ),
    st.text(alphabet="0123456789:;.,-x ", max_size=8),
)
quick = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@quick
@given(
    rows=st.lists(st.tuples(st.sampled_from(["film", "other", "../film", ""]), times, times), max_size=6),
    header=st.sampled_from(["", "film,start,end\n", "film,start_frame,end_frame\n", "video;begin;stop\n"]),
    unit=st.sampled_from(["auto", "frames", "seconds", "timecode"]),
)
def test_any_list_is_labels_of_the_films_length_or_an_input_error(
    tmp_path: Path, rows: list[tuple[str, str, str]], header: str, unit: str
) -> None:
    path = written(tmp_path, header + "".join(",".join(row) + "\n" for row in rows))
    try:
        scenes = read_scene_list(path, unit)
        for film in scenes.scenes:
            labels, _ = labels_from_scenes(scenes, film, FRAMES, TIMES, "film")
            assert labels.shape == (6,)
            assert set(labels[:-1].tolist()) <= {0, 1}
            assert labels[-1] == NO_LABEL
    except InputError:
        pass


@quick
@given(content=st.binary(max_size=60))
def test_any_bytes_are_a_list_or_an_input_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "scenes.csv"
    path.write_bytes(content)
    with suppress(InputError):
        assert read_scene_list(path).scenes


@pytest.mark.parametrize(("rate", "tag"), [
    (Fraction(25), "23:59:50:00"), (Fraction(30000, 1001), "23:59:50;00"), (Fraction(30000, 1001), "23:59:50:00"),
])  # fmt: skip
def test_timecodes_past_midnight_are_of_the_next_day_where_the_film_lasts_so_long(rate, tag):
    times, track = FrameTimes(rate, Fraction(0), 1_000), TimecodeTrack.of(rate, tag)
    for frame in (0, 299, 300, 301, 999, 1_000):
        assert to_frame(track.text(frame), "timecode", times, track) == frame
    with pytest.raises(InputError, match="lies before the film"):
        to_frame(track.text(1_001), "timecode", times, track)

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from bassl.errors import InputError
from bassl.video.shot_list import read_shot_list
from bassl.video.timing import FrameTimes

HEADER = (
    "Scene Number,Start Frame,Start Timecode,Start Time (seconds),End Frame,End Timecode,End Time (seconds),"
    "Length (frames),Length (timecode),Length (seconds)\n"
)
ROWS = (
    "1,1,00:00:00.000,0.000,24,00:00:01.000,1.000,24,00:00:01.000,1.000\n"
    "2,25,00:00:01.000,1.000,60,00:00:02.500,2.500,36,00:00:01.500,1.500\n"
)


def written(tmp_path, text, name="list.csv"):
    path = tmp_path / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("before", ["", "Timecode List:,00:00:01.000\n", "\ufeff"])
def test_pyscenedetects_list_is_read_with_and_without_its_first_line(tmp_path, before):
    found = read_shot_list(written(tmp_path, before + HEADER + ROWS))
    assert found.frames.tolist() == [[0, 23], [24, 59]]
    assert found.seconds == ((Fraction(0), Fraction(1)), (Fraction(1), Fraction(5, 2)))


def test_pyscenedetects_own_file_is_read(tmp_path):
    from scenedetect import FrameTimecode
    from scenedetect.output import write_scene_list

    rate = Fraction(24000, 1001)
    scenes = [(FrameTimecode(a, rate), FrameTimecode(b, rate)) for a, b in ((0, 100), (100, 101), (101, 5000))]
    path = tmp_path / "a-Scenes.csv"
    with path.open("w") as file:
        write_scene_list(file, scenes)
    assert read_shot_list(path).frames.tolist() == [[0, 99], [100, 100], [101, 4999]]


def test_movienets_shot_file_and_transnetv2s_text_file_are_read(tmp_path):
    movienet = read_shot_list(written(tmp_path, "0 35 9 18 26\n36 284 98 160 222\n", "a.txt"))
    transnet = read_shot_list(written(tmp_path, "0 35\n36 284\n", "b.txt"))
    assert movienet.frames.tolist() == transnet.frames.tolist() == [[0, 35], [36, 284]]
    assert movienet.num_shots == 2


def test_frames_that_neighbours_share_belong_to_the_later(tmp_path):
    assert read_shot_list(written(tmp_path, "0 10\n10 20\n", "a.txt")).frames.tolist() == [[0, 9], [10, 20]]


def test_at_a_variable_rate_seconds_decide(tmp_path):
    ticks = np.array([0, 500, 1000, 1100, 1200, 2500, 2600])
    times = FrameTimes(Fraction(3), Fraction(0), 7, ticks, Fraction(1, 1000), 100)
    frames = read_shot_list(written(tmp_path, HEADER + ROWS)).in_film(times)
    assert frames.tolist() == [[0, 1], [2, 4]]


def test_a_list_longer_than_the_film_ends_with_it(tmp_path):
    found = read_shot_list(written(tmp_path, HEADER + ROWS))
    assert found.in_film(FrameTimes(Fraction(24), Fraction(0), 40)).tolist() == [[0, 23], [24, 39]]


@pytest.mark.parametrize(("text", "name", "message"), [
    (HEADER, "a.csv", "no shots"),
    (HEADER + "1,9,,0,5,,1\n", "a.csv", "from frame 9 to 5"),
    ("20 30\n0 10\n", "a.txt", "sort the list"),
    ("0 10\nabc\n", "a.txt", "line 2"),
])  # fmt: skip
def test_malformed_lists_are_refused_with_their_line(tmp_path, text, name, message):
    with pytest.raises(InputError, match=message):
        read_shot_list(written(tmp_path, text, name))


def test_a_missing_list_and_one_of_another_film_are_refused(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_shot_list(tmp_path / "none.csv")
    with pytest.raises(InputError, match="another film"):
        read_shot_list(written(tmp_path, HEADER + ROWS)).in_film(FrameTimes(Fraction(24), Fraction(0), 20))


@pytest.mark.parametrize(("start", "frames", "expected"), [
    (0, 1000, ["the last shot of the list ends at 8.0 s, the film lasts 40.0 s"]),
    (100, 200, ["the first shot of the list starts 4.0 s into the film"]),
    (25, 240, []),
])  # fmt: skip
def test_a_list_that_leaves_out_much_of_the_film_is_reported(tmp_path, start, frames, expected):
    listed = read_shot_list(written(tmp_path, f"{start} 120\n121 199\n", "a.txt"))
    times = FrameTimes(Fraction(25), Fraction(3), frames)
    found = listed.warnings(listed.in_film(times), times)
    assert [text.partition(": a.txt may belong to another film")[0] for text in found] == expected

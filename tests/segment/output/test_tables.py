from __future__ import annotations

import csv
from fractions import Fraction

import numpy as np
import pytest

from bassl.segment.output.tables import write_scenes, write_shots
from bassl.video.shot_list import read_shot_list
from bassl.video.timing import FrameTimes
from tests.segment.models import burst, segmentation

NTSC = [Fraction(24000, 1001), Fraction(30000, 1001)]


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("rate", NTSC)
def test_scenes_are_in_pyscenedetects_columns_and_ours(tmp_path, rate):
    found = segmentation(rate=rate)
    write_scenes(tmp_path / "scenes.csv", found)
    table = rows(tmp_path / "scenes.csv")
    assert [(int(row["Start Frame"]) - 1, int(row["End Frame"])) for row in table] == [(0, 100), (100, 220), (220, 250)]
    assert [(row["First Shot"], row["Last Shot"], row["Probability"]) for row in table] == [
        ("0", "1", "0.900000"), ("2", "3", "0.700000"), ("4", "4", ""),
    ]  # fmt: skip
    assert [float(row["Start Time (seconds)"]) for row in table] == [round(float(n / rate), 3) for n in (0, 100, 220)]


def test_shots_are_read_back_as_they_were(tmp_path):
    found = segmentation()
    write_shots(tmp_path / "shots.csv", found)
    back = read_shot_list(tmp_path / "shots.csv")
    np.testing.assert_array_equal(back.in_film(found.times), found.film.frames)
    assert [row["In Scene"] for row in rows(tmp_path / "shots.csv")] == ["1", "1", "2", "2", "3"]


def test_our_own_reader_takes_short_shots_at_a_variable_rate(tmp_path):
    for write in (write_scenes, write_shots):
        write(tmp_path / "list.csv", burst())
        listed = read_shot_list(tmp_path / "list.csv")
        assert listed.frames.tolist() == [[0, 0], [1, 1], [2, 2], [3, 3], [4, 6]]
        assert listed.in_film(burst().times).tolist() == [[0, 0], [1, 1], [2, 2], [3, 3], [4, 5]]


@pytest.mark.parametrize("times", [
    *(FrameTimes(rate, Fraction(0), 250_000) for rate in (*NTSC, Fraction(25), Fraction(16))),
    FrameTimes(Fraction(25), Fraction(1, 3), 250_000, np.arange(250_000) * 43, Fraction(1, 1000), 43),
])  # fmt: skip
def test_columns_are_those_that_pyscenedetect_writes(tmp_path, times):
    """Its own writer, of the same frames at a constant rate or the same times at a variable one."""
    import scenedetect
    from scenedetect.output import write_scene_list

    def code(moment):
        if not times.is_variable:
            return scenedetect.FrameTimecode(moment.frame, times.rate)
        ticks = int((moment.seconds - times.start) / times.time_base)
        return scenedetect.FrameTimecode(scenedetect.common.Timecode(ticks, times.time_base), times.rate)

    found = segmentation(lengths=[1, 1437, 123_456, 106, 125_000], probability=(0.9,) * 4, times=times)
    write_scenes(tmp_path / "ours.csv", found)
    with (tmp_path / "theirs.csv").open("w") as file:
        write_scene_list(file, [(code(scene.start), code(scene.end)) for scene in found], include_cut_list=False)
    ours, theirs = rows(tmp_path / "ours.csv"), rows(tmp_path / "theirs.csv")
    assert len(ours) == len(theirs) == 5
    frames = ("Start Frame", "End Frame", "Length (frames)") if times.is_variable else ()  # theirs round otherwise
    columns = [name for name in theirs[0] if name not in frames]
    assert [[row[name] for name in columns] for row in ours] == [[row[name] for name in columns] for row in theirs]

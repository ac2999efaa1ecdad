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


def test_shots_of_a_variable_rate_are_read_back_as_they_were(tmp_path):
    rng = np.random.default_rng(0)
    ticks = np.cumsum([0, *rng.integers(15, 60, 249)])
    times = FrameTimes(Fraction(30), Fraction(1, 3), 250, ticks, Fraction(1, 1000), 40)
    found = segmentation(times=times)
    write_shots(tmp_path / "shots.csv", found)
    np.testing.assert_array_equal(read_shot_list(tmp_path / "shots.csv").in_film(times), found.film.frames)


def test_pyscenedetect_reads_the_scenes(tmp_path):
    """Its load-scenes command takes the column of start frames, one-based."""
    write_scenes(tmp_path / "scenes.csv", segmentation())
    header, first, *_ = (tmp_path / "scenes.csv").read_text().splitlines()
    assert header.startswith("Scene Number,Start Frame,Start Timecode,Start Time (seconds),End Frame,")
    assert first.startswith("1,1,00:00:00.000,0.000,100,")


def test_our_own_reader_takes_short_shots_at_a_variable_rate(tmp_path):
    for write in (write_scenes, write_shots):
        write(tmp_path / "list.csv", burst())
        listed = read_shot_list(tmp_path / "list.csv")
        assert listed.frames.tolist() == [[0, 0], [1, 1], [2, 2], [3, 3], [4, 6]]
        assert listed.in_film(burst().times).tolist() == [[0, 0], [1, 1], [2, 2], [3, 3], [4, 5]]

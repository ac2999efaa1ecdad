from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import pytest

from bassl.segment.output.edl import write_edl
from tests.segment.models import burst, segmentation

EVENT = re.compile(r"(\d{3,})  (\S{1,8}) +V     C        (\S+) (\S+) (\S+) (\S+)")
LENGTHS = (17982, 24 * 3600, 1)


def written(tmp_path, found):
    write_edl(tmp_path / "scenes.edl", found)
    return (tmp_path / "scenes.edl").read_text().splitlines()


def frames(code: str, count: int) -> int:
    """The frame that a timecode means, by SMPTE's rule, written out from the other side."""
    hours, minutes, seconds, frame = (int(part) for part in re.split("[:;]", code))
    total = (3600 * hours + 60 * minutes + seconds) * count + frame
    whole_minutes = 60 * hours + minutes
    return total - (count // 15 * (whole_minutes - whole_minutes // 10) if ";" in code else 0)


@pytest.mark.parametrize(("rate", "count", "mode"), [
    (Fraction(24000, 1001), 24, "NON-DROP FRAME"), (Fraction(30000, 1001), 30, "DROP FRAME"),
    (Fraction(25), 25, "NON-DROP FRAME"), (Fraction(60000, 1001), 60, "DROP FRAME"),
])  # fmt: skip
def test_events_are_frame_exact_and_meet(tmp_path, rate, count, mode):
    lines = written(tmp_path, segmentation(lengths=LENGTHS, probability=(0.9, 0.9), rate=rate))
    assert lines[:2] == ["TITLE: a film.mp4", f"FCM: {mode}"]
    events = [match.groups() for line in lines if (match := EVENT.fullmatch(line))]
    assert [number for number, *_ in events] == ["001", "002", "003"]
    spans = [(frames(start, count), frames(end, count)) for _, _, start, end, _, _ in events]
    assert spans == [(0, 17982), (17982, 17982 + 86400), (17982 + 86400, 17982 + 86401)]
    assert all(event[2:4] == event[4:6] for event in events)


def test_the_films_own_timecode_is_the_source(tmp_path):
    lines = written(tmp_path, segmentation(rate=Fraction(30000, 1001), timecode="01:00:00:00"))
    assert lines[1] == "FCM: NON-DROP FRAME"
    assert "01:00:03:10 01:00:07:10" in lines[6]


@pytest.mark.parametrize("name", ["a\nFCM: DROP FRAME\n001.mp4", "x" * 200 + ".mp4", "ü\x1b[31m.mp4", "\udcff.mp4"])
def test_no_file_name_can_add_a_line(tmp_path, name):
    lines = written(tmp_path, segmentation(Path("/films") / name))
    assert len(lines) == 3 + 3 * 3
    assert len(lines[0]) <= 77
    assert all(line.isprintable() for line in lines)


def test_a_thousand_scenes_are_numbered_on(tmp_path):
    lines = written(tmp_path, segmentation(lengths=[10] * 1001, probability=[0.9] * 1000))
    assert EVENT.fullmatch(lines[3 + 3 * 1000]).group(1) == "1001"


def test_no_event_is_without_length_at_a_variable_rate(tmp_path):
    events = [match.groups() for line in written(tmp_path, burst()) if (match := EVENT.fullmatch(line))]
    assert [(frames(start, 25), frames(end, 25)) for _, _, start, end, _, _ in events] == [
        (0, 1), (1, 2), (2, 3), (3, 4), (4, 7),
    ]  # fmt: skip

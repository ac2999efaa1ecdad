from __future__ import annotations

import json
import os
import re
from fractions import Fraction
from pathlib import Path
from urllib.parse import unquote_to_bytes
from xml.etree import ElementTree

import numpy as np
import pytest

from bassl.segment.output.editors import write_edl, write_fcpxml, write_otio
from tests.segment.models import burst, segmentation

RATES = [Fraction(24000, 1001), Fraction(30000, 1001)]
LONG = (0, 100, 215784, 215785)  # a scene that starts two hours in
HOSTILE = ["a'b\"c<script>&.mp4", "\x01new\nline.mp4", "\udcff.mp4"]


def long_film(rate, **more):
    return segmentation(lengths=np.diff(LONG).tolist(), probability=(0.9, 0.9), rate=rate, **more)


def otio(tmp_path, found):
    write_otio(tmp_path / "scenes.otio", found)
    return json.loads((tmp_path / "scenes.otio").read_text())


def fcpxml(tmp_path, found):
    write_fcpxml(tmp_path / "scenes.fcpxml", found)
    return ElementTree.parse(tmp_path / "scenes.fcpxml").getroot()


def fraction(seconds: str) -> Fraction:
    assert seconds.endswith("s")
    return Fraction(seconds[:-1])


@pytest.mark.parametrize("rate", RATES)
def test_opentimelineio_has_whole_frames_at_the_films_rate(tmp_path, rate):
    timeline = otio(tmp_path, long_film(rate))
    video, audio = timeline["tracks"]["children"]
    assert (video["kind"], audio["kind"]) == ("Video", "Audio")
    for track in (video, audio):
        assert [clip["name"] for clip in track["children"]] == ["Scene 1", "Scene 2", "Scene 3"]
        spans = [clip["source_range"] for clip in track["children"]]
        assert [(s["start_time"]["value"], s["duration"]["value"]) for s in spans] == [
            (0, 100),
            (100, 215684),
            (215784, 1),
        ]
        assert {s["start_time"]["rate"] for s in spans} == {float(rate)}
        for clip in track["children"]:
            media = clip["media_references"]["DEFAULT_MEDIA"]
            assert media["target_url"] == "file:///films/a%20film.mp4"
            assert media["available_range"]["duration"]["value"] == 215785


@pytest.mark.parametrize("rate", RATES)
def test_fcpxml_has_exact_seconds(tmp_path, rate):
    root = fcpxml(tmp_path, long_film(rate))
    clips = list(root.iter("asset-clip"))
    assert [clip.get("name") for clip in clips] == ["Scene 1", "Scene 2", "Scene 3"]
    assert [fraction(clip.get("start")) * rate for clip in clips] == list(LONG[:3])
    assert [fraction(clip.get("offset")) * rate for clip in clips] == list(LONG[:3])
    assert [fraction(clip.get("duration")) * rate for clip in clips] == np.diff(LONG).tolist()
    assert fraction(root.find(".//format").get("frameDuration")) == 1 / rate
    assert fraction(root.find(".//asset").get("duration")) * rate == LONG[-1]
    assert root.find(".//sequence").get("tcFormat") == ("DF" if rate.denominator == 1001 and rate > 25 else "NDF")


def test_sound_is_there_where_the_film_has_it(tmp_path):
    assert fcpxml(tmp_path, segmentation()).find(".//asset").get("hasAudio") == "1"
    assert fcpxml(tmp_path, segmentation(has_audio=False)).find(".//asset").get("hasAudio") is None
    assert len(otio(tmp_path, segmentation(has_audio=False))["tracks"]["children"]) == 1


def test_timelines_start_with_the_films_own_timecode(tmp_path):
    found = segmentation(rate=Fraction(25), timecode="01:00:00:00")
    root = fcpxml(tmp_path, found)
    assert [root.find(path).get(name) for path, name in ((".//asset", "start"), (".//sequence", "tcStart"))] == [
        "3600s"
    ] * 2
    assert fraction(next(root.iter("asset-clip")).get("start")) == 3600
    timeline = otio(tmp_path, found)
    clip = timeline["tracks"]["children"][0]["children"][1]
    assert timeline["global_start_time"]["value"] == 90000
    assert clip["source_range"]["start_time"]["value"] == 90100
    assert clip["media_references"]["DEFAULT_MEDIA"]["available_range"]["start_time"]["value"] == 90000


@pytest.mark.parametrize("name", HOSTILE)
def test_timelines_take_any_file_name(tmp_path, name):
    found = segmentation(Path("/films") / name)
    root = fcpxml(tmp_path, found)
    assert len(list(root.iter("asset-clip"))) == 3
    assert root.find(".//media-rep").get("src").startswith("file:///films/")
    media = otio(tmp_path, found)["tracks"]["children"][0]["children"][0]["media_references"]["DEFAULT_MEDIA"]
    assert media["name"]
    assert os.fsencode(unquote_to_bytes(media["target_url"])) == b"file://" + os.fsencode(Path("/films") / name)


def test_every_clip_has_a_length_at_a_variable_rate(tmp_path):
    lengths = [fraction(clip.get("duration")) for clip in fcpxml(tmp_path, burst()).iter("asset-clip")]
    assert lengths == [Fraction(1, 25)] * 4 + [Fraction(3, 25)]
    clips = otio(tmp_path, burst())["tracks"]["children"][0]["children"]
    assert [clip["source_range"]["duration"]["value"] for clip in clips] == [1, 1, 1, 1, 3]


EVENT = re.compile(r"(\d{3,})  (\S{1,8}) +V     C        (\S+) (\S+) (\S+) (\S+)")
EDL_LENGTHS = (17982, 24 * 3600, 1)


def edl(tmp_path, found):
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
def test_edl_events_are_frame_exact_and_meet(tmp_path, rate, count, mode):
    lines = edl(tmp_path, segmentation(lengths=EDL_LENGTHS, probability=(0.9, 0.9), rate=rate))
    assert lines[:2] == ["TITLE: a film.mp4", f"FCM: {mode}"]
    events = [match.groups() for line in lines if (match := EVENT.fullmatch(line))]
    assert [number for number, *_ in events] == ["001", "002", "003"]
    spans = [(frames(start, count), frames(end, count)) for _, _, start, end, _, _ in events]
    assert spans == [(0, 17982), (17982, 17982 + 86400), (17982 + 86400, 17982 + 86401)]
    assert all(event[2:4] == event[4:6] for event in events)


@pytest.mark.parametrize("name", ["a\nFCM: DROP FRAME\n001.mp4", "x" * 200 + ".mp4", "ü\x1b[31m.mp4", "\udcff.mp4"])
def test_no_file_name_can_add_a_line(tmp_path, name):
    lines = edl(tmp_path, segmentation(Path("/films") / name))
    assert len(lines) == 3 + 3 * 3
    assert len(lines[0]) <= 77
    assert all(line.isprintable() for line in lines)


def test_every_event_has_a_length_at_a_variable_rate(tmp_path):
    events = [match.groups() for line in edl(tmp_path, burst()) if (match := EVENT.fullmatch(line))]
    assert [(frames(start, 25), frames(end, 25)) for _, _, start, end, _, _ in events] == [
        (0, 1), (1, 2), (2, 3), (3, 4), (4, 7),
    ]  # fmt: skip

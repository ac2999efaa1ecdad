from __future__ import annotations

import re
from fractions import Fraction

import av
import numpy as np
import pytest

from bassl.segment.output.chapters import write_ffmetadata, write_webvtt
from bassl.video.timing import FrameTimes
from tests.segment.models import segmentation

RATES = [Fraction(24000, 1001), Fraction(30000, 1001), Fraction(25)]
VARIABLE = FrameTimes(
    Fraction(30),
    Fraction(1, 3),
    250,
    np.cumsum([0, *np.random.default_rng(0).integers(15, 60, 249)]),
    Fraction(1, 1000),
    40,
)


def chapters(text):
    """Start and end of each chapter in exact seconds, by FFmpeg's syntax."""
    pattern = r"\[CHAPTER\]\nTIMEBASE=(\d+/\d+)\nSTART=(\d+)\nEND=(\d+)\ntitle=(.+)\n"
    return [
        (int(a) * Fraction(base), int(b) * Fraction(base), title) for base, a, b, title in re.findall(pattern, text)
    ]


@pytest.mark.parametrize("film", [{"rate": rate} for rate in RATES] + [{"times": VARIABLE}])
def test_ffmetadata_is_exact_at_any_rate(tmp_path, film):
    found = segmentation(**film)
    write_ffmetadata(tmp_path / "chapters.txt", found)
    text = (tmp_path / "chapters.txt").read_text()
    assert text.startswith(";FFMETADATA1\n")
    assert chapters(text) == [
        (scene.start.seconds, scene.end.seconds, f"Scene {scene.number}") for scene in found.scenes
    ]


def test_a_time_base_that_ffmpeg_cannot_read_is_rounded_up_to_a_nanosecond(tmp_path):
    ticks = np.arange(250) * 500 + np.arange(250) % 7
    found = segmentation(
        times=FrameTimes(Fraction(24000, 1001), Fraction(1, 10**6), 250, ticks, Fraction(1, 11988), 500)
    )
    write_ffmetadata(tmp_path / "chapters.txt", found)
    read = chapters((tmp_path / "chapters.txt").read_text())
    assert len(read) == len(found.scenes) == 3
    for (start, end, _), scene in zip(read, found.scenes, strict=True):
        assert 0 <= start - scene.start.seconds < Fraction(1, 10**9)
        assert 0 <= end - scene.end.seconds < Fraction(1, 10**9)
    with av.open(str(tmp_path / "chapters.txt"), format="ffmetadata") as file:
        assert len(file.chapters()) == 3


@pytest.mark.parametrize("rate", RATES)
def test_webvtt_jumps_to_the_scenes_first_frame(tmp_path, rate):
    found = segmentation(lengths=[100_000, 101, 99], probability=(0.9, 0.9), rate=rate)
    write_webvtt(tmp_path / "chapters.vtt", found)
    text = (tmp_path / "chapters.vtt").read_text()
    assert text.startswith("WEBVTT\n\n1\n00:00:00.000 --> ")
    cues = re.findall(r"(\d\d):(\d\d):(\d\d\.\d{3}) --> (\d\d):(\d\d):(\d\d\.\d{3})\nScene (\d+)", text)
    assert len(cues) == 3
    for scene, (hours, minutes, seconds, *end, number) in zip(found.scenes, cues, strict=True):
        start = 3600 * int(hours) + 60 * int(minutes) + Fraction(seconds)
        assert int(start * rate) == scene.start.frame  # the frame that is shown then
        assert int(number) == scene.number
        assert len(end) == 3

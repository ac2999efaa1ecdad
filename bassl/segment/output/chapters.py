"""Write chapters: `chapters.txt` for FFmpeg, and `chapters.vtt` for the `<track kind="chapters">` of web players."""

from __future__ import annotations

import math
from pathlib import Path

from bassl.segment.scenes import Segmentation
from bassl.video.timecode import clock

NANOSECONDS = 10**9
LARGEST_BASE = 2**31 - 1  # FFmpeg reads it as an int of 32 bits


def write_ffmetadata(path: Path, segmentation: Segmentation) -> None:
    """Write FFmpeg's metadata, exact at any frame rate: the time base makes all starts and ends whole numbers.

    If FFmpeg could not read so large a time base, times are rounded up to a nanosecond.
    """
    moments = [moment for scene in segmentation.scenes for moment in (scene.start, scene.end)]
    base = math.lcm(*(moment.seconds.denominator for moment in moments))
    base = base if base <= LARGEST_BASE else NANOSECONDS
    lines = [";FFMETADATA1"]
    for scene in segmentation.scenes:
        lines += [
            "[CHAPTER]",
            f"TIMEBASE=1/{base}",
            f"START={math.ceil(scene.start.seconds * base)}",
            f"END={math.ceil(scene.end.seconds * base)}",
            f"title=Scene {scene.number}",
        ]
    path.write_text("\n".join(lines) + "\n", encoding="ascii")


def write_webvtt(path: Path, segmentation: Segmentation) -> None:
    """Write WebVTT, rounded up to its milliseconds, so that a jump shows the scene's first frame."""
    cues = [
        f"{scene.number}\n{clock(scene.start.seconds)} --> {clock(scene.end.seconds)}\nScene {scene.number}\n"
        for scene in segmentation.scenes
    ]
    path.write_text("\n".join(["WEBVTT\n", *cues]), encoding="ascii")

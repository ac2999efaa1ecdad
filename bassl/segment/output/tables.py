"""Write `scenes.csv` and `shots.csv`: PySceneDetect's columns and ours after them.

`scenedetect load-scenes` and `bassl segment --shots` read both. As in PySceneDetect, the first frame has number 1, the
end frame is the last of the scene, and times count from the first frame.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

from bassl.segment.scenes import Scene, Segmentation, Shot
from bassl.video.shot_list import END_FRAME, END_SECONDS, START_FRAME, START_SECONDS

COLUMNS = (
    *("Scene Number", START_FRAME, "Start Timecode", START_SECONDS),
    *(END_FRAME, "End Timecode", END_SECONDS, "Length (frames)", "Length (timecode)", "Length (seconds)"),
)


def write_scenes(path: Path, segmentation: Segmentation) -> None:
    """Write a row per scene."""
    extra = [[scene.shots[0].number, scene.shots[-1].number, _text(scene.probability)] for scene in segmentation.scenes]
    _write(path, segmentation, segmentation.scenes, ("First Shot", "Last Shot", "Probability"), extra)


def write_shots(path: Path, segmentation: Segmentation) -> None:
    """Write a row per shot. "Scene Number" is PySceneDetect's name for a shot; "In Scene" is ours."""
    extra = [
        [shot.number, scene.number, _text(shot.probability)] for scene in segmentation.scenes for shot in scene.shots
    ]
    _write(path, segmentation, segmentation.shots, ("Shot", "In Scene", "Probability"), extra)


def _write(
    path: Path,
    segmentation: Segmentation,
    parts: Sequence[Scene] | Sequence[Shot],
    header: Sequence[str],
    extra: Sequence[Sequence[object]],
) -> None:
    rows: Iterable[tuple[Scene | Shot, Sequence[object]]] = zip(parts, extra, strict=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*COLUMNS, *header])
        for number, (part, more) in enumerate(rows, 1):
            first, end = part.start.position, part.end.position
            start_clock, end_clock, length_clock = (
                _clock(seconds)
                for seconds in (
                    part.start.seconds - segmentation.times.start,
                    part.end.seconds - segmentation.times.start,
                    part.end.seconds - part.start.seconds,
                )
            )
            writer.writerow([number, first + 1, *start_clock, end, *end_clock, end - first, *length_clock, *more])


def _clock(seconds: Fraction) -> tuple[str, str]:
    """Return `HH:MM:SS.mmm` and seconds with three decimals, rounded to the nearest."""
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    clock = f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"
    return clock, f"{milliseconds // 1000}.{milliseconds % 1000:03d}"


def _text(probability: float | None) -> str:
    return "" if probability is None else f"{probability:.6f}"

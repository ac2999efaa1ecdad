"""`scenes.csv` and `shots.csv`: PySceneDetect's columns, written by PySceneDetect, and ours behind them.

So `scenedetect load-scenes` reads them, and so does `bassl segment --shots`. As there, the first frame has
number 1, the end frame is the last of the scene, and times count from the first frame.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from bassl.segment.output.handover import at_times
from bassl.segment.scenes import Scene, Segmentation, Shot


def write_scenes(path: Path, segmentation: Segmentation) -> None:
    """A row a scene."""
    rows = [[scene.shots[0].number, scene.shots[-1].number, _shown(scene.probability)] for scene in segmentation.scenes]
    _write(path, segmentation, segmentation.scenes, ["First Shot", "Last Shot", "Probability"], rows)


def write_shots(path: Path, segmentation: Segmentation) -> None:
    """A row a shot. PySceneDetect calls its shots scenes, hence "Scene Number"; ours is "In Scene"."""
    rows = [
        [shot.number, scene.number, _shown(shot.probability)] for scene in segmentation.scenes for shot in scene.shots
    ]
    _write(path, segmentation, segmentation.shots, ["Shot", "In Scene", "Probability"], rows)


def _write(
    path: Path,
    segmentation: Segmentation,
    parts: Sequence[Scene] | Sequence[Shot],
    header: list[str],
    more: list[list[object]],
) -> None:
    spans = at_times(segmentation, parts)
    from scenedetect.output import write_scene_list

    theirs = io.StringIO()
    write_scene_list(theirs, spans, include_cut_list=False)
    rows = csv.reader(theirs.getvalue().splitlines())
    columns = next(rows)
    positions = [(part.start.position, part.end.position) for part in parts]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*columns, *header])
        for span, row, ours in zip(positions, rows, more, strict=True):
            start, end = span  # theirs leave nothing of a part below half a frame
            frames = {"Start Frame": start + 1, "End Frame": end, "Length (frames)": end - start}
            writer.writerow([*(frames.get(name, value) for name, value in zip(columns, row, strict=True)), *ours])


def _shown(probability: float | None) -> str:
    return "" if probability is None else f"{probability:.6f}"

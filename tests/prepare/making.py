"""Small data sets in MovieNet's layout, made on the spot."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from bassl.labels.label_files import NO_LABEL, write_label_file
from bassl.prepare.layout import Layout, keyframe_name, write_shot_file
from bassl.prepare.main import main

LENGTHS = {"one": (24, 30, 24), "two": (30, 24, 24, 24), "three": (24, 24)}
"""Shots of the films of the fixture `films`, in frames."""


def prepare(*arguments: object) -> int:
    """Run `bassl prepare` in this process and return its exit status."""
    return main([str(argument) for argument in arguments])


def jpeg(width: int = 96, height: int = 64, **options: object) -> bytes:
    """Return a picture with some content."""
    pixels = np.random.default_rng(0).integers(0, 255, (4, 6, 3), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(pixels).resize((width, height)).save(file, **{"format": "JPEG", **options})
    return file.getvalue()


def shot_frames(num_shots: int, length: int = 100) -> np.ndarray:
    """Return (num_shots, 2) of shots without gaps."""
    first = np.arange(num_shots) * length
    return np.stack([first, first + length - 1], axis=1)


def make_film(
    root: Path, name: str, num_shots: int, labels: Sequence[int] | None = None, with_shot_file: bool = True
) -> None:
    """Write key-frames, a shot file and, for labels of the first shots, a label file."""
    layout = Layout.of(root)
    (layout.keyframes / name).mkdir(parents=True)
    for shot in range(num_shots):
        for keyframe in range(3):
            (layout.keyframes / name / keyframe_name(shot, keyframe)).write_bytes(JPEG)
    if with_shot_file:
        write_shot_file(layout.shots / f"{name}.txt", shot_frames(num_shots))
    if labels is not None:
        write_label_file(layout.labels / f"{name}.txt", np.array([*labels, NO_LABEL], np.int8))


def write_split(root: Path, **splits: Sequence[str]) -> None:
    """Write a split file of the published form."""
    path = Layout.of(root).split
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(splits))


def rows_of(root: Path, name: str) -> list[dict[str, object]]:
    """Return the rows of `anno.<name>.ndjson`."""
    return [json.loads(line) for line in Layout.of(root).annotation_file(name).read_text().splitlines()]


def labels_of(root: Path, name: str) -> dict[str, list[object]]:
    """Return the labels of each film in `anno.<name>.ndjson`."""
    labels: dict[str, list[object]] = {}
    for row in rows_of(root, name):
        labels.setdefault(str(row["video_id"]), []).append(row["boundary_label"])
    return labels


def tree_bytes(root: Path, *, hidden: bool = False) -> Mapping[str, bytes]:
    """Return the content of every file below `root` by its path, without hidden folders unless asked for."""
    paths = {path.relative_to(root): path for path in sorted(root.rglob("*")) if path.is_file()}
    is_hidden = {name: any(part.startswith(".") for part in name.parts) for name in paths}
    return {str(name): path.read_bytes() for name, path in paths.items() if hidden or not is_hidden[name]}


JPEG = jpeg()

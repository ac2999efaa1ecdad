"""Small data sets in MovieNet's layout, made on the spot."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from bassl.prepare.layout import Layout, keyframe_name, write_shot_file
from bassl.prepare.main import main

LENGTHS = {"one": (24, 30, 24), "two": (30, 24, 24, 24), "three": (24, 24)}
"""Shots of the films of the fixture `films`, in frames."""


def prepare(*arguments: object) -> int:
    """`bassl prepare` in this process; its exit status."""
    return main([str(argument) for argument in arguments])


def jpeg(width: int = 96, height: int = 64, seed: int = 0) -> bytes:
    """A picture with something in it."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 255, (4, 6, 3), dtype=np.uint8)
    file = BytesIO()
    Image.fromarray(small).resize((width, height)).save(file, "JPEG")
    return file.getvalue()


def shot_frames(num_shots: int, length: int = 100) -> np.ndarray:
    """(num_shots, 2): shots of `length` frames behind one another."""
    first = np.arange(num_shots) * length
    return np.stack([first, first + length - 1], axis=1)


def make_film(
    root: Path,
    name: str,
    num_shots: int,
    labels: Mapping[int, int] | None = None,
    with_shot_file: bool = True,
) -> None:
    """Key-frames, a shot file and, where labels are given, a label file."""
    layout = Layout.of(root)
    folder = layout.keyframes / name
    folder.mkdir(parents=True)
    picture = jpeg()
    for shot in range(num_shots):
        for keyframe in range(3):
            (folder / keyframe_name(shot, keyframe)).write_bytes(picture)
    if with_shot_file:
        write_shot_file(layout.shots / f"{name}.txt", shot_frames(num_shots))
    if labels is not None:
        write_labels(root, name, labels)


def write_labels(root: Path, name: str, labels: Mapping[int, int]) -> None:
    """A label file of the given lines."""
    path = Layout.of(root).labels / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{shot:04d} {label}\n" for shot, label in labels.items()))


def write_split(root: Path, **splits: Sequence[str]) -> None:
    """A split file of the published form."""
    path = Layout.of(root).split
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({name: list(films) for name, films in splits.items()}))


def all_zero(num_labels: int, **ends: int) -> dict[int, int]:
    """Labels of shots 0 .. num_labels - 1, 0 but for `s3=1` and the like."""
    labels = dict.fromkeys(range(num_labels), 0)
    return labels | {int(shot[1:]): label for shot, label in ends.items()}


def rows_of(path: Path) -> list[dict[str, object]]:
    """The rows of an annotation file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def tree_bytes(root: Path, *, hidden: bool = False) -> dict[str, bytes]:
    """Content of every file below `root` by its path; hidden folders are left out unless asked for."""
    found = {}
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        if path.is_file() and (hidden or not any(part.startswith(".") for part in parts)):
            found["/".join(parts)] = path.read_bytes()
    return found

"""Write `anno/anno.*.ndjson` and `anno/vid2idx.json` from films with their shots and labels."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from bassl.files import write_atomically
from bassl.labels.label_files import NO_LABEL, Labels
from bassl.prepare.layout import ANNOTATION_NAMES, SPLIT_NAMES, Layout
from bassl.prepare.splits import Splits


@dataclass(frozen=True)
class Film:
    """A film as the annotations list it.

    Attributes:
        name: name of its folder.
        labels: (num_shots,) boundary labels, see `bassl.labels.label_files`.
        has_keyframes: whether it can be pre-trained on.
        digits: width of a shot's number in the names of its key-frames.
    """

    name: str
    labels: Labels
    has_keyframes: bool
    digits: int = 4

    @property
    def is_labelled(self) -> bool:
        """Whether any shot has a label."""
        return bool((self.labels != NO_LABEL).any())

    @property
    def scenes(self) -> np.ndarray:
        """Scene of each shot in its film, (num_shots,). -1 ends a scene too, as in the benchmark."""
        ends = (self.labels == 1) | (self.labels == -1)
        return np.cumsum(ends) - ends


def write_annotations(layout: Layout, films: Iterable[Film], splits: Splits) -> dict[str, int]:
    """Write all annotation files that have rows, remove the others, and return the number of rows by file.

    `pretrain` has every shot of every film with key-frames, `trainvaltest` every labelled shot, and `train`, `val` and
    `test` those of the split's films. Films are sorted by name, shots by number.
    """
    ordered = sorted(films, key=lambda film: film.name)
    numbers = {film.name: index for index, film in enumerate(ordered)}
    labelled = [film for film in ordered if film.is_labelled]
    first_scene: dict[str, int] = {}
    num_scenes = 0
    for film in labelled:
        first_scene[film.name] = num_scenes
        num_scenes += int(film.scenes[-1]) + 1
    lines = {"pretrain": _pretrain_lines(ordered), "trainvaltest": _labelled_lines(labelled, numbers, first_scene)}
    for split in SPLIT_NAMES:
        members = set(splits.get(split, ()))
        chosen = [film for film in labelled if film.name in members]
        lines[split] = _labelled_lines(chosen, numbers, first_scene)
    rows = {name: _write_lines(layout.annotation_file(name), lines[name]) for name in ANNOTATION_NAMES}
    text = json.dumps(numbers) + "\n"
    write_atomically(layout.numbers, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return rows


def _pretrain_lines(films: Iterable[Film]) -> Iterator[str]:
    for film in films:
        if film.has_keyframes:
            labels = np.where(film.labels == NO_LABEL, 0, film.labels).tolist()  # not read
            for shot, label in enumerate(labels):
                yield f"{_row_start(film, shot)}{label}}}\n"


def _labelled_lines(films: Iterable[Film], numbers: Mapping[str, int], first_scene: Mapping[str, int]) -> Iterator[str]:
    for film in films:
        labels, scenes, first = film.labels.tolist(), film.scenes.tolist(), first_scene[film.name]
        for shot in np.flatnonzero(film.labels != NO_LABEL).tolist():
            yield (
                f'{_row_start(film, shot)}{labels[shot]}, "global_video_id": {numbers[film.name]}, '
                f'"invideo_scene_id": {scenes[shot]}, "global_scene_id": {first + scenes[shot]}}}\n'
            )


def _row_start(film: Film, shot: int) -> str:
    # `num_shot` is the index of the last shot, as published
    return (
        f'{{"video_id": {json.dumps(film.name)}, "shot_id": "{shot:0{film.digits}d}", '
        f'"num_shot": {len(film.labels) - 1}, "boundary_label": '
    )


def _write_lines(path: Path, lines: Iterator[str]) -> int:
    """Write the lines and return their number; remove the file if there are none."""
    first = next(lines, None)
    if first is None:
        path.unlink(missing_ok=True)
        return 0
    num_rows = 0

    def write(temporary: Path) -> None:
        nonlocal num_rows
        with temporary.open("w", encoding="utf-8") as file:
            for num_rows, line in enumerate(chain([first], lines), 1):  # noqa: B007
                file.write(line)

    write_atomically(path, write)
    return num_rows

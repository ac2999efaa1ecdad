"""From films with their shots and labels to `anno/anno.*.ndjson` and `anno/vid2idx.json`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    """A film as the annotations see it.

    labels: (num_shots,), as in `bassl.labels.label_files`. has_keyframes: whether it can be pre-trained on. digits:
    characters of a shot's number in the names of its key-frames.
    """

    name: str
    labels: Labels
    has_keyframes: bool
    digits: int = 4

    @property
    def num_shots(self) -> int:
        """Shots of the film."""
        return len(self.labels)

    @property
    def is_labelled(self) -> bool:
        """Whether any shot has a label."""
        return bool((self.labels != NO_LABEL).any())

    @property
    def scenes(self) -> np.ndarray:
        """Scene of each shot in its film, (num_shots,): the scene ends before it. -1 counts as an end, as in the
        benchmark.
        """
        ends = (self.labels == 1) | (self.labels == -1)
        return np.cumsum(ends) - ends


def write_annotations(layout: Layout, films: Iterable[Film], splits: Splits) -> dict[str, int]:
    """Write all annotation files that have a row, remove older ones that now have none; returns rows by file.

    `pretrain`: every shot of every film with key-frames. `trainvaltest`: every labelled shot. `train`, `val`, `test`:
    those of the split's films. Films in the order of their names, shots in theirs.
    """
    ordered = sorted(films, key=lambda film: film.name)
    numbers = {film.name: index for index, film in enumerate(ordered)}
    labelled = [film for film in ordered if film.is_labelled]
    first_scene: dict[str, int] = {}
    num_scenes = 0
    for film in labelled:
        first_scene[film.name] = num_scenes
        num_scenes += int(film.scenes[-1]) + 1
    chosen: dict[str, Sequence[Film]] = {"trainvaltest": labelled}
    for split in SPLIT_NAMES:
        members = set(splits.get(split, ()))
        chosen[split] = [film for film in labelled if film.name in members]
    rows = {"pretrain": _write(layout.annotation_file("pretrain"), _pretrain_lines(ordered))}
    for name, members_of in chosen.items():
        lines = _labelled_lines(members_of, numbers, first_scene)
        rows[name] = _write(layout.annotation_file(name), lines)
    text = json.dumps(numbers) + "\n"
    write_atomically(layout.numbers, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return {name: rows[name] for name in ANNOTATION_NAMES}


def _pretrain_lines(films: Iterable[Film]) -> Iterator[str]:
    for film in films:
        if not film.has_keyframes:
            continue
        start, end = _row_start(film)
        known = np.where(film.labels == NO_LABEL, 0, film.labels).tolist()  # nothing reads the label of this file
        for shot, label in enumerate(known):
            yield f"{start}{shot:0{film.digits}d}{end}{label}}}\n"


def _labelled_lines(films: Iterable[Film], numbers: Mapping[str, int], first_scene: Mapping[str, int]) -> Iterator[str]:
    for film in films:
        start, end = _row_start(film)
        labels, scenes, offset = film.labels.tolist(), film.scenes.tolist(), first_scene[film.name]
        for shot in np.flatnonzero(film.labels != NO_LABEL).tolist():
            yield (
                f'{start}{shot:0{film.digits}d}{end}{labels[shot]}, "global_video_id": {numbers[film.name]}, '
                f'"invideo_scene_id": {scenes[shot]}, "global_scene_id": {offset + scenes[shot]}}}\n'
            )


def _row_start(film: Film) -> tuple[str, str]:
    """What stands before and behind the shot's number. `num_shot` is the index of the last shot, as published."""
    start = f'{{"video_id": {json.dumps(film.name)}, "shot_id": "'
    return start, f'", "num_shot": {film.num_shots - 1}, "boundary_label": '


def _write(path: Path, lines: Iterator[str]) -> int:
    """Write the lines and return their number; without any, there is to be no such file."""
    first = next(lines, None)
    if first is None:
        path.unlink(missing_ok=True)
        return 0
    num_rows = 0

    def write(temporary: Path) -> None:
        nonlocal num_rows
        with temporary.open("w", encoding="utf-8") as file:
            for line in chain([first], lines):
                file.write(line)
                num_rows += 1

    write_atomically(path, write)
    return num_rows

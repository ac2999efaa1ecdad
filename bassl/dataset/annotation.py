"""Annotation files: `anno.<split>.ndjson`, one JSON object per shot, as checked NumPy columns.

Do not trust `num_shot` for the length of a film: it is the index of the last shot in the published files and the
number of shots in files of other tools. The rows, the shot files or the feature store decide.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from bassl.errors import InputError
from bassl.files import LONGEST_NAME

log = logging.getLogger(__name__)
FILM_NAME = re.compile(r"[\w][\w.+=@,'&()\[\] -]*")
UNKNOWN_SCENE = -1


@dataclass(frozen=True)
class Annotations:
    """The R rows of an annotation file on F films, in the order of the file.

    Attributes:
        films: names of the films, F.
        film: index into films, (R,).
        shot: number of the shot in its film, (R,).
        label: 1 if a scene ends with this shot, 0 if not, -1 if uncertain, (R,).
        scene: number of the shot's scene in its film, UNKNOWN_SCENE if not annotated, (R,).
        num_shots: shots per film, at least those with a row, (F,).
        digits: characters of a shot id in the names of files, (F,).
    """

    films: tuple[str, ...]
    film: np.ndarray
    shot: np.ndarray
    label: np.ndarray
    scene: np.ndarray
    num_shots: np.ndarray
    digits: np.ndarray

    def __len__(self) -> int:
        return len(self.film)

    def shot_id(self, film: int, shot: int) -> str:
        """Return the zero-padded number of a shot, as in the names of its key-frames."""
        return f"{shot:0{self.digits[film]}d}"

    def select(self, rows: np.ndarray) -> Annotations:
        """Keep some of the rows, by mask or index; the films and their lengths stay."""
        return replace(self, film=self.film[rows], shot=self.shot[rows], label=self.label[rows], scene=self.scene[rows])

    def first_films(self, number: int) -> Annotations:
        """Keep the rows of the first films, in the order in which films appear."""
        kept = self.select(self.film < number)
        return replace(kept, films=self.films[:number], num_shots=self.num_shots[:number], digits=self.digits[:number])

    def with_num_shots(self, num_shots: Mapping[str, int], source: str) -> Annotations:
        """Replace the lengths of the films that a better source knows (shot files, feature store).

        Raises InputError where a row lies past the end of its film.
        """
        lengths = self.num_shots.copy()
        for index, name in enumerate(self.films):
            known = num_shots.get(name, lengths[index])
            if known < lengths[index]:
                raise InputError(
                    f"film {name} has a row for shot {lengths[index] - 1}, but {source} holds only {known} shots "
                    f"(0 to {known - 1}); use annotations and data of the same release"
                )
            lengths[index] = known
        return replace(self, num_shots=lengths)

    def scene_numbers(self) -> np.ndarray:
        """Return the scene of each row in its film, (R,).

        Films without annotated scenes are counted from their boundary labels, where -1 counts as a boundary.
        """
        scenes = self.scene.copy()
        for film in np.unique(self.film[scenes == UNKNOWN_SCENE]):
            rows = np.flatnonzero(self.film == film)
            rows = rows[np.argsort(self.shot[rows])]
            ends = np.abs(self.label[rows])
            scenes[rows] = np.cumsum(ends) - ends
        return scenes


def is_film_name(name: object) -> TypeGuard[str]:
    """Return whether a name can safely name a folder and a file."""
    if not isinstance(name, str) or ".." in name or len(name.encode(errors="replace")) > LONGEST_NAME:
        return False
    return FILM_NAME.fullmatch(name) is not None


def read_annotations(path: Path) -> Annotations:
    """Read and check an annotation file.

    Raises InputError for a missing or empty file, and with line and field for a malformed row or a shot listed twice.
    """
    if not path.is_file():
        raise InputError(
            f"annotation file {path} does not exist; set config.DATA_PATH to a folder that holds anno/{path.name}, or "
            "get MovieNet's with scripts/download_movienet_data.sh"
        )
    film_index: dict[str, int] = {}
    digits: list[int] = []
    last_index: list[int] = []  # num_shot of each film's first row
    rows: list[tuple[int, int, int, int, int]] = []
    with path.open("rb") as file:
        for line, text in enumerate(file, 1):
            if not text.strip():
                continue
            row = _parse_row(text, f"{path}, line {line}")
            film = film_index.setdefault(row["video_id"], len(film_index))
            if film == len(digits):
                digits.append(len(row["shot_id"]))
                last_index.append(row["num_shot"])
            digits[film] = min(digits[film], len(row["shot_id"]))  # ids without padding differ in length
            scene = row.get("invideo_scene_id", UNKNOWN_SCENE)
            rows.append((film, int(row["shot_id"]), int(row["boundary_label"]), scene, line))
    if not rows:
        raise InputError(f"annotation file {path} holds no rows; make it again")
    films = tuple(film_index)
    film_column, shot, label, scene_column, line_column = np.asarray(rows, dtype=np.int32).T
    _check_duplicates(path, films, film_column, shot, line_column)
    num_shots = np.zeros(len(films), np.int64)
    np.maximum.at(num_shots, film_column, shot + 1)
    if past := [f"{films[i]} ({n})" for i, n in enumerate(last_index) if num_shots[i] > n + 1]:
        log.warning("%s: num_shot is below the listed shots in %d films, such as %s; ignored", path, len(past), past[0])
    return Annotations(
        films=films,
        film=film_column,
        shot=shot,
        label=label.astype(np.int8),
        scene=scene_column,
        num_shots=num_shots,
        digits=np.asarray(digits),
    )


def _parse_row(text: bytes, where: str) -> dict[str, Any]:
    try:
        row = json.loads(text.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise InputError(f"{where}: not a JSON object in UTF-8 ({error}); correct or remove it") from error
    if not isinstance(row, dict):
        raise InputError(f"{where}: a row must be a JSON object, not {type(row).__name__}")
    shot_id, label = row.get("shot_id"), row.get("boundary_label")
    is_shot_id = isinstance(shot_id, str) and shot_id.isascii() and shot_id.isdigit() and len(shot_id) <= 9
    checks = {
        "video_id": (is_film_name(row.get("video_id")), "a string that can name a folder"),
        "shot_id": (is_shot_id, "a string of digits such as '0007'"),
        "boundary_label": (not isinstance(label, bool) and label in (-1, 0, 1), "0, 1 or -1"),
        "invideo_scene_id": (_is_int(row.get("invideo_scene_id", UNKNOWN_SCENE), -1), "an integer of at least -1"),
        "num_shot": (_is_int(row.get("num_shot"), 0), "an integer of at least 0"),
    }
    for field, (is_valid, expected) in checks.items():
        if not is_valid:
            raise InputError(f"{where}: {field} {row.get(field)!r} must be {expected}")
    return row


def _is_int(value: object, lowest: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and lowest <= value < 2**31


def _check_duplicates(path: Path, films: tuple[str, ...], film: np.ndarray, shot: np.ndarray, line: np.ndarray) -> None:
    order = np.lexsort((shot, film))
    repeated = (np.diff(film[order]) == 0) & (np.diff(shot[order]) == 0)
    if repeated.any():
        first, second = np.sort(order[np.flatnonzero(repeated)[0] :][:2])
        raise InputError(
            f"{path}, line {line[second]}: shot {shot[second]} of film {films[film[second]]} is already in line "
            f"{line[first]}; remove one"
        )

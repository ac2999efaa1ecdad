"""Annotation files (`anno.*.ndjson`, one JSON object a shot) read into checked columns.

`num_shot` of a row is the index of the last shot in the published files and the number of shots in files of other
tools, so it never decides how long a film is: rows, shot files or the feature store do.
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
    """The rows of an annotation file, R shots of F films, sorted as in the file.

    films: F names. film: (R,) index into films. shot: (R,) shot number in its film. label: (R,) 1 a scene ends with
    this shot, 0 not, -1 uncertain. scene: (R,) number of the shot's scene in its film, -1 unknown. num_shots: (F,)
    shots a film has, at least those of the rows. digits: (F,) characters of a shot id, for file names.
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
        """Zero-padded number of a shot, as in its key-frames' file names."""
        return f"{shot:0{self.digits[film]}d}"

    def select(self, rows: np.ndarray) -> Annotations:
        """Some of the rows, by mask or index; films and their lengths stay."""
        return replace(self, film=self.film[rows], shot=self.shot[rows], label=self.label[rows], scene=self.scene[rows])

    def with_num_shots(self, num_shots: Mapping[str, int], source: str) -> Annotations:
        """The same rows with film lengths from a better source (shot files, feature store), where it knows a film.

        Raises InputError where a row lies past the end of its film.
        """
        lengths = self.num_shots.copy()
        for index, name in enumerate(self.films):
            if name in num_shots:
                if num_shots[name] < lengths[index]:
                    raise InputError(
                        f"film {name} has a row for shot {lengths[index] - 1}, but {source} holds only "
                        f"{num_shots[name]} shots (0 to {num_shots[name] - 1}); annotations and data do not "
                        "belong together"
                    )
                lengths[index] = num_shots[name]
        return replace(self, num_shots=lengths)


def read_annotations(path: Path) -> Annotations:
    """Read and check an annotation file.

    Raises InputError with file, line and field for anything malformed, for a shot listed twice and for a missing or
    empty file.
    """
    if not path.is_file():
        raise InputError(
            f"annotation file {path} does not exist; set config.DATA_PATH to a folder that holds anno/{path.name}, or "
            "get MovieNet's with scripts/download_movienet_data.sh"
        )
    columns = _Columns(path)
    with path.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                columns.add(_row(line, path, number), number)
    return columns.finished()


def _row(line: bytes, path: Path, number: int) -> Any:
    try:
        return json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise InputError(f"{path}, line {number}: not UTF-8 text ({error.reason}); convert the file") from error
    except (ValueError, RecursionError) as error:
        said = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
        raise InputError(f"{path}, line {number}: not a JSON object ({said}); mend or remove it") from error


class _Columns:
    """Rows on their way to columns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.index: dict[str, int] = {}
        self.digits: list[int] = []
        self.last_index: list[int] = []
        self.rows: list[tuple[int, int, int, int, int]] = []

    def add(self, row: Any, line: int) -> None:
        if not isinstance(row, dict):
            raise self._wrong(line, f"a row must be a JSON object, not {type(row).__name__}")
        name, shot_id = row.get("video_id"), row.get("shot_id")
        if not is_film_name(name):
            raise self._wrong(line, f"video_id {name!r} must be a text that can name a folder")
        if not isinstance(shot_id, str) or not shot_id.isascii() or not shot_id.isdigit() or len(shot_id) > 9:
            raise self._wrong(line, f"shot_id {shot_id!r} must be a text of digits such as '0007'")
        label = row.get("boundary_label")
        if isinstance(label, bool) or label not in (-1, 0, 1):
            raise self._wrong(line, f"boundary_label {label!r} must be 0, 1 or -1")
        scene = row.get("invideo_scene_id", UNKNOWN_SCENE)
        if isinstance(scene, bool) or not isinstance(scene, int) or not -1 <= scene < 2**31:
            raise self._wrong(line, f"invideo_scene_id {scene!r} must be a whole number")
        count = row.get("num_shot")
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise self._wrong(line, f"num_shot {count!r} must be a whole number")
        film = self.index.setdefault(name, len(self.index))
        if film == len(self.digits):
            self.digits.append(len(shot_id))
            self.last_index.append(count)
        self.digits[film] = min(self.digits[film], len(shot_id))  # ids without padding differ in length
        self.rows.append((film, int(shot_id), int(label), scene, line))

    def _wrong(self, line: int, what: str) -> InputError:
        return InputError(f"{self.path}, line {line}: {what}")

    def finished(self) -> Annotations:
        if not self.rows:
            raise InputError(f"annotation file {self.path} holds no rows; make it again")
        film, shot, label, scene, line = np.asarray(self.rows, dtype=np.int32).T
        films = tuple(self.index)
        _refuse_duplicates(self.path, films, film, shot, line)
        num_shots = np.zeros(len(films), np.int64)
        np.maximum.at(num_shots, film, shot + 1)
        past = [f"{films[i]} ({n})" for i, n in enumerate(self.last_index) if num_shots[i] > n + 1]
        if past:
            log.warning(
                "%s: num_shot lies below the shots listed in %d films, such as %s; the rows count",
                self.path,
                len(past),
                past[0],
            )
        return Annotations(films, film, shot, label.astype(np.int8), scene, num_shots, np.asarray(self.digits))


def _refuse_duplicates(
    path: Path, films: tuple[str, ...], film: np.ndarray, shot: np.ndarray, line: np.ndarray
) -> None:
    order = np.lexsort((shot, film))
    same = (np.diff(film[order]) == 0) & (np.diff(shot[order]) == 0)
    if same.any():
        first, second = np.sort(order[np.flatnonzero(same)[0] :][:2])
        raise InputError(
            f"{path}, line {line[second]}: shot {shot[second]} of film {films[film[second]]} stands already in line "
            f"{line[first]}; remove one"
        )


def is_film_name(name: object) -> TypeGuard[str]:
    """Whether a film's name can safely name a folder and a file."""
    return (
        isinstance(name, str)
        and FILM_NAME.fullmatch(name) is not None
        and ".." not in name
        and len(name.encode()) <= LONGEST_NAME
    )

"""Read shots from PySceneDetect's scene lists, MovieNet's shot files, and TransNetV2's text files."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bassl.dataset.shot_files import read_shot_frames
from bassl.errors import InputError
from bassl.video.tables import Row, parse_number, parse_whole, read_table
from bassl.video.timing import FrameTimes

START_FRAME, END_FRAME = "Start Frame", "End Frame"
START_SECONDS, END_SECONDS = "Start Time (seconds)", "End Time (seconds)"

FAR = 2.0  # seconds before the first shot and after the last that need no warning


@dataclass(frozen=True)
class ShotList:
    """Shots in order, as a file lists them.

    Attributes:
        frames: (num_shots, 2) first and last frame.
        seconds: start and end of each shot, if the file has them. Used at variable frame rates only, where
            PySceneDetect's frame numbers are approximate.
    """

    path: Path
    frames: npt.NDArray[np.int64]
    seconds: tuple[tuple[Fraction, Fraction], ...] | None = None

    @property
    def num_shots(self) -> int:
        """Number of shots."""
        return len(self.frames)

    def in_film(self, times: FrameTimes) -> npt.NDArray[np.int64]:
        """Return first and last frame of each shot, (num_shots, 2), in the film's own count.

        Raises:
            InputError: if a shot starts after the end of the film.
        """
        frames = self.frames
        if times.is_variable and self.seconds is not None:
            nearest = times.nearest_frame
            frames = np.array(
                [[nearest(times.start + begin), nearest(times.start + end) - 1] for begin, end in self.seconds]
            )
            frames[:, 1] = np.maximum(frames[:, 1], frames[:, 0])
        if frames[-1, 0] >= times.num_frames:
            raise InputError(
                f"{self.path}: the last shot starts at frame {frames[-1, 0]}, the film has {times.num_frames}; "
                "it belongs to another film or version"
            )
        return np.minimum(frames, times.num_frames - 1)

    def warnings(self, frames: npt.NDArray[np.int64], times: FrameTimes) -> list[str]:
        """Return warnings about the list for a film; `frames` as `in_film` returns them."""
        warnings = []
        begin, end = times.seconds(int(frames[0, 0])) - times.start, times.seconds(int(frames[-1, 1]) + 1) - times.start
        doubt = f"{self.path.name} may belong to another film or version"
        if begin > FAR:
            warnings.append(f"the first shot of the list starts {float(begin):.1f} s into the film: {doubt}")
        if times.duration - end > FAR:
            warnings.append(
                f"the last shot of the list ends at {float(end):.1f} s, the film lasts {float(times.duration):.1f} s: "
                f"{doubt}"
            )
        return warnings


def read_shot_list(path: Path) -> ShotList:
    """Read a CSV with PySceneDetect's column names, or a text file with first and last frame per line.

    In a CSV the first frame has number 1 (PySceneDetect's convention), in text files 0. Overlapping shots are
    shortened to the start of the next.

    Raises:
        InputError: if the file is missing or holds no shots, or shots are malformed or not in order.
    """
    if not path.is_file():
        raise InputError(f"shot list {path} does not exist; give a scene list of PySceneDetect or a shot file")
    shots = _read_csv(path) or ShotList(path, read_shot_frames(path))
    starts = shots.frames[:, 0]
    unsorted = np.flatnonzero(np.diff(starts) <= 0)
    if len(unsorted):
        shot = int(unsorted[0])
        raise InputError(
            f"{path}: shot {shot + 2} starts at frame {starts[shot + 1]}, not after the one before it "
            f"({starts[shot]}); sort the list"
        )
    frames = shots.frames.copy()
    frames[:-1, 1] = np.minimum(frames[:-1, 1], starts[1:] - 1)
    return ShotList(path, frames, shots.seconds)


def has_shot_columns(path: Path) -> bool:
    """Return whether a table has PySceneDetect's columns, as its scene lists and our scenes.csv do."""
    return _find_head(read_table(path, "table")) is not None


def _read_csv(path: Path) -> ShotList | None:
    """Read a PySceneDetect scene list; return None for other files."""
    rows = read_table(path, "shot list")
    head = _find_head(rows)
    if head is None:
        return None
    names = rows[head].fields
    frames, seconds = [], []
    for row in rows[head + 1 :]:
        fields = dict(zip(names, row.fields, strict=False))
        first, last = (parse_whole(fields.get(name, "")) for name in (START_FRAME, END_FRAME))
        if first is None or last is None:
            raise InputError(f"{path}, line {row.line}: no frame numbers under {START_FRAME!r} and {END_FRAME!r}")
        if not 1 <= first <= last:
            raise InputError(f"{path}, line {row.line}: a shot from frame {first} to {last} is invalid")
        frames.append((first - 1, last - 1))
        start, end = (parse_number(fields.get(name, "")) for name in (START_SECONDS, END_SECONDS))
        if start is not None and end is not None:
            seconds.append((start, end))
    if not frames:
        raise InputError(f"shot list {path} holds no shots")
    return ShotList(path, np.array(frames, np.int64), tuple(seconds) if len(seconds) == len(frames) else None)


def _find_head(rows: list[Row]) -> int | None:
    """Return the index of the row that names the columns, among the first three."""
    return next((index for index, row in enumerate(rows[:3]) if START_FRAME in row.fields), None)

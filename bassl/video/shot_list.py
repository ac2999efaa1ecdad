"""Read shots from PySceneDetect's scene lists, MovieNet's shot files, and TransNetV2's text files."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bassl.dataset.shot_files import read_shot_frames
from bassl.errors import InputError
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
    """Whether a file has PySceneDetect's columns, as its scene lists and our scenes.csv do."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return any(START_FRAME in line for _, line in zip(range(3), file, strict=False))


def _read_csv(path: Path) -> ShotList | None:
    """Read a PySceneDetect scene list; return None for other files."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"shot list {path} cannot be read as text ({error})") from error
    head = next((number for number, line in enumerate(lines[:3]) if START_FRAME in line), None)
    if head is None:
        return None
    rows = list(csv.DictReader(lines[head:]))
    frames, seconds = [], []
    for number, row in enumerate(rows, head + 2):
        try:
            first, last = int(row[START_FRAME]) - 1, int(row[END_FRAME]) - 1
            if START_SECONDS in row and END_SECONDS in row:
                seconds.append((Fraction(row[START_SECONDS]), Fraction(row[END_SECONDS])))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{path}, line {number}: no frame numbers under {START_FRAME!r} and {END_FRAME!r}"
            ) from error
        if not 0 <= first <= last:
            raise InputError(f"{path}, line {number}: a shot from frame {first + 1} to {last + 1} is invalid")
        frames.append((first, last))
    if not frames:
        raise InputError(f"shot list {path} holds no shots")
    return ShotList(path, np.array(frames, np.int64), tuple(seconds) if len(seconds) == len(frames) else None)

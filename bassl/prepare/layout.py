"""MovieNet's layout: where a data set's files lie, how key-frames are called, and shot files."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bassl.errors import InputError
from bassl.files import lock_folder, write_atomically

NUM_KEYFRAMES = 3  # as in bassl.dataset.keyframes, which imports torch
SPLIT_NAMES = ("train", "val", "test")
ANNOTATION_NAMES = ("pretrain", "trainvaltest", *SPLIT_NAMES)
KEYFRAME_FILE = re.compile(r"shot_(\d{1,9})_img_([012])\.jpg")
MAX_FRAME = 10**11

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Layout:
    """The folders and files of a data set."""

    root: Path
    annotations: Path
    keyframes: Path
    shots: Path
    labels: Path
    split: Path

    @classmethod
    def of(cls, root: Path) -> Layout:
        """Return MovieNet's places below `root`, where readers look for them below config.DATA_PATH."""
        scene318 = root / "scene318"
        return cls(
            root=root,
            annotations=root / "anno",
            keyframes=root / "240P_frames",
            shots=scene318 / "shot_movie318",
            labels=scene318 / "label318",
            split=scene318 / "meta" / "split318.json",
        )

    def annotation_file(self, name: str) -> Path:
        """Return the path of `anno.<name>.ndjson`."""
        return self.annotations / f"anno.{name}.ndjson"

    @property
    def numbers(self) -> Path:
        """Path of `vid2idx.json`."""
        return self.annotations / "vid2idx.json"

    @property
    def features(self) -> Path:
        """Folder of the feature stores."""
        return self.root / "features"


def keyframe_name(shot: int, keyframe: int, digits: int = 4) -> str:
    """Return the file name of key-frame 0, 1 or 2 of a shot."""
    return f"shot_{shot:0{digits}d}_img_{keyframe}.jpg"


def check_shot_frames(frames: IntArray, film: str) -> None:
    """Raise InputError unless `frames` is (num_shots, 2), first and last frame of at least one shot, in order.

    Neighbours may overlap, as some of BBC's share a frame.
    """
    is_table = frames.ndim == 2 and frames.shape[1:] == (2,) and len(frames) > 0
    if not is_table or (frames < 0).any() or (frames >= MAX_FRAME).any():
        raise InputError(f"the shots of {film} are not (num_shots, 2) frame numbers from 0 to 10^11; correct them")
    reversed_shots = np.flatnonzero(frames[:, 1] < frames[:, 0])
    if len(reversed_shots):
        shot = int(reversed_shots[0])
        raise InputError(f"shot {shot} of {film} ends before it starts: {frames[shot].tolist()}; correct the list")
    unsorted = np.flatnonzero((np.diff(frames, axis=0) < 0).any(axis=1))
    if len(unsorted):
        shot = int(unsorted[0])
        pair = ", ".join(str(frames[number].tolist()) for number in (shot, shot + 1))
        raise InputError(f"shots {shot} and {shot + 1} of {film} are not in order: {pair}; sort the list")


def write_shot_file(path: Path, frames: IntArray, keyframes: IntArray | None = None) -> None:
    """Write a shot file, a line per shot: first frame, last frame, three key-frame numbers.

    Args:
        path: file to write.
        frames: (num_shots, 2) first and last frame.
        keyframes: (num_shots, 3) frame numbers; by default at the quarters of each shot.
    """
    if keyframes is None:
        first, last = frames[:, :1], frames[:, 1:]
        keyframes = first + np.arange(1, NUM_KEYFRAMES + 1) * ((last - first) // 4)
    table = np.concatenate([frames, keyframes], axis=1)
    text = "".join(" ".join(map(str, row)) + "\n" for row in table.tolist())
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="ascii"))


def lock_target(target: Path, job: str = "bassl prepare") -> AbstractContextManager[None]:
    """Hold a data set for one run. Raises InputError if another run keeps it."""
    busy = f"another {job} is writing {target}; wait for it, or name another folder"
    return lock_folder(target / ".prepare", busy, name="lock")

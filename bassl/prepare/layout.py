"""Where things lie in a folder of MovieNet's layout, and the files that have one writer: shot files and label files."""

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
        """MovieNet's places below `root`, which the readers expect below config.DATA_PATH."""
        scene318 = root / "scene318"
        return cls(
            root,
            root / "anno",
            root / "240P_frames",
            scene318 / "shot_movie318",
            scene318 / "label318",
            scene318 / "meta" / "split318.json",
        )

    def annotation_file(self, name: str) -> Path:
        """`anno.<name>.ndjson`."""
        return self.annotations / f"anno.{name}.ndjson"

    @property
    def numbers(self) -> Path:
        """`vid2idx.json`."""
        return self.annotations / "vid2idx.json"

    @property
    def features(self) -> Path:
        """Folder of the feature stores."""
        return self.root / "features"


def keyframe_name(shot: int, keyframe: int) -> str:
    """File name of key-frame 0, 1 or 2 of a shot."""
    return f"shot_{shot:04d}_img_{keyframe}.jpg"


def quarter_frames(frames: IntArray) -> IntArray:
    """The three key-frame numbers of each shot, (num_shots, 3): start + k * ((end - start) // 4), k = 1, 2, 3.

    `frames` is (num_shots, 2), first and last frame. So are 99.3 % of MovieNet's.
    """
    first, last = frames[:, :1], frames[:, 1:]
    return first + np.arange(1, 4) * ((last - first) // 4)


def check_shot_frames(frames: IntArray, film: str) -> None:
    """Raise InputError unless `frames` is (num_shots, 2), at least a shot, each ending where it starts or later, in
    order. Neighbours may overlap (BBC's share a frame now and then).
    """
    if frames.ndim != 2 or frames.shape[1:] != (2,) or not len(frames):
        raise InputError(f"the shots of {film} have shape {frames.shape}; give (num_shots, 2): first and last frame")
    if (frames < 0).any() or (frames >= 10**11).any():
        raise InputError(f"the shots of {film} have frame numbers outside 0 to 10^11; give frames counted from 0")
    turned = np.flatnonzero(frames[:, 1] < frames[:, 0])
    if len(turned):
        raise InputError(
            f"shot {turned[0]} of {film} ends before it starts: {frames[turned[0]].tolist()}; mend the list"
        )
    mixed = np.flatnonzero((np.diff(frames, axis=0) < 0).any(axis=1))
    if len(mixed):
        shot = int(mixed[0])
        raise InputError(
            f"shots {shot} and {shot + 1} of {film} are not in order: {frames[shot].tolist()}, "
            f"{frames[shot + 1].tolist()}; sort the list"
        )


def write_shot_file(path: Path, frames: IntArray, keyframes: IntArray | None = None) -> None:
    """Write a shot file: a line a shot with first frame, last frame and three key-frame numbers."""
    table = np.concatenate([frames, quarter_frames(frames) if keyframes is None else keyframes], axis=1)
    text = "".join(" ".join(map(str, row)) + "\n" for row in table.tolist())
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="ascii"))


def alone(target: Path, job: str = "bassl prepare") -> AbstractContextManager[None]:
    """Hold the target for one run; raises InputError where another run has it."""
    busy = f"another {job} is writing {target}; wait until it ends, or name another folder"
    return lock_folder(target / ".prepare", busy, name="lock")

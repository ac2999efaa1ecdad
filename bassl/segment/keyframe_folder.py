"""Films that exist only as key-frames, in MovieNet's layout.

DATA_FOLDER/240P_frames/<film>/shot_0000_img_0.jpg     three per shot; fewer are repeated
DATA_FOLDER/scene318/shot_movie318/<film>.txt          first and last frame per shot, optional
DATA_FOLDER/scene318/label318/<film>.txt               scene labels per shot, optional
"""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from bassl.dataset.shot_files import read_shot_frames
from bassl.errors import InputError
from bassl.segment.encode import encode_shots
from bassl.segment.encoders import KeyframeEncoder
from bassl.segment.scenes import FilmShots
from bassl.video.timing import FrameTimes

KEYFRAMES, SHOT_FILES, LABELS = "240P_frames", "scene318/shot_movie318", "scene318/label318"
IMAGE = re.compile(r"shot_(\d{4,})_img_(\d+)\.jpg")
NUM_KEYFRAMES = 3
RATE = Fraction(24)
"""Frames per second of MovieNet's films, as its measures assume it."""


@dataclass(frozen=True)
class StoredShot:
    """A shot's first and last frame, and its three key-frames (H, W, 3)."""

    first: int
    last: int
    images: tuple[npt.NDArray[np.uint8], ...]


def find_keyframe_films(data_folder: Path, names: Sequence[str]) -> list[Path]:
    """Return the folders of key-frames of the named films, of all films if none is named.

    Raises:
        InputError: if there is no film, or none of a given name.
    """
    root = data_folder / KEYFRAMES
    known = sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []
    if not known:
        raise InputError(f"{root} holds no film; give the folder that contains {KEYFRAMES}/<film>/")
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 3, 0.5) or known[:5]
            raise InputError(f"{root} holds no film {name!r}; known are {', '.join(near)}")
    return [root / name for name in names or known]


def labels_beside(folder: Path) -> Path | None:
    """Return the label file of a film's folder of key-frames, if there is one."""
    path = folder.parents[1] / LABELS / f"{folder.name}.txt"
    return path if path.is_file() else None


def fingerprint(folder: Path) -> str:
    """Hash names, sizes and modification times of a film's key-frames, and its shot file."""
    shot_file = _shot_file(folder)
    digest = hashlib.sha256(shot_file.read_bytes() if shot_file.is_file() else b"")
    for path in sorted(folder.glob("*.jpg")):
        status = path.stat()
        digest.update(f"{path.name} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def encode_keyframes(folder: Path, encoder: KeyframeEncoder, show_progress: bool = False) -> FilmShots:
    """Return the shots of a film's folder of key-frames with their features.

    Raises:
        InputError: if key-frames are missing or broken, or the shot file has another number of shots.
    """
    images = _images(folder)
    shot_file = _shot_file(folder)
    warnings = []
    has_lengths = shot_file.is_file()
    if has_lengths:
        frames = read_shot_frames(shot_file)
        if len(frames) != len(images):
            raise InputError(f"{shot_file} has {len(frames)} shots, {folder} has {len(images)}; they do not match")
    else:
        first = np.arange(len(images)) * int(RATE)
        frames = np.stack([first, first + int(RATE) - 1], axis=1)
        warnings.append(f"there is no {shot_file}, so each shot counts as one second and lengths are not used")

    def shots() -> Iterator[StoredShot]:
        for (first, last), paths in zip(frames.tolist(), images, strict=True):
            yield StoredShot(first, last, tuple(_read(path) for path in paths))

    height, width = _read(images[0][0]).shape[:2]
    return FilmShots(
        path=folder,
        width=width,
        height=height,
        codec="jpeg",
        has_audio=False,
        timecode=None,
        times=FrameTimes(RATE, Fraction(0), int(frames[-1, 1]) + 1),
        detector={"name": "given", "file": shot_file.name if has_lengths else folder.name},
        warnings=tuple(warnings),
        has_video=False,
        has_lengths=has_lengths,
        **encode_shots(shots(), encoder, folder, show_progress=show_progress)._asdict(),
    )


def _images(folder: Path) -> list[list[Path]]:
    """Return the key-frames of each shot, three per shot."""
    by_shot: dict[int, list[Path]] = {}
    for path in sorted(folder.iterdir()):
        if match := IMAGE.fullmatch(path.name):
            by_shot.setdefault(int(match[1]), []).append(path)
    missing = sorted(set(range(max(by_shot, default=0) + 1)) - set(by_shot))
    if missing:
        raise InputError(f"{folder} holds no key-frame of shot {missing[0]}; expected shot_{missing[0]:04d}_img_0.jpg")
    picks = range(NUM_KEYFRAMES)
    return [[paths[k * len(paths) // NUM_KEYFRAMES] for k in picks] for _, paths in sorted(by_shot.items())]


def _read(path: Path) -> npt.NDArray[np.uint8]:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"key-frame {path} cannot be decoded; it is broken or no image: replace it") from error


def _shot_file(folder: Path) -> Path:
    return folder.parents[1] / SHOT_FILES / f"{folder.name}.txt"

"""Inspect the key-frame folders of films: by their listings, by the ends of their files, or by decoding."""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bassl.errors import InputError
from bassl.prepare.layout import KEYFRAME_FILE, NUM_KEYFRAMES, keyframe_name

START_OF_IMAGE, END_OF_IMAGE = b"\xff\xd8", b"\xff\xd9"
FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 .. SOF15, which hold the size
HEAD_BYTES = 1024  # the size is in the first 200 bytes of most files
TAIL_BYTES = 16
MAX_NAMED = 5  # broken files that are named per film


@dataclass(frozen=True)
class KeyframeListing:
    """The key-frames of a film by the names in its folder.

    Attributes:
        present: (num_shots, 3) whether each key-frame exists. num_shots counts up to the last shot with one.
        digits: width of shot numbers in the names.
        num_misnamed: key-frames whose shot number has another width.
        num_others: files with other names.
    """

    present: NDArray[np.bool_]
    digits: int
    num_misnamed: int = 0
    num_others: int = 0

    @property
    def num_shots(self) -> int:
        """Shots up to the last that has a key-frame."""
        return len(self.present)

    def missing(self) -> list[tuple[int, int]]:
        """Return shot and number of each missing key-frame."""
        return [(int(shot), int(keyframe)) for shot, keyframe in np.argwhere(~self.present)]


@dataclass
class FilmInspection:
    """A film's listing (None without a folder), number of opened files, lines about broken ones, files by size."""

    film: str
    listing: KeyframeListing | None = None
    num_opened: int = 0
    num_broken: int = 0
    broken: list[str] = field(default_factory=list)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)

    @property
    def num_shots(self) -> int:
        """Shots up to the last that has a key-frame."""
        return self.listing.num_shots if self.listing is not None else 0


def list_film_folders(root: Path) -> list[str]:
    """Return the names of the film folders in `root`, sorted. Hidden ones are work in progress and skipped."""
    with os.scandir(root) as entries:
        return sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())


def list_keyframes(folder: Path, digits: int | None = None) -> KeyframeListing:
    """List the key-frames in a film's folder without opening a file.

    digits: width that shot numbers must have for readers to find them, by default the one that fits most names.
    """
    matches, num_others = [], 0
    with os.scandir(folder) as entries:
        for entry in entries:
            match = KEYFRAME_FILE.fullmatch(entry.name)
            if match is not None:
                matches.append((int(match[1]), int(match[2]), len(match[1])))
            else:
                num_others += not entry.name.startswith(".")
    if digits is None:
        widths = Counter((width, len(str(shot))) for shot, _, width in matches)
        digits = max(sorted({width for width, _ in widths}), key=partial(_num_named, widths), default=4)
    named = sorted((shot, keyframe) for shot, keyframe, width in matches if width == max(digits, len(str(shot))))
    # a stray `shot_999999999_img_0.jpg` must not fill the memory with missing shots before it
    near = [(shot, keyframe) for number, (shot, keyframe) in enumerate(named, 1) if shot <= 50 * number + 1000]
    present = np.zeros((near[-1][0] + 1 if near else 0, NUM_KEYFRAMES), dtype=bool)
    present[[shot for shot, _ in near], [keyframe for _, keyframe in near]] = True
    return KeyframeListing(present, digits, len(matches) - len(named), num_others + len(named) - len(near))


def _num_named(widths: Counter[tuple[int, int]], digits: int) -> int:
    """Count the names that zero-padding to `digits` yields, from (width, width without zeros) pairs."""
    return sum(count for (width, needed), count in widths.items() if width == max(digits, needed))


def inspect_film(
    root: Path, film: str, digits: int | None = None, num_sampled: int | None = None, decode: bool = False
) -> FilmInspection:
    """Inspect the key-frames of one film. Runs in worker processes, so torch is imported only to decode.

    Args:
        root: folder of the film folders.
        film: name of the film.
        digits: width of shot numbers in the annotations, see `list_keyframes`.
        num_sampled: shots whose files are opened, spread evenly; None for all, 0 for none.
        decode: decode every pixel as training does, instead of reading headers and ends.
    """
    inspection = FilmInspection(film)
    folder = root / film
    try:
        listing = list_keyframes(folder, digits)
    except OSError:
        return inspection
    inspection.listing = listing
    for shot in _sample(listing.num_shots, num_sampled):
        for keyframe in np.flatnonzero(listing.present[shot]).tolist():
            name = keyframe_name(shot, keyframe, listing.digits)
            inspection.num_opened += 1
            try:
                size = read_image_size(folder / name)
                inspection.sizes[_decode_size(folder / name) if decode else size] += 1
            except (OSError, ValueError) as error:
                inspection.num_broken += 1
                if len(inspection.broken) < MAX_NAMED:
                    reason = error.strerror if isinstance(error, OSError) else error
                    inspection.broken.append(f"{name} {reason}")
    return inspection


def _sample(num_shots: int, num_sampled: int | None) -> Sequence[int]:
    if num_sampled is None or num_sampled >= num_shots:
        return range(num_shots)
    return sorted(set(np.linspace(0, num_shots - 1, num_sampled).astype(int).tolist()))


def read_image_size(path: Path) -> tuple[int, int]:
    """Return width and height of a key-frame in pixels, and check that the file is complete.

    A JPEG with its size near the start and its end mark at the end takes two short reads, 20 microseconds. Everything
    else is decoded, because another format or bytes after the end are valid.

    Raises:
        ValueError: the file is broken, truncated or not a regular file.
        OSError: it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # a pipe would be waited for
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("is not a regular file")
        head = os.read(descriptor, HEAD_BYTES)
        tail = os.pread(descriptor, TAIL_BYTES, max(0, status.st_size - TAIL_BYTES))
    finally:
        os.close(descriptor)
    size = _size_in_header(head)
    return size if size is not None and END_OF_IMAGE in tail else _load_size(path)


def _size_in_header(head: bytes) -> tuple[int, int] | None:
    """Return width and height from a JPEG's first frame header (ITU-T T.81, annex B), None if it is not in `head`."""
    position = len(START_OF_IMAGE) if head.startswith(START_OF_IMAGE) else len(head)
    while position + 9 <= len(head) and head[position] == 0xFF:
        if head[position + 1] in FRAME_HEADERS:
            height, width = (int.from_bytes(head[position + at : position + at + 2], "big") for at in (5, 7))
            return (width, height) if width and height else None
        position += 2 + int.from_bytes(head[position + 2 : position + 4], "big")
    return None


def _load_size(path: Path) -> tuple[int, int]:
    from PIL import Image

    try:
        with Image.open(path) as image:
            image.load()  # unlike training's decoder, Pillow refuses a file without its end
            return image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise ValueError("is truncated" if "truncated" in str(error) else "is not a readable image") from error


def _decode_size(path: Path) -> tuple[int, int]:
    from bassl.dataset.transform import decode_keyframe

    try:
        height, width = decode_keyframe(path).shape[-2:]
    except InputError as error:
        raise ValueError("cannot be decoded") from error
    return int(width), int(height)

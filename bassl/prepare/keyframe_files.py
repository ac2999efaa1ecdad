"""The key-frame folder of a film: what its listing tells without opening a file, and what a file's ends tell."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bassl.prepare.layout import KEYFRAME_FILE, NUM_KEYFRAMES

START_OF_IMAGE, END_OF_IMAGE = b"\xff\xd8", b"\xff\xd9"
FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0 .. SOF15, which carry the size
HEAD_BYTES = 1024  # the size stands in the first 200 bytes of most files; more is read where it does not
TAIL_BYTES = 16


@dataclass(frozen=True)
class KeyframeListing:
    """The key-frames of a film by the names in its folder.

    present: (num_shots, 3) bool. digits: characters of a shot's number in the names. num_others: files of other names.
    """

    present: NDArray[np.bool_]
    digits: int
    num_others: int

    @property
    def num_shots(self) -> int:
        """Shots up to the last that has a key-frame."""
        return len(self.present)

    def missing(self) -> list[tuple[int, int]]:
        """Shots and numbers of the key-frames that are not there."""
        return [(int(shot), int(keyframe)) for shot, keyframe in np.argwhere(~self.present)]


def list_film_folders(root: Path) -> list[str]:
    """Names of the film folders below `root`, sorted; hidden ones are work in progress and left out."""
    with os.scandir(root) as entries:
        return sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir())


def list_keyframes(folder: Path) -> KeyframeListing:
    """Read the listing of a film's folder: one system call for hundreds of files, none is opened."""
    shots, keyframes, digits, num_others = [], [], 0, 0
    with os.scandir(folder) as entries:
        for entry in entries:
            match = KEYFRAME_FILE.fullmatch(entry.name)
            if match is None:
                num_others += not entry.name.startswith(".")
                continue
            text = match[1]
            shots.append(int(text))
            keyframes.append(int(match[2]))
            digits = len(text) if not digits else min(digits, len(text))
    if not shots:
        return KeyframeListing(np.zeros((0, NUM_KEYFRAMES), bool), 4, num_others)
    found = np.array([shots, keyframes])[:, np.argsort(shots, kind="stable")]
    # One stray `shot_999999999_img_0.jpg` is no reason to fill the memory with what is missing before it.
    is_near = found[0] <= 50 * np.arange(1, len(shots) + 1) + 1000
    num_near = len(shots) if is_near.all() else int(is_near.argmin())
    found, num_others = found[:, :num_near], num_others + len(shots) - num_near
    present = np.zeros((int(found[0].max(initial=-1)) + 1, NUM_KEYFRAMES), dtype=bool)
    present[found[0], found[1]] = True
    return KeyframeListing(present, digits, num_others)


def read_jpeg_size(path: str) -> tuple[int, int]:
    """Width and height of a JPEG file in pixels, from its header; its end is looked at too.

    Two short reads, 20 microseconds, where decoding takes 350. Raises ValueError with a few words for a file that is
    no JPEG or ends too early, or no file at all (a pipe would be waited for); OSError where it cannot be read.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("is no regular file")
        size = status.st_size
        if not size:
            raise ValueError("is empty")
        head = os.read(descriptor, HEAD_BYTES)
        if not head.startswith(START_OF_IMAGE):
            raise ValueError("is no JPEG")
        found = _frame_size(head)
        if found is None and size > len(head):
            head += os.read(descriptor, min(size, 1 << 20))
            found = _frame_size(head)
        if found is None:
            raise ValueError("is truncated: its header has no size")
        tail = head[-TAIL_BYTES:] if size <= len(head) else os.pread(descriptor, TAIL_BYTES, size - TAIL_BYTES)
        if END_OF_IMAGE not in tail:
            raise ValueError("is truncated: its end is missing")
        return found
    finally:
        os.close(descriptor)


def _frame_size(head: bytes) -> tuple[int, int] | None:
    """Width and height from the first frame header; None where `head` ends before it. JPEG, ITU-T T.81, annex B."""
    position = 2
    while position + 9 <= len(head):
        if head[position] != 0xFF:
            raise ValueError("has a damaged header")
        marker = head[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker in FRAME_HEADERS:
            height = int.from_bytes(head[position + 5 : position + 7], "big")
            width = int.from_bytes(head[position + 7 : position + 9], "big")
            if not width or not height:
                raise ValueError("has a header with a size of 0")
            return width, height
        if marker in (0xD8, 0x01) or 0xD0 <= marker <= 0xD7:
            position += 2
            continue
        position += 2 + int.from_bytes(head[position + 2 : position + 4], "big")
    return None

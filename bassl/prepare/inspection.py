"""Look at the key-frames of one film; runs in worker processes, so it imports torch only to decode."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bassl.errors import InputError
from bassl.prepare.keyframe_files import list_keyframes, read_jpeg_size

MAX_NAMED = 5  # broken files of a film that are named one by one
MIN_SIDE = 64  # pixels; smaller than that is no picture to learn from


@dataclass
class FilmInspection:
    """What the key-frame folder of a film holds.

    exists: whether there is a folder. num_shots: up to the last key-frame. missing: their number, and the first of
    them. looked_at: files opened. broken: number, and lines about the first. sizes: files by width and height.
    """

    film: str
    exists: bool = False
    num_shots: int = 0
    digits: int = 4
    num_missing: int = 0
    first_missing: tuple[int, int] = (0, 0)
    num_others: int = 0
    num_looked_at: int = 0
    num_broken: int = 0
    broken: list[str] = field(default_factory=list)
    sizes: dict[tuple[int, int], int] = field(default_factory=dict)


def inspect_film(root: Path, film: str, num_sampled: int | None, decode: bool) -> FilmInspection:
    """Inspect one film: its listing, and the headers of its key-frames, or with `decode` all of their pixels.

    num_sampled: shots whose files are opened, spread evenly; None for all of them, 0 for the listing alone.
    """
    found = FilmInspection(film)
    folder = root / film
    try:
        listing = list_keyframes(folder)
    except OSError:
        return found
    found.exists, found.num_shots, found.digits = True, listing.num_shots, listing.digits
    found.num_others = listing.num_others
    if missing := listing.missing():
        found.num_missing, found.first_missing = len(missing), missing[0]
    sizes: Counter[tuple[int, int]] = Counter()
    prefix = f"{folder}{os.sep}"
    for shot in _chosen(listing.num_shots, num_sampled):
        for keyframe in np.flatnonzero(listing.present[shot]):
            name = f"shot_{shot:0{listing.digits}d}_img_{keyframe}.jpg"
            found.num_looked_at += 1
            try:
                sizes[_decoded_size(prefix + name) if decode else read_jpeg_size(prefix + name)] += 1
            except (OSError, ValueError) as error:
                found.num_broken += 1
                if len(found.broken) < MAX_NAMED:
                    reason = error.strerror if isinstance(error, OSError) else error
                    found.broken.append(f"{name} {reason}")
    found.sizes = dict(sizes)
    return found


def _chosen(num_shots: int, num_sampled: int | None) -> Sequence[int]:
    if num_sampled is None or num_sampled >= num_shots:
        return range(num_shots)
    return sorted(set(np.linspace(0, num_shots - 1, num_sampled).astype(int).tolist()))


def _decoded_size(path: str) -> tuple[int, int]:
    """Size of a key-frame, decoded as training decodes it, and its end looked at too: decoders forgive a lost end."""
    from bassl.dataset.transform import decode_keyframe

    read_jpeg_size(path)  # before decoding, which would wait for a pipe
    try:
        height, width = decode_keyframe(path).shape[-2:]
    except InputError as error:
        raise ValueError("cannot be decoded") from error
    return int(width), int(height)

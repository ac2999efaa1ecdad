"""A strip of key-frames: which shots are shown where there is no room for all, and their pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from bassl.errors import InputError

Pixels = npt.NDArray[np.uint8]
KeyframeReader = Callable[[int], "Pixels | Image.Image | None"]
"""Shot number -> its key-frame, uint8 (H, W, 3) or a Pillow image; None where there is none."""

MISSING_COLOR = 226


class Tile(NamedTuple):
    """One picture of a strip, from place `left` to place `right` (fractions where places are narrower than
    tiles).

    shown: the place whose key-frame it shows, the one in its middle.
    """

    left: float
    right: float
    shown: int


def strip_tiles(num_places: int, cuts: Sequence[int], place_width: float, tile_width: float) -> list[Tile]:
    """Tiles that cover places 0 .. num_places - 1 and never reach across a cut.

    cuts: places that a scene ends with. place_width: pixels of a place; tile_width: pixels of a tile at its
    best. Every place has its own tile where it is wider than half of that; else a scene has as many equal
    tiles as come nearest to it.
    """
    ends = sorted({cut + 1 for cut in cuts if 0 <= cut < num_places - 1} | {num_places})
    tiles: list[Tile] = []
    start = 0
    for end in ends:
        length = end - start
        num_tiles = length if 2 * place_width > tile_width else max(round(length * place_width / tile_width), 1)
        edges = [start + i * length / num_tiles for i in range(num_tiles + 1)]
        tiles += [Tile(left, right, int((left + right) / 2)) for left, right in pairwise(edges)]
        start = end
    return tiles


def strip_pixels(
    tiles: Sequence[Tile], shots: Sequence[int], keyframes: KeyframeReader, place_width: float, height: int
) -> Pixels:
    """The strip as (height, W, 3) uint8, W the width of all places in pixels.

    shots: shot number of each place. A shot without key-frame is grey.
    """
    width = max(round(tiles[-1].right * place_width), 1)
    strip = np.full((height, width, 3), MISSING_COLOR, dtype=np.uint8)
    for tile in tiles:
        left, right = round(tile.left * place_width), round(tile.right * place_width)
        image = keyframes(int(shots[tile.shown]))
        if image is not None and right > left:
            strip[:, left:right] = cover(image, right - left, height)
    return strip


def cover(image: Pixels | Image.Image, width: int, height: int) -> Pixels:
    """A key-frame resized to cover width x height pixels and cut to them around its centre, (height, width,
    3).

    Raises InputError for anything but a Pillow image or a uint8 array (H, W, 3).
    """
    if not isinstance(image, Image.Image):
        array = np.asarray(image)
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
            raise InputError(f"a key-frame is {array.dtype} of shape {array.shape}; give uint8 (H, W, 3)")
        image = Image.fromarray(np.ascontiguousarray(array))
    scale = min(image.width / width, image.height / height)
    left, top = (image.width - scale * width) / 2, (image.height - scale * height) / 2
    box = (left, top, left + scale * width, top + scale * height)
    return np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.LANCZOS, box))

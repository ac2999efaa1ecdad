"""Key-frames in pictures: cropped to a place, side by side in a strip, or anywhere on a sheet."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from bassl.plots import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Pixels = npt.NDArray[np.uint8]
KeyframeReader = Callable[[int], "Pixels | Image.Image | None"]
"""Map a shot number to its key-frame, uint8 (H, W, 3) or a Pillow image; None where there is none."""

MISSING_COLOR = 226
SHEET_HEAD = 78  # pixels that title and note of a sheet take


def crop_to_fill(image: Pixels | Image.Image, width: int, height: int) -> Pixels:
    """Resize a key-frame to cover width x height pixels and crop it around its centre: (height, width, 3) uint8."""
    if not isinstance(image, Image.Image):
        image = Image.fromarray(np.ascontiguousarray(image))
    return np.asarray(ImageOps.fit(image.convert("RGB"), (width, height), Image.Resampling.LANCZOS))


class Tile(NamedTuple):
    """One picture of a strip. left, right: its edges, counted in shots. shown: the shot in its middle."""

    left: float
    right: float
    shown: int


def strip_tiles(num_shots: int, scene_ends: Sequence[int], shot_width: float, tile_width: float) -> list[Tile]:
    """Cover shots 0 .. num_shots - 1 with tiles that never reach from one scene into the next.

    A shot wider than half a tile gets a tile of its own; otherwise a scene is divided into equal tiles.

    Args:
        scene_ends: shots that a scene ends with.
        shot_width: pixels per shot.
        tile_width: pixels that a tile should have.
    """
    stops = sorted({end + 1 for end in scene_ends if 0 <= end < num_shots - 1} | {num_shots})
    tiles: list[Tile] = []
    start = 0
    for stop in stops:
        length = stop - start
        num_tiles = length if 2 * shot_width > tile_width else max(round(length * shot_width / tile_width), 1)
        edges = [start + i * length / num_tiles for i in range(num_tiles + 1)]
        tiles += [Tile(left, right, int((left + right) / 2)) for left, right in pairwise(edges)]
        start = stop
    return tiles


def strip_pixels(
    tiles: Sequence[Tile], shots: Sequence[int], keyframes: KeyframeReader, shot_width: float, height: int
) -> Pixels:
    """Paint a strip, (height, W, 3) uint8; only shown key-frames are read, and a missing one is grey.

    Args:
        shots: number in the film of each shot of the strip.
        shot_width: pixels per shot.
    """
    width = max(round(tiles[-1].right * shot_width), 1)
    strip = np.full((height, width, 3), MISSING_COLOR, dtype=np.uint8)
    for tile in tiles:
        left, right = round(tile.left * shot_width), round(tile.right * shot_width)
        image = keyframes(int(shots[tile.shown]))
        if image is not None and right > left:
            strip[:, left:right] = crop_to_fill(image, right - left, height)
    return strip


def new_sheet(title: str, note: str, width: int, height: int) -> tuple[Figure, Axes]:
    """Make a figure with axes all over it that count pixels from the upper left corner; its head is SHEET_HEAD high."""
    figure = style.new_figure(width, height, title, note)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.axis("off")
    return figure, axes


def draw_tile(axes: Axes, image: Pixels | Image.Image | None, left: float, top: float, width: int, height: int) -> None:
    """Fill a place of a sheet with a key-frame; grey where there is none."""
    shape = (height, width, 3)
    pixels = np.full(shape, MISSING_COLOR, np.uint8) if image is None else crop_to_fill(image, width, height)
    extent = (left, left + width, top + height, top)
    axes.imshow(pixels, extent=extent, aspect="auto", interpolation="nearest", zorder=1)


def draw_caption(axes: Axes, x: float, top: float, text: str, **options: object) -> None:
    """Write text on a sheet, centred at x, with its upper edge at `top`."""
    settings = {"fontsize": 12, "color": style.INK, "ha": "center", **options}
    axes.text(x, top, text, va="top", parse_math=False, **settings)  # type: ignore[arg-type]

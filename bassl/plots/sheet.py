"""A sheet of key-frames: pictures, frames and captions at places in pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from bassl.plots import figure as look
from bassl.plots.strip import MISSING_COLOR, Pixels, cover

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL import Image


def new_sheet(title: str, note: str, width: int, height: int) -> tuple[Figure, Axes]:
    """A figure with a title and a line below it, and axes over all of it that count pixels from its upper
    left corner.

    Room for both: `HEAD` pixels.
    """
    figure = look.new_figure(width, height)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.axis("off")
    look.add_text(figure, 16, 14, title, size=16, weight="bold")
    look.add_text(figure, 16, 46, note, size=12, color=look.FAINT_INK)
    return figure, axes


HEAD = 78


def draw_tile(axes: Axes, image: Pixels | Image.Image | None, left: float, top: float, width: int, height: int) -> None:
    """A key-frame that fills a place of the sheet; grey where there is none. Raises InputError as `cover`
    does."""
    pixels = np.full((height, width, 3), MISSING_COLOR, np.uint8) if image is None else cover(image, width, height)
    axes.imshow(
        pixels,
        extent=(left, left + width, top + height, top),
        aspect="auto",
        interpolation="nearest",
        zorder=1,
    )


def draw_frame(
    axes: Axes, left: float, top: float, width: float, height: float, color: str, name: str, line: float = 4
) -> None:
    """A frame around a place of the sheet; `name` says what it stands for (its artist's label)."""
    from matplotlib.patches import Rectangle

    axes.add_patch(
        Rectangle((left, top), width, height, fill=False, edgecolor=color, linewidth=line, label=name, zorder=3)
    )


def write(
    axes: Axes,
    left: float,
    top: float,
    text: str,
    size: float = 11,
    color: str = look.INK,
    weight: str = "normal",
    align: str = "center",
) -> None:
    """Text on the sheet, its upper edge at `top`."""
    axes.text(left, top, text, fontsize=size, color=color, fontweight=weight, ha=align, va="top", parse_math=False)

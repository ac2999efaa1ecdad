"""The look of all pictures: colours, fonts, and places counted in pixels.

matplotlib is imported with the first figure. pyplot is never imported: no display is needed, and a figure is
freed as soon as it is saved.
"""

from __future__ import annotations

import logging
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bassl.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

log = logging.getLogger(__name__)
DPI = 100
INK, FAINT_INK, RULE, GRID, BAND = "#1a1a1a", "#555555", "#bdbdbd", "#e4e4e4", "#f2f2f2"
PREDICTED, PREDICTED_PALE, LABELLED = "#0072b2", "#9ecae1", "#c04a00"
"""Blue and vermilion (after Okabe and Ito): distinct with any colour vision, and by lightness in print."""

SERIES = ("#0072b2", "#c04a00", "#009e73", "#a3507f", "#7a5c00", "#3c3c3c")
"""Colours of curves; `LINES` and `MARKERS` say the same without colour."""

LINES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (6, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHED = (0, (5, 3))

FONTS = (
    "DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Micro Hei",
    "Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "PingFang SC", "Hiragino Sans", "Arial Unicode MS",
)  # fmt: skip
"""Fonts of titles by preference: matplotlib's own first, then those for the scripts that it lacks."""


def new_figure(width: int, height: int, title: str = "", note: str = "") -> Figure:
    """Make a white figure of width x height pixels, with a title in its upper left corner and a note below it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    if title:
        add_text(figure, 16, 14, title, size=17, weight="bold")
    if note:
        add_text(figure, 16, 46, note, size=12, color=FAINT_INK)
    return figure


def add_axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Add axes at a place in pixels, counted from the figure's upper left corner."""
    total_width, total_height = figure.get_size_inches() * DPI
    bottom = total_height - top - height
    axes = figure.add_axes((left / total_width, bottom / total_height, width / total_width, height / total_height))
    axes.tick_params(colors=INK, labelsize=13, length=4)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_color(RULE)
    return axes


def add_plot(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Add axes for curves: with a grid, open at the top and at the right."""
    axes = add_axes(figure, left, top, width, height)
    axes.grid(color=GRID, linewidth=0.8)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def add_text(
    figure: Figure, left: float, top: float, text: str, *, size: float, color: str = INK, weight: str = "normal"
) -> None:
    """Write text at a place in pixels, cut where it would leave the figure at the right."""
    width, height = figure.get_size_inches() * DPI
    figure.text(
        left / width, 1 - top / height, truncate_text(text, width - left - 20, size), fontsize=size, color=color,
        fontfamily=_installed_fonts(), fontweight=weight, va="top", ha="left", parse_math=False,
    )  # fmt: skip


def truncate_text(text: str, width: float, size: float) -> str:
    """Return text as one printable line of about `width` pixels at a font size in points; "…" marks a cut."""
    printable = "".join(c if c.isprintable() else " " for c in text.encode("utf-8", "replace").decode("utf-8"))
    line = " ".join(printable.split())
    room = width / (0.62 * size * DPI / 72)
    used = 0.0
    for position, character in enumerate(line):
        used += 1.7 if unicodedata.east_asian_width(character) in "WF" else 1.0
        if used > room:
            return line[: max(position - 1, 0)] + "…"
    return line


@cache
def _installed_fonts() -> list[str]:
    from matplotlib import font_manager

    installed = set(font_manager.get_font_names())
    return [name for name in FONTS if name in installed] or ["sans-serif"]


def save_figure(path: Path, figure: Figure) -> None:
    """Write a figure as PNG, or as JPEG where the path ends in .jpg; missing folders are made."""
    kind = {".jpg": "jpeg"}.get(path.suffix.lower(), "png")
    with warnings.catch_warnings():  # a character that no installed font has is drawn as a box
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        warnings.filterwarnings("ignore", "Matplotlib currently does not support .* natively")
        write_atomically(path, lambda temporary: figure.savefig(temporary, format=kind, dpi=DPI))


@contextmanager
def optional_picture(name: str | Path) -> Iterator[None]:
    """Log one warning instead of raising where a picture fails: a run's results stand without it."""
    try:
        yield
    except Exception as error:
        log.warning("%s was not drawn (%s: %s); everything else is written", name, type(error).__name__, error)

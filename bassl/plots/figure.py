"""The look of all pictures: colours, sizes in pixels, safe text, and figures that need no display.

matplotlib is imported only when a figure is made. Figures are made without pyplot, so nothing keeps them
alive once they are drawn, and no display is looked for.
"""

from __future__ import annotations

import unicodedata
import warnings
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bassl.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DPI = 100
INK, FAINT_INK, RULE, BAND = "#1a1a1a", "#555555", "#bdbdbd", "#ececec"
PREDICTED, PREDICTED_PALE, LABELLED = "#0072b2", "#9ecae1", "#c04a00"
"""Blue and vermilion (after Okabe and Ito): told apart with any colour vision, and by lightness on paper."""

SERIES = ("#0072b2", "#c04a00", "#009e73", "#a3507f", "#7a5c00", "#3c3c3c")
"""Colours of curves; `LINES` and `MARKERS` say the same without colour."""

LINES: tuple[Any, ...] = ("-", "--", "-.", ":", (0, (6, 1.5)), (0, (3, 1, 1, 1, 1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P")

FONTS = (
    "DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Micro Hei",
    "Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "PingFang SC", "Hiragino Sans", "Arial Unicode MS",
)  # fmt: skip
"""Fonts of titles in order of preference; the first is matplotlib's own, the others serve what it lacks."""


def new_figure(width: int, height: int) -> Figure:
    """A white figure of width x height pixels, to be drawn on memory alone."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def add_axes(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Axes at a place in pixels, counted from the figure's upper left corner."""
    total_width, total_height = figure.get_size_inches() * DPI
    bottom = total_height - top - height
    axes = figure.add_axes((left / total_width, bottom / total_height, width / total_width, height / total_height))
    axes.tick_params(colors=INK, labelsize=12, length=4)
    for side in axes.spines.values():
        side.set_color(RULE)
    return axes


def add_plot(figure: Figure, title: str, x: str, y: str) -> Axes:
    """Axes for curves over the whole figure, with a title in its upper left corner and names for x and y."""
    width, height = (int(side) for side in figure.get_size_inches() * DPI)
    axes = add_axes(figure, 92, 62, width - 92 - 28, height - 62 - 74)
    add_text(figure, 92, 20, title, size=16, weight="bold")
    axes.set_xlabel(x, fontsize=14, color=INK)
    axes.set_ylabel(y, fontsize=14, color=INK)
    axes.tick_params(labelsize=13)
    axes.grid(color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return axes


def add_text(
    figure: Figure, left: float, top: float, text: str, size: float, color: str = INK, weight: str = "normal"
) -> None:
    """Text in a figure at a place in pixels, cut where it would run out of the figure at the right."""
    width, height = figure.get_size_inches() * DPI
    figure.text(
        left / width,
        1 - top / height,
        fitting_text(text, width - left - 20, size),
        fontsize=size,
        color=color,
        fontfamily=_installed_fonts(),
        fontweight=weight,
        va="top",
        ha="left",
        parse_math=False,
    )


def fitting_text(text: str, width: float, size: float) -> str:
    """Any text as one printable line of about `width` pixels at a font size in points; what is cut becomes a
    dot dot dot. Nothing in it is markup."""
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
    """Write a figure as PNG, whole or not at all; missing folders are made."""
    with warnings.catch_warnings():  # a character that no installed font has is drawn as a box: no news
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        warnings.filterwarnings("ignore", "Matplotlib currently does not support .* natively")
        write_atomically(path, lambda temporary: figure.savefig(temporary, format="png", dpi=DPI))

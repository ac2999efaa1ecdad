"""The picture of a sweep: AP of every row, each seed a dot, their mean and spread a bar."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bassl.errors import InputError
from bassl.plots import style as look
from bassl.sweep.results import RowResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW_HEIGHT, WIDTH, LEGEND_TOP, TOP, BOTTOM, RIGHT = 54, 1180, 76, 122, 84, 150  # pixels
NAME_ROOM = 12  # pixels a character of the longest row's name
LONGEST_SHOWN = 50  # characters of a row's name; what is longer is cut in its middle
BESIDE = (
    ("training_free_AP", "training-free scorer, same features", "x", look.FAINT_INK),
    ("zero_shot_AP", "zero-shot boundary head", "^", look.LABELLED),
)
"""What else is drawn of a row, as its mean: metric, name, marker, colour."""


def draw(path: Path, rows: Sequence[RowResult], title: str, about: str = "") -> None:
    """Write the picture as PNG."""
    look.save_figure(path, results_figure(rows, title, about))


def results_figure(rows: Sequence[RowResult], title: str, about: str = "") -> Figure:
    """AP in percent from left to right, rows from top to bottom.

    Beside the fine-tuned AP: the means of the training-free scorer and of the zero-shot boundary head, and
    what has been published. Raises InputError where no row has an AP yet.
    """
    if not any(row.spread("AP").values for row in rows):
        raise InputError("no run has been scored yet, so there is nothing to draw")
    left = max(120, 40 + NAME_ROOM * max(len(_shown_name(row)) for row in rows))
    figure = look.new_figure(WIDTH, TOP + ROW_HEIGHT * len(rows) + BOTTOM)
    look.add_text(figure, 24, 16, title, size=17, weight="bold")
    look.add_text(figure, 24, 46, about, size=12, color=look.FAINT_INK)
    axes = look.add_axes(figure, left, TOP, WIDTH - left - RIGHT, ROW_HEIGHT * len(rows))
    for place, row in enumerate(rows):
        if place % 2 == 0:
            axes.axhspan(place - 0.5, place + 0.5, color="#f6f6f6", zorder=0, linewidth=0)
        _draw_beside(axes, place, row)
        _draw_seeds(axes, place, row)
    _finish(axes, rows)
    _add_legend(figure, axes)
    return figure


def _shown_name(row: RowResult) -> str:
    half = (LONGEST_SHOWN - 1) // 2
    return row.name if len(row.name) <= LONGEST_SHOWN else f"{row.name[:half]}…{row.name[-half:]}"


def _draw_seeds(axes: Axes, place: int, row: RowResult) -> None:
    found = row.spread("AP")
    number = len(found.values)
    if number > 1:
        axes.barh(
            place, 2 * found.sd, left=found.mean - found.sd, height=0.44, color=look.PREDICTED_PALE, zorder=2,
            label="mean ± sd",
        )  # fmt: skip
        axes.plot([found.mean] * 2, [place - 0.29, place + 0.29], color=look.PREDICTED, linewidth=3, zorder=3)
    heights = [place + (0.0 if number == 1 else 0.3 * (seed / (number - 1) - 0.5)) for seed in range(number)]
    if number:
        axes.plot(
            found.values, heights, "o", color=look.PREDICTED, markersize=9, markeredgecolor="white", zorder=6,
            label="fine-tuned, a dot a seed",
        )  # fmt: skip


def _draw_beside(axes: Axes, place: int, row: RowResult) -> None:
    marks = [(row.spread(metric).mean, label, marker, color) for metric, label, marker, color in BESIDE]
    marks.append((math.nan if row.published_ap is None else row.published_ap, "published", "D", look.INK))
    for value, label, marker, color in marks:
        if not math.isnan(value):
            axes.plot(
                [value], [place], marker, color=color, markersize=9, markeredgewidth=2, markerfacecolor="none",
                zorder=5, label=label, linestyle="none",
            )  # fmt: skip


def _finish(axes: Axes, rows: Sequence[RowResult]) -> None:
    low, high = _range(rows)
    axes.set_xlim(low, high)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [_shown_name(row) for row in rows], fontsize=14)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("AP on the test rows (%)", fontsize=14, color=look.INK)
    axes.tick_params(axis="x", labelsize=13)
    axes.grid(axis="x", color="#dcdcdc", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    for place, row in enumerate(rows):
        found = row.spread("AP")
        text = "" if not found.values else f"{found.mean:.1f}" + ("" if math.isnan(found.sd) else f" ± {found.sd:.1f}")
        axes.annotate(
            text or "not done", (1.0, place), xycoords=("axes fraction", "data"), xytext=(14, 0), va="center",
            textcoords="offset points", fontsize=14, color=look.INK if text else look.FAINT_INK,
        )  # fmt: skip


def _range(rows: Sequence[RowResult]) -> tuple[float, float]:
    """The percentages to show: all that is drawn, and a little room."""
    drawn = [value for row in rows for metric in ("AP", *(name for name, *_ in BESIDE)) for value in _ends(row, metric)]
    drawn += [row.published_ap for row in rows if row.published_ap is not None]
    room = max(1.0, 0.06 * (max(drawn) - min(drawn)))
    return max(-1.0, min(drawn) - room), min(101.0, max(drawn) + room)


def _ends(row: RowResult, metric: str) -> list[float]:
    found = row.spread(metric)
    spread = 0.0 if math.isnan(found.sd) else found.sd
    return [*found.values, found.mean - spread, found.mean + spread] if found.values else []


def _add_legend(figure: Figure, axes: Axes) -> None:
    width, height = figure.get_size_inches() * look.DPI
    handles, labels = axes.get_legend_handles_labels()
    known = dict(zip(labels, handles, strict=True))
    order = ["fine-tuned, a dot a seed", "mean ± sd", "published", *(label for _, label, *_ in BESIDE)]
    shown = [label for label in order if label in known]
    figure.legend(
        [known[label] for label in shown], shown, frameon=False, fontsize=12, ncols=len(shown), loc="upper left",
        bbox_to_anchor=(12 / width, 1 - LEGEND_TOP / height), borderaxespad=0, handletextpad=0.3, columnspacing=1.4,
        handlelength=1.6, labelcolor=look.INK,
    )  # fmt: skip

"""The picture of a sweep: AP of every row, each seed a dot, their mean and spread a bar."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bassl.drawing import figure as look
from bassl.errors import InputError
from bassl.sweep.results import RowResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW_HEIGHT, WIDTH, TOP, BOTTOM = 54, 1180, 96, 76  # pixels
NAME_ROOM = 13  # pixels a character of the longest row's name
OTHERS = (
    ("training_free_AP", "training-free scorer on its features", "x", look.FAINT_INK),
    ("zero_shot_AP", "zero-shot, boundary head of pre-training", "^", look.LABELLED),
)


def draw(path: Path, rows: Sequence[RowResult], title: str) -> None:
    """Write the picture as PNG."""
    look.save_figure(path, results_figure(rows, title))


def results_figure(rows: Sequence[RowResult], title: str) -> Figure:
    """AP in percent from left to right, rows from top to bottom.

    Beside the fine-tuned AP: the means of the training-free scorer and of the zero-shot boundary head, and what has
    been published. Raises InputError where no row has an AP yet.
    """
    if not any(row.spread("AP").values for row in rows):
        raise InputError("no run has been scored yet, so there is nothing to draw")
    left = max(110, 40 + NAME_ROOM * max(len(row.name) for row in rows))
    height = TOP + ROW_HEIGHT * len(rows) + BOTTOM + 40
    figure = look.new_figure(WIDTH, height)
    look.add_text(figure, 24, 18, title, size=17, weight="bold")
    axes = look.add_axes(figure, left, TOP, WIDTH - left - 150, ROW_HEIGHT * len(rows))
    for place, row in enumerate(rows):
        _draw_row(axes, place, row)
    _finish(axes, rows)
    handles, labels = axes.get_legend_handles_labels()
    known = dict(zip(labels, handles, strict=True))
    axes.legend(
        known.values(), known.keys(), frameon=False, fontsize=12, ncols=min(len(known), 3), loc="lower left",
        bbox_to_anchor=(0.0, 1.0), borderaxespad=0.2, handletextpad=0.4, columnspacing=1.6,
    )  # fmt: skip
    return figure


def _draw_row(axes: Axes, place: int, row: RowResult) -> None:
    if place % 2 == 0:
        axes.axhspan(place - 0.5, place + 0.5, color="#f6f6f6", zorder=0, linewidth=0)
    found = row.spread("AP")
    if found.values:
        spread = 0.0 if math.isnan(found.sd) else found.sd
        axes.barh(place, 2 * spread, left=found.mean - spread, height=0.42, color=look.PREDICTED_PALE, zorder=2)
        axes.plot([found.mean] * 2, [place - 0.28, place + 0.28], color=look.PREDICTED, linewidth=3, zorder=3)
        number = len(found.values)
        heights = [place + (0.0 if number == 1 else 0.3 * (seed / (number - 1) - 0.5)) for seed in range(number)]
        axes.plot(
            found.values, heights, "o", color=look.PREDICTED, markersize=8, markeredgecolor="white", zorder=5,
            label="fine-tuned, a seed each (bar: mean ± sd)",
        )  # fmt: skip
    for metric, label, marker, color in OTHERS:
        mean = row.spread(metric).mean
        if not math.isnan(mean):
            axes.plot(
                [mean], [place], marker, color=color, markersize=8, markeredgewidth=2, markerfacecolor="none",
                zorder=4, label=label,
            )  # fmt: skip
    if row.published_ap is not None:
        axes.plot(
            [row.published_ap], [place], "D", color=look.INK, markersize=9, markeredgewidth=1.8,
            markerfacecolor="none", zorder=4, label="published",
        )  # fmt: skip


def _finish(axes: Axes, rows: Sequence[RowResult]) -> None:
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [row.name for row in rows], fontsize=14)
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

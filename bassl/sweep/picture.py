"""Draw the results of a sweep: AP of every row, or AP over the number of labelled films."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from bassl.plots import style
from bassl.sweep.results import RowResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW_HEIGHT, WIDTH, LEGEND_TOP, TOP, BOTTOM, RIGHT = 54, 1180, 76, 122, 84, 150  # pixels
NAME_WIDTH, MAX_NAME = 12, 50  # pixels per character of a row's name; characters that are shown
SEEDS, SPREAD, PUBLISHED = "fine-tuned, per seed", "mean ± sd", "published"
REFERENCES = {
    "training_free_AP": ("training-free scorer, same features", "x", style.FAINT_INK),
    "zero_shot_AP": ("zero-shot boundary head", "^", style.LABELLED),
}
"""Label, marker and colour of metrics whose mean is drawn beside the fine-tuned AP."""


def results_figure(rows: Sequence[RowResult], title: str, about: str = "") -> Figure:
    """Draw AP in percent: rows from top to bottom, or over the number of labelled films if rows are limited to some."""
    if any(row.num_films is not None for row in rows):
        return learning_curves(rows, title, about)
    left = max(120, 40 + NAME_WIDTH * max(len(_short_name(row)) for row in rows))
    figure = style.new_figure(WIDTH, TOP + ROW_HEIGHT * len(rows) + BOTTOM, title, about)
    axes = style.add_plot(figure, left, TOP, WIDTH - left - RIGHT, ROW_HEIGHT * len(rows))
    # 1. one row each: references, seeds with their spread, and the numbers at the right
    for place, row in enumerate(rows):
        if place % 2 == 0:
            axes.axhspan(place - 0.5, place + 0.5, color=style.BAND, zorder=0, linewidth=0)
        _draw_references(axes, place, row)
        _draw_seeds(axes, place, row)
        ap = row.spread("AP")
        text = f"{ap.mean:.1f}" + ("" if math.isnan(ap.sd) else f" ± {ap.sd:.1f}") if ap.values else "not done"
        axes.annotate(
            text, (1.0, place), xycoords=("axes fraction", "data"), xytext=(14, 0), textcoords="offset points",
            va="center", fontsize=14, color=style.INK if ap.values else style.FAINT_INK,
        )  # fmt: skip
    # 2. axes
    axes.set_xlim(*_limits(rows))
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [_short_name(row) for row in rows], fontsize=14)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("AP on the test rows (%)", fontsize=14, color=style.INK)
    axes.grid(visible=False, axis="y")
    axes.spines["left"].set_visible(False)
    # 3. legend
    handles = {str(artist.get_label()): artist for artist in axes.get_legend_handles_labels()[0]}
    order = (SEEDS, SPREAD, PUBLISHED, *(label for label, *_ in REFERENCES.values()))
    labels = [label for label in order if label in handles]
    width, height = figure.get_size_inches() * style.DPI
    figure.legend(
        [handles[label] for label in labels], labels, frameon=False, fontsize=12, ncols=len(labels), loc="upper left",
        bbox_to_anchor=(12 / width, 1 - LEGEND_TOP / height), borderaxespad=0, handletextpad=0.3, columnspacing=1.4,
        handlelength=1.6, labelcolor=style.INK,
    )  # fmt: skip
    return figure


def learning_curves(rows: Sequence[RowResult], title: str, about: str = "") -> Figure:
    """Draw mean AP in percent over the number of labelled films, one curve per row; bars are standard deviations."""
    figure = style.new_figure(WIDTH, 640, title, about)
    axes = style.add_plot(figure, left=92, top=90, width=WIDTH - 420, height=460)
    films = sorted({row.num_films for row in rows if row.num_films is not None})
    for number, name in enumerate(dict.fromkeys(row.name for row in rows)):
        points = [(row.num_films or 0, row.spread("AP")) for row in rows if row.name == name]
        points = [(num_films, ap) for num_films, ap in points if ap.values]
        kind = number % len(style.SERIES)
        axes.errorbar(
            [num_films for num_films, _ in points], [ap.mean for _, ap in points],
            yerr=[0.0 if math.isnan(ap.sd) else ap.sd for _, ap in points], label=name, capsize=4, linewidth=2,
            color=style.SERIES[kind], linestyle=style.LINES[kind], marker=style.MARKERS[kind], markersize=7,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.set_xticks(films, [str(number) for number in films])
    axes.minorticks_off()
    axes.set_xlabel("labelled films", fontsize=14, color=style.INK)
    axes.set_ylabel("AP on the test rows (%)", fontsize=14, color=style.INK)
    axes.legend(frameon=False, fontsize=13, loc="upper left", bbox_to_anchor=(1.0, 1.02))
    return figure


def _short_name(row: RowResult) -> str:
    half = (MAX_NAME - 1) // 2
    return row.label if len(row.label) <= MAX_NAME else f"{row.label[:half]}…{row.label[-half:]}"


def _draw_seeds(axes: Axes, place: int, row: RowResult) -> None:
    ap = row.spread("AP")
    count = len(ap.values)
    if count > 1:
        left, width = ap.mean - ap.sd, 2 * ap.sd
        axes.barh(place, width, left=left, height=0.44, color=style.PREDICTED_PALE, zorder=2, label=SPREAD)
        axes.plot([ap.mean] * 2, [place - 0.29, place + 0.29], color=style.PREDICTED, linewidth=3, zorder=3)
    heights = [place + (0.0 if count == 1 else 0.3 * (seed / (count - 1) - 0.5)) for seed in range(count)]
    if count:
        color = {"color": style.PREDICTED, "markeredgecolor": "white"}
        axes.plot(ap.values, heights, "o", markersize=9, zorder=6, label=SEEDS, **color)  # type: ignore[arg-type]


def _draw_references(axes: Axes, place: int, row: RowResult) -> None:
    marks = [(row.spread(metric).mean, *look) for metric, look in REFERENCES.items()]
    marks.append((math.nan if row.published_ap is None else row.published_ap, PUBLISHED, "D", style.INK))
    for value, label, marker, color in marks:
        if not math.isnan(value):
            axes.plot(
                [value], [place], marker, color=color, markersize=9, markeredgewidth=2, markerfacecolor="none",
                zorder=5, label=label, linestyle="none",
            )  # fmt: skip


def _limits(rows: Sequence[RowResult]) -> tuple[float, float]:
    """Return the range of percentages that holds all that is drawn, and a little room."""
    drawn = [row.published_ap for row in rows if row.published_ap is not None]
    for spread in (row.spread(metric) for row in rows for metric in ("AP", *REFERENCES)):
        sd = 0.0 if math.isnan(spread.sd) else spread.sd
        drawn += [*spread.values, *([spread.mean - sd, spread.mean + sd] if spread.values else [])]
    room = max(1.0, 0.06 * (max(drawn) - min(drawn)))
    return max(-1.0, min(drawn) - room), min(101.0, max(drawn) + room)

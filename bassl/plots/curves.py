"""Curves of a training run: loss terms over steps; k-NN precision and the pseudo-boundary's distance over epochs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bassl.errors import InputError
from bassl.plots import figure as look
from bassl.plots.scalars import Series, over_epochs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOSS, KNN = "train/", "knn/precision@"
DISTANCE, RANDOM_DISTANCE = "val/pseudo_boundary_distance", "val/pseudo_boundary_distance_random"
SMOOTHED_FROM = 40  # points; shorter curves are shown as they are
MARKED_UP_TO = 60  # points; longer curves carry this many markers or fewer


def loss_figure(scalars: Mapping[str, Series], title: str = "Training loss") -> Figure:
    """The sum of the loss and each of its terms over optimiser steps, one panel each, since their sizes
    differ.

    scalars: by tag, as `read_scalars` gives them; those called `train/...` are drawn, the sum first. The pale
    curve is what was logged, the dark one its running mean. Raises InputError where there is none.
    """
    tags = sorted((tag for tag in scalars if tag.startswith(LOSS)), key=lambda tag: (tag != "train/loss", tag))
    if not tags:
        raise InputError(
            f"no training loss among the {len(scalars)} logged values; give the log folder of a training run"
        )
    columns = min(len(tags), 3)
    rows = -(-len(tags) // columns)
    panel_width = 1480 // columns if columns > 1 else 900
    figure = look.new_figure(60 + columns * panel_width, 70 + rows * 300)
    look.add_text(figure, 16, 16, title, size=16, weight="bold")
    for number, tag in enumerate(tags):
        row, column = divmod(number, columns)
        axes = look.add_axes(figure, 74 + column * panel_width, 88 + row * 300, panel_width - 90, 204)
        axes.set_title(tag.removeprefix(LOSS), fontsize=14, loc="left", color=look.INK, pad=6)
        _draw_noisy(axes, scalars[tag])
        if row == rows - 1 or number + columns >= len(tags):
            axes.set_xlabel("step", fontsize=13, color=look.INK)
    return figure


def knn_figure(scalars: Mapping[str, Series], title: str = "Same-scene shots among the nearest k") -> Figure:
    """k-NN precision in percent over epochs, a curve for each k.

    scalars: by tag, as `read_scalars` gives them; those called `knn/precision@<k>` are drawn. Raises
    InputError where there is none.
    """
    ks = sorted(int(tag.removeprefix(KNN)) for tag in scalars if tag.startswith(KNN))
    if not ks:
        raise InputError(
            f"no k-NN precision among the {len(scalars)} logged values; pre-train with config.TEST.KNN_VALIDATION=true"
        )
    return _epochs_figure(title, "precision (%)", {f"k = {k}": scalars[f"{KNN}{k}"] for k in ks}, scalars)


def distance_figure(scalars: Mapping[str, Series], title: str = "From the pseudo-boundary to a true one") -> Figure:
    """Mean distance in shots over epochs, and that of a boundary drawn at random.

    scalars: by tag, as `read_scalars` gives them; DISTANCE and RANDOM_DISTANCE are drawn. Raises InputError where the
    first is missing.
    """
    if DISTANCE not in scalars:
        raise InputError(
            f"no {DISTANCE} among the {len(scalars)} logged values; pre-train with config.TEST.KNN_VALIDATION=true"
        )
    named = {"pseudo-boundary": DISTANCE, "at random": RANDOM_DISTANCE}
    curves = {name: scalars[tag] for name, tag in named.items() if tag in scalars}
    return _epochs_figure(title, "shots to the nearest true boundary", curves, scalars)


def _epochs_figure(title: str, unit: str, curves: Mapping[str, Series], scalars: Mapping[str, Series]) -> Figure:
    """A curve for each name over epochs; `scalars` holds the epochs."""
    from matplotlib.ticker import MaxNLocator

    figure = look.new_figure(1000, 560)
    axes = look.add_plot(figure, title, "epoch", unit)
    for number, (name, series) in enumerate(curves.items()):
        epoch, value = over_epochs(series, scalars)
        kind = number % len(look.SERIES)
        axes.plot(
            epoch, value, label=name, color=look.SERIES[kind], linestyle=look.LINES[kind],
            marker=look.MARKERS[kind], markevery=_marker_step(len(epoch)), linewidth=2, markersize=7,
        )  # fmt: skip
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, fontsize=13, loc="upper left", bbox_to_anchor=(1.0, 1.02))
    beside = 0.01 * max(map(len, curves))  # room for the legend
    axes.set_position((0.09, 0.13, 0.82 - beside, 0.74))
    return figure


def running_mean(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Mean over a centred window of (N,) values, shorter at both ends; NaN stands for nothing."""
    known = np.isfinite(values)
    totals = np.concatenate([[0.0], np.cumsum(np.where(known, values, 0.0))])
    counts = np.concatenate([[0], np.cumsum(known)])
    place = np.arange(len(values))
    low, high = (place - window // 2).clip(min=0), (place + window // 2 + 1).clip(max=len(values))
    number = counts[high] - counts[low]
    return np.where(number > 0, (totals[high] - totals[low]) / np.maximum(number, 1), np.nan)


def _draw_noisy(axes: Axes, series: Series) -> None:
    axes.grid(color="#e4e4e4", linewidth=0.8)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    if len(series.step) < SMOOTHED_FROM:
        axes.plot(series.step, series.value, color=look.PREDICTED, linewidth=2, marker="o", markersize=4)
        return
    axes.plot(series.step, series.value, color=look.PREDICTED_PALE, linewidth=0.8)
    mean = running_mean(series.value, max(len(series.value) // 40, 3))
    axes.plot(series.step, mean, color=look.PREDICTED, linewidth=2)


def _marker_step(num_points: int) -> int:
    return -(-num_points // MARKED_UP_TO) or 1

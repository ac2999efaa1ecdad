"""Curves of a training run: loss terms over steps; k-NN precision and pseudo-boundary distance over epochs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bassl.errors import InputError
from bassl.plots import style
from bassl.plots.scalars import Series, over_epochs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOSS, KNN = "train/", "knn/precision@"
DISTANCE, RANDOM_DISTANCE = "val/pseudo_boundary_distance", "val/pseudo_boundary_distance_random"
SMOOTHED_FROM = 40  # points; shorter curves are drawn unsmoothed
MAX_MARKERS = 60


def loss_figure(scalars: Mapping[str, Series], title: str = "Training loss") -> Figure:
    """Draw the summed loss and each of its terms over optimiser steps, one panel each.

    Long curves are drawn pale, with their running mean on top. Raises InputError where no loss was logged.

    Args:
        scalars: by tag, from `read_scalars`; those named `train/...` are drawn, the sum first.
    """
    tags = sorted((tag for tag in scalars if tag.startswith(LOSS)), key=lambda tag: (tag != "train/loss", tag))
    if not tags:
        raise _not_logged("training loss", scalars, "give the log folder of a training run")
    columns = min(len(tags), 3)
    panel_width = 1480 // columns if columns > 1 else 900
    figure = style.new_figure(60 + columns * panel_width, 70 + -(-len(tags) // columns) * 300, title)
    for number, tag in enumerate(tags):
        row, column = divmod(number, columns)
        left, top = 74 + column * panel_width, 88 + row * 300
        axes = style.add_plot(figure, left=left, top=top, width=panel_width - 90, height=204)
        axes.set_title(tag.removeprefix(LOSS), fontsize=14, loc="left", color=style.INK, pad=6)
        _draw_loss(axes, scalars[tag])
        if number + columns >= len(tags):
            axes.set_xlabel("step", fontsize=13, color=style.INK)
    return figure


def knn_figure(scalars: Mapping[str, Series], title: str = "Same-scene shots among the nearest k") -> Figure:
    """Draw k-NN precision in percent over epochs, one curve per k; InputError where none was logged."""
    ks = sorted(int(tag.removeprefix(KNN)) for tag in scalars if tag.startswith(KNN))
    if not ks:
        raise _not_logged("k-NN precision", scalars, "pre-train with config.TEST.KNN_VALIDATION=true")
    return _epochs_figure(title, "precision (%)", {f"k = {k}": scalars[f"{KNN}{k}"] for k in ks}, scalars)


def distance_figure(scalars: Mapping[str, Series], title: str = "From the pseudo-boundary to a true one") -> Figure:
    """Draw the pseudo-boundary's mean distance in shots over epochs beside chance; InputError where not logged."""
    if DISTANCE not in scalars:
        raise _not_logged(DISTANCE, scalars, "pre-train with config.TEST.KNN_VALIDATION=true")
    named = {"pseudo-boundary": DISTANCE, "at random": RANDOM_DISTANCE}
    curves = {name: scalars[tag] for name, tag in named.items() if tag in scalars}
    return _epochs_figure(title, "shots to the nearest true boundary", curves, scalars)


def running_mean(values: NDArray[np.float64], window: int) -> NDArray[np.float64]:
    """Average (N,) values over a centred window of odd length, N at most; NaN is left out."""
    known, box = np.isfinite(values), np.ones(window)
    total = np.convolve(np.where(known, values, 0.0), box, "same")
    count = np.convolve(known, box, "same")
    return np.where(count > 0.5, total / np.maximum(count, 1), np.nan)


def _epochs_figure(title: str, unit: str, curves: Mapping[str, Series], scalars: Mapping[str, Series]) -> Figure:
    """Draw one curve per name over epochs, which `scalars` has logged beside them."""
    from matplotlib.ticker import MaxNLocator

    figure = style.new_figure(1000, 560, title)
    room_for_legend = 10 * max(map(len, curves))
    axes = style.add_plot(figure, left=90, top=74, width=820 - room_for_legend, height=414)
    for number, (name, series) in enumerate(curves.items()):
        epoch, value = over_epochs(series, scalars)
        kind = number % len(style.SERIES)
        axes.plot(
            epoch, value, label=name, color=style.SERIES[kind], linestyle=style.LINES[kind], linewidth=2,
            marker=style.MARKERS[kind], markersize=7, markevery=-(-len(epoch) // MAX_MARKERS) or 1,
        )  # fmt: skip
    axes.set_xlabel("epoch", fontsize=14, color=style.INK)
    axes.set_ylabel(unit, fontsize=14, color=style.INK)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend(frameon=False, fontsize=13, loc="upper left", bbox_to_anchor=(1.0, 1.02))
    return figure


def _draw_loss(axes: Axes, series: Series) -> None:
    if len(series.step) < SMOOTHED_FROM:
        axes.plot(series.step, series.value, color=style.PREDICTED, linewidth=2, marker="o", markersize=4)
        return
    axes.plot(series.step, series.value, color=style.PREDICTED_PALE, linewidth=0.8)
    mean = running_mean(series.value, len(series.value) // 40 // 2 * 2 + 1)
    axes.plot(series.step, mean, color=style.PREDICTED, linewidth=2)


def _not_logged(what: str, scalars: Mapping[str, Series], remedy: str) -> InputError:
    return InputError(f"no {what} among the {len(scalars)} logged values; {remedy}")

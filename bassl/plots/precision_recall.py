"""The precision-recall curve of boundary prediction."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from bassl.errors import InputError
from bassl.plots import figure as look

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def precision_recall_figure(
    recall: ArrayLike,
    precision: ArrayLike,
    threshold: ArrayLike,
    chance: float,
    average_precision: float,
    chosen: float | None = None,
    title: str = "Precision and recall of scene boundaries",
) -> Figure:
    """Precision over recall of shots as boundaries, as steps: the area under the curve is AP.

    recall, precision, threshold: (T,) a point per threshold, thresholds descending, as
    `bassl.finetune.metrics.precision_recall_curve` gives them. chance: share of boundaries, the precision of
    a blind guess. chosen: the threshold in use; its point is marked, none where it lies above every score.
    Without a boundary recall is NaN, and the figure says so instead. Raises InputError for different shapes.
    """
    points = [np.asarray(values, dtype=np.float64) for values in (recall, precision, threshold)]
    if points[0].ndim != 1 or len({values.shape for values in points}) != 1:
        shapes = ", ".join(str(values.shape) for values in points)
        raise InputError(f"recall, precision and threshold have shapes {shapes}; give three of one shape (T,)")
    recalls, precisions, thresholds = points
    figure = look.new_figure(860, 700)
    axes = look.add_plot(
        figure,
        title,
        "recall: share of the scene ends that are found",
        "precision: share of the predicted ones that are right",
    )
    axes.set_xlim(0, 1.005)
    axes.set_ylim(0, 1.03)
    if not len(recalls) or np.isnan(recalls).any():
        axes.text(0.5, 0.5, "no labelled scene end: nothing to find", ha="center", fontsize=15, color=look.INK)
        return figure
    axes.plot(
        np.concatenate([[0.0], recalls]), np.concatenate([precisions[:1], precisions]), drawstyle="steps-pre",
        color=look.PREDICTED, linewidth=2.4, label=f"AP {100 * average_precision:.1f} %",
    )  # fmt: skip
    axes.axhline(
        chance,
        color=look.FAINT_INK,
        linewidth=1.4,
        linestyle=(0, (5, 3)),
        label=f"chance {100 * chance:.1f} %",
    )
    above = np.flatnonzero(thresholds >= chosen) if chosen is not None and not math.isnan(chosen) else np.array([], int)
    if len(above):
        at = above[-1]
        found = f"precision {100 * precisions[at]:.0f} %, recall {100 * recalls[at]:.0f} %"
        axes.plot(
            recalls[at], precisions[at], marker="D", markersize=11, linestyle="none", color=look.LABELLED,
            markeredgecolor="white", zorder=4, clip_on=False, label=f"threshold {chosen:.3g}: {found}",
        )  # fmt: skip
    axes.legend(frameon=True, framealpha=0.9, edgecolor="white", fontsize=13, loc="upper right", labelcolor=look.INK)
    return figure

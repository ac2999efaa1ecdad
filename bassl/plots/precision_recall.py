"""The precision-recall curve of boundary prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bassl.plots import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def precision_recall_figure(
    recall: NDArray[np.float64],
    precision: NDArray[np.float64],
    threshold: NDArray[np.float64],
    *,
    chance: float,
    average_precision: float,
    chosen: float | None = None,
    title: str = "Precision and recall of scene boundaries",
) -> Figure:
    """Draw precision over recall of shots as boundaries, in steps: the area under the curve is AP.

    Args:
        recall, precision, threshold: (T,) one point per threshold, thresholds descending, from
            `bassl.finetune.metrics.precision_recall_curve`. Recall is NaN without a labelled boundary; the
            figure then says so.
        chance: fraction of boundaries, which is the precision of guessing.
        chosen: the threshold in use; its point is marked unless it lies above every score.
    """
    figure = style.new_figure(860, 700, title)
    axes = style.add_plot(figure, left=92, top=62, width=740, height=564)
    axes.set_xlabel("recall: fraction of the scene ends that are found", fontsize=14, color=style.INK)
    axes.set_ylabel("precision: fraction of the predicted ones that are right", fontsize=14, color=style.INK)
    axes.set_xlim(0, 1.005)
    axes.set_ylim(0, 1.03)
    if not len(recall) or np.isnan(recall).any():
        axes.text(0.5, 0.5, "no labelled scene end: nothing to find", ha="center", fontsize=15, color=style.INK)
        return figure
    axes.plot(
        np.append(0.0, recall), np.append(precision[:1], precision), drawstyle="steps-pre",
        color=style.PREDICTED, linewidth=2.4, label=f"AP {100 * average_precision:.1f} %",
    )  # fmt: skip
    label = f"chance {100 * chance:.1f} %"
    axes.axhline(chance, color=style.FAINT_INK, linewidth=1.4, linestyle=style.DASHED, label=label)
    above = np.flatnonzero(threshold >= (np.inf if chosen is None else chosen))
    if len(above):
        at = above[-1]
        point = f"precision {100 * precision[at]:.0f} %, recall {100 * recall[at]:.0f} %"
        axes.plot(
            recall[at], precision[at], marker="D", markersize=11, linestyle="none", color=style.LABELLED,
            markeredgecolor="white", zorder=4, clip_on=False, label=f"threshold {chosen:.3g}: {point}",
        )  # fmt: skip
    axes.legend(frameon=True, framealpha=0.9, edgecolor="white", fontsize=13, loc="upper right", labelcolor=style.INK)
    return figure

"""Examples of the pseudo-boundary: windows of shots, where dynamic time warping splits them, and where the
labels do."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from bassl.dataset.window import NEIGHBOR_SIZE, pretrain_window
from bassl.errors import InputError
from bassl.plots import figure as look
from bassl.plots import sheet
from bassl.plots.strip import KeyframeReader
from bassl.pretrain.alignment import pseudo_boundary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TILE_WIDTH, TILE_HEIGHT, LANE, STEP = 90, 68, 24, 154


class SplitWindow(NamedTuple):
    """A window of shots and its splits, S positions.

    shots: (S,) numbers in the film. boundary: last position of the left side by dynamic time warping.
    labelled: positions that a labelled scene ends with.
    """

    shots: NDArray[np.int64]
    boundary: int
    labelled: tuple[int, ...]


def split_windows(
    embeddings: Tensor,
    is_boundary: NDArray[np.bool_],
    centers: Sequence[int],
    neighbor_size: int = NEIGHBOR_SIZE,
    interval: int = 1,
) -> list[SplitWindow]:
    """Split the pre-training windows around some shots of a film by their first and last shot (BaSSL, section
    3.2).

    embeddings: (num_shots, E) what the warping compares, the NCE head's in pre-training; of any length.
    is_boundary: (num_shots,) labelled scene ends. Raises InputError for other shapes, and for a film of one
    shot.
    """
    if embeddings.ndim != 2 or is_boundary.shape != (len(embeddings),) or not torch.isfinite(embeddings).all():
        shapes = f"{tuple(embeddings.shape)} and {is_boundary.shape}"
        raise InputError(f"embeddings and labels have shapes {shapes}; give finite (num_shots, E) and (num_shots,)")
    if len(embeddings) < 2:
        raise InputError("a film of 1 shot has nothing to split; choose another film")
    if not len(centers):
        return []
    shots = np.stack([pretrain_window(center, len(embeddings), neighbor_size, interval) for center in centers])
    dense = normalize(embeddings.float(), dim=1)[torch.from_numpy(shots)]
    boundaries = pseudo_boundary(dense[:, [0, -1]], dense).tolist()
    return [
        SplitWindow(window, boundary, _labelled(window, is_boundary))
        for window, boundary in zip(shots, boundaries, strict=True)
    ]


def _labelled(window: NDArray[np.int64], is_boundary: NDArray[np.bool_]) -> tuple[int, ...]:
    """Positions p such that a scene ends somewhere between the window's shots p and p + 1, p included."""
    pairs = pairwise(window.tolist())
    return tuple(position for position, (shot, after) in enumerate(pairs) if is_boundary[shot:after].any())


def split_figure(title: str, windows: Sequence[SplitWindow], keyframes: KeyframeReader) -> Figure:
    """A row a window: its key-frames, the pseudo-boundary below them and labelled scene ends above."""
    num_shots = max((len(window.shots) for window in windows), default=1)
    note = "▼ labelled scene end; ▲ pseudo-boundary: where the first shot's side meets the last one's"
    size = max(32 + num_shots * TILE_WIDTH, 900), sheet.HEAD + len(windows) * STEP
    figure, axes = sheet.new_sheet(title, note, *size)
    for row, window in enumerate(windows):
        top = sheet.HEAD + row * STEP + LANE
        for position, shot in enumerate(window.shots.tolist()):
            left = 16 + position * TILE_WIDTH
            sheet.draw_tile(axes, keyframes(shot), left + 1, top, TILE_WIDTH - 2, TILE_HEIGHT)
            sheet.write(axes, left + TILE_WIDTH / 2, top + TILE_HEIGHT + 22, str(shot), size=12)
        labelled = [16 + (position + 1) * TILE_WIDTH for position in window.labelled]
        found = 16 + (window.boundary + 1) * TILE_WIDTH
        for x in {*labelled, found}:
            axes.vlines(x, top, top + TILE_HEIGHT, color="white", linewidth=5, zorder=2)
        axes.vlines(labelled, top - 4, top + TILE_HEIGHT, color=look.LABELLED, linewidth=2, zorder=3)
        bottom = top + TILE_HEIGHT
        axes.vlines(found, top, bottom + 4, color=look.PREDICTED, linewidth=2, linestyle=(0, (3, 2)), zorder=4)
        style: dict[str, Any] = {"linestyle": "none", "markersize": 12, "zorder": 4}
        lane = [top - 11] * len(labelled)
        axes.plot(labelled, lane, marker="v", color=look.LABELLED, label="labelled scene end", **style)
        axes.plot([found], [bottom + 11], marker="^", color=look.PREDICTED, label="pseudo-boundary", **style)
        right = 16 + len(window.shots) * TILE_WIDTH
        sheet.write(axes, right, top - 21, _distance(window), size=12, color=look.FAINT_INK, align="right")
    return figure


def _distance(window: SplitWindow) -> str:
    if not window.labelled:
        return "no labelled scene end in this window"
    away = min(abs(window.boundary - position) for position in window.labelled)
    return "met" if not away else f"off by {away} shot{'s' if away > 1 else ''}"

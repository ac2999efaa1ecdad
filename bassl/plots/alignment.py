"""Windows of shots with their pseudo-boundary, found by dynamic time warping, and their labelled boundaries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bassl.plots import style
from bassl.plots.tiles import SHEET_HEAD, KeyframeReader, draw_caption, draw_tile, new_sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TILE_WIDTH, TILE_HEIGHT, LANE, STEP = 90, 68, 24, 154


@dataclass(frozen=True)
class AlignedWindow:
    """A pre-training window of S shots.

    Attributes:
        shots: (S,) numbers in the film.
        boundary: position of the last shot on the left side of the pseudo-boundary.
        labelled: positions of the shots that a labelled scene ends with.
    """

    shots: NDArray[np.int64]
    boundary: int
    labelled: tuple[int, ...]

    @property
    def distance(self) -> int | None:
        """Shots from the pseudo-boundary to the nearest labelled one; None where none is labelled."""
        return min((abs(self.boundary - position) for position in self.labelled), default=None)


def alignment_figure(title: str, windows: Sequence[AlignedWindow], keyframes: KeyframeReader) -> Figure:
    """Draw one row per window: its key-frames, labelled scene ends above them, the pseudo-boundary below."""
    num_shots = max((len(window.shots) for window in windows), default=1)
    note = "▼ labelled scene end; ▲ pseudo-boundary: where the first shot's side meets the last one's"
    width, height = max(32 + num_shots * TILE_WIDTH, 900), SHEET_HEAD + len(windows) * STEP
    figure, axes = new_sheet(title, note, width, height)
    mark: dict[str, Any] = {"linestyle": "none", "markersize": 12, "zorder": 4}
    for row, window in enumerate(windows):
        top = SHEET_HEAD + row * STEP + LANE
        bottom = top + TILE_HEIGHT
        # 1. key-frames with shot numbers
        for position, shot in enumerate(window.shots.tolist()):
            left = 16 + position * TILE_WIDTH
            draw_tile(axes, keyframes(shot), left + 1, top, TILE_WIDTH - 2, TILE_HEIGHT)
            draw_caption(axes, left + TILE_WIDTH / 2, bottom + 22, str(shot))
        # 2. lines and triangles at both kinds of boundary
        labelled = [16 + (position + 1) * TILE_WIDTH for position in window.labelled]
        predicted = 16 + (window.boundary + 1) * TILE_WIDTH
        axes.vlines([*labelled, predicted], top, bottom, color="white", linewidth=5, zorder=2)
        axes.vlines(labelled, top - 4, bottom, color=style.LABELLED, linewidth=2, zorder=3)
        axes.vlines(predicted, top, bottom + 4, color=style.PREDICTED, linewidth=2, linestyle=style.DASHED, zorder=4)
        lane = [top - 11] * len(labelled)
        axes.plot(labelled, lane, marker="v", color=style.LABELLED, label="labelled scene end", **mark)
        axes.plot([predicted], [bottom + 11], marker="^", color=style.PREDICTED, label="pseudo-boundary", **mark)
        # 3. how far they are apart
        right = 16 + len(window.shots) * TILE_WIDTH
        draw_caption(axes, right, top - 21, _describe_distance(window.distance), color=style.FAINT_INK, ha="right")
    return figure


def _describe_distance(distance: int | None) -> str:
    if distance is None:
        return "no labelled scene end in this window"
    return f"off by {distance} shot{'s' if distance > 1 else ''}" if distance else "exact"

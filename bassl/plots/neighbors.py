"""Nearest-neighbour sheets: the shots of a film whose features are most similar to a query's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bassl.plots import style
from bassl.plots.tiles import SHEET_HEAD, KeyframeReader, draw_caption, draw_tile, new_sheet

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TILE_WIDTH, TILE_HEIGHT, GAP, QUERY_GAP, CAPTION = 178, 100, 12, 34, 30
UNKNOWN = -1


def neighbor_figure(
    title: str,
    queries: Sequence[int],
    neighbors: NDArray[np.int64],
    cosines: NDArray[np.floating],
    keyframes: KeyframeReader,
    scene: NDArray[np.integer],
) -> Figure:
    """Draw one row per query shot: its key-frame, then its neighbours'; those of its scene are framed.

    Args:
        neighbors, cosines: (Q, k) nearest shots of each query, best first, and their cosine similarities.
        scene: (num_shots,) scene of each shot of the film, -1 where unknown.
    """
    from matplotlib.patches import Rectangle

    step = TILE_HEIGHT + CAPTION + GAP
    width = 32 + TILE_WIDTH + QUERY_GAP + neighbors.shape[1] * (TILE_WIDTH + GAP)
    note = "left: the query; right: its nearest shots by cosine; framed and bold: of the query's scene"
    figure, axes = new_sheet(title, note, max(width, 700), SHEET_HEAD + len(queries) * step + 8)
    for row, query in enumerate(queries):
        top = SHEET_HEAD + row * step
        draw_tile(axes, keyframes(query), 16, top, TILE_WIDTH, TILE_HEIGHT)
        draw_caption(axes, 16 + TILE_WIDTH / 2, top + TILE_HEIGHT + 6, f"shot {query}", weight="bold")
        for column, shot in enumerate(neighbors[row].tolist()):
            left = 16 + TILE_WIDTH + QUERY_GAP + column * (TILE_WIDTH + GAP)
            draw_tile(axes, keyframes(shot), left, top, TILE_WIDTH, TILE_HEIGHT)
            is_same = scene[query] != UNKNOWN and scene[shot] == scene[query]
            if is_same:
                frame: dict[str, Any] = {"fill": False, "edgecolor": style.LABELLED, "linewidth": 5, "zorder": 3}
                axes.add_patch(Rectangle((left, top), TILE_WIDTH, TILE_HEIGHT, label="same scene", **frame))
            caption = f"shot {shot}   {cosines[row, column]:.2f}"
            weight = "bold" if is_same else "normal"
            draw_caption(axes, left + TILE_WIDTH / 2, top + TILE_HEIGHT + 6, caption, weight=weight)
    return figure

"""Nearest-neighbour sheets: which shots of a film a shot's features find most alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from bassl.errors import InputError
from bassl.plots import figure as look
from bassl.plots import sheet
from bassl.plots.strip import KeyframeReader

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TILE_WIDTH, TILE_HEIGHT, GAP, QUERY_GAP, CAPTION = 178, 100, 12, 34, 30
UNKNOWN = -1


@torch.no_grad()
def nearest_shots(features: Tensor, queries: Sequence[int], num_neighbors: int) -> tuple[Tensor, Tensor]:
    """The shots of a film most alike to some of them, and their cosines, both (len(queries), k), best first.

    features: (num_shots, D), of any length. k is num_neighbors, or all other shots where the film is shorter.
    A shot is not its own neighbour. Raises InputError for another shape, features that are not finite, and a
    query outside the film.
    """
    if features.ndim != 2 or not torch.isfinite(features).all():
        raise InputError(f"features have shape {tuple(features.shape)}; give finite ones, (num_shots, D)")
    rows = torch.as_tensor(list(queries), dtype=torch.int64)
    if len(rows) and not (int(rows.min()) >= 0 and int(rows.max()) < len(features)):
        raise InputError(f"queries {rows.min()} to {rows.max()} do not lie in a film of {len(features)} shots")
    unit = normalize(features.float(), dim=1)
    cosine = unit[rows] @ unit.T
    cosine[torch.arange(len(rows)), rows] = -torch.inf
    found = cosine.topk(min(num_neighbors, len(features) - 1), dim=1)
    return found.indices, found.values


def neighbor_figure(
    title: str,
    queries: Sequence[int],
    neighbors: Tensor,
    cosines: Tensor,
    keyframes: KeyframeReader,
    scene: NDArray[np.integer] | None = None,
) -> Figure:
    """A row a query shot: its key-frame, then its neighbours', those of the same scene in a frame.

    neighbors, cosines: (Q, k) as `nearest_shots` gives them. scene: (num_shots,) scene of each shot of the
    film, -1 unknown. Raises InputError for other shapes.
    """
    if neighbors.ndim != 2 or neighbors.shape != cosines.shape or len(neighbors) != len(queries):
        shapes = f"{tuple(neighbors.shape)} and {tuple(cosines.shape)}"
        raise InputError(f"neighbors and cosines have shapes {shapes} for {len(queries)} queries; give (Q, k) twice")
    step = TILE_HEIGHT + CAPTION + GAP
    width = 32 + TILE_WIDTH + QUERY_GAP + neighbors.shape[1] * (TILE_WIDTH + GAP)
    note = "left: the query; right: its nearest shots by cosine"
    if scene is not None:
        note += "; framed and bold: of the query's scene"
    figure, axes = sheet.new_sheet(title, note, max(width, 700), sheet.HEAD + len(queries) * step + 8)
    for row, query in enumerate(queries):
        top = sheet.HEAD + row * step
        sheet.draw_tile(axes, keyframes(int(query)), 16, top, TILE_WIDTH, TILE_HEIGHT)
        sheet.write(axes, 16 + TILE_WIDTH / 2, top + TILE_HEIGHT + 6, f"shot {query}", size=12, weight="bold")
        for column, (shot, cosine) in enumerate(zip(neighbors[row].tolist(), cosines[row].tolist(), strict=True)):
            left = 16 + TILE_WIDTH + QUERY_GAP + column * (TILE_WIDTH + GAP)
            sheet.draw_tile(axes, keyframes(shot), left, top, TILE_WIDTH, TILE_HEIGHT)
            same = scene is not None and scene[query] != UNKNOWN and scene[shot] == scene[query]
            if same:
                sheet.draw_frame(axes, left, top, TILE_WIDTH, TILE_HEIGHT, look.LABELLED, "same scene", line=5)
            caption = f"shot {shot}   {cosine:.2f}"
            sheet.write(
                axes,
                left + TILE_WIDTH / 2,
                top + TILE_HEIGHT + 6,
                caption,
                size=12,
                weight="bold" if same else "normal",
            )
    return figure

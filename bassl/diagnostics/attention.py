"""What the centre shot of a window attends to, in each layer of the contextual relation network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor

from bassl.drawing import figure as look
from bassl.drawing import sheet
from bassl.drawing.strip import KeyframeReader
from bassl.errors import InputError
from bassl.model.crn import BertLayer, ContextualRelationNetwork, SelfAttention

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TILE_WIDTH, TILE_HEIGHT, CELL, LEFT = 82, 62, 28, 86


@torch.no_grad()
def attention_weights(attention: SelfAttention, tokens: Tensor) -> Tensor:
    """Share of each token that goes into each token's update: (B, T, H) -> (B, heads, T, T), rows sum to 1.

    Recomputed from the query and key weights, so that the network itself need not keep them.
    """
    query, key = (
        rearrange(layer(tokens), "b t (heads dim) -> b heads t dim", heads=attention.num_heads)
        for layer in (attention.query, attention.key)
    )
    return (query @ key.mT / query.shape[-1] ** 0.5).softmax(dim=-1)


@torch.no_grad()
def center_attention(crn: ContextualRelationNetwork, shots: Tensor) -> Tensor:
    """What the centre shot attends to, mean over heads: windows (B, S, D) -> (B, L, S + 1), CLS first.

    L layers; each row sums to 1. The network must be in eval mode. Raises InputError for windows it was not
    built for, and for features that are not finite.
    """
    assert not crn.training, "attention is looked at in eval mode"
    if not torch.isfinite(shots).all():
        raise InputError(f"windows of shape {tuple(shots.shape)} hold features that are not finite; extract them again")
    tokens = crn.shot_embedding(shots)
    center = tokens.shape[1] // 2  # counting CLS, as the centre pooling does
    rows = []
    for layer in crn.encoder.layer:
        attention = cast(SelfAttention, cast(BertLayer, layer).attention["self"])
        rows.append(attention_weights(attention, tokens)[:, :, center].mean(dim=1))
        tokens = layer(tokens)
    return torch.stack(rows, dim=1)


def attention_figure(
    title: str,
    weights: Tensor,
    shots: Tensor,
    keyframes: KeyframeReader,
    notes: Sequence[str] = (),
) -> Figure:
    """A block a window: its key-frames, and below them a row a layer with each one's share in percent.

    weights: (B, L, S + 1) as `center_attention` gives them. shots: (B, S) their numbers in the film. notes: B
    lines, what each window is an example of. Raises InputError for other shapes.
    """
    if weights.ndim != 3 or shots.shape != (len(weights), weights.shape[2] - 1) or len(notes) not in (0, len(weights)):
        shapes = f"{tuple(weights.shape)} and {tuple(shots.shape)}"
        raise InputError(
            f"weights and shots have shapes {shapes}, notes {len(notes)}; give (B, L, S + 1), (B, S), B notes"
        )
    _, num_layers, num_tokens = weights.shape
    step = 34 + TILE_HEIGHT + 24 + num_layers * CELL + 18
    note = "framed: the centre shot; below: its attention in percent, mean over heads; CLS: the window's mean"
    width = LEFT + num_tokens * TILE_WIDTH + 16
    figure, axes = sheet.new_sheet(title, note, width, sheet.HEAD + len(weights) * step)
    for number, window in enumerate(shots.tolist()):
        top = sheet.HEAD + number * step + 26
        if notes:
            sheet.write(axes, 16, top - 24, notes[number], size=12, weight="bold", align="left")
        for position, shot in enumerate(window, start=1):
            left = LEFT + position * TILE_WIDTH
            sheet.draw_tile(axes, keyframes(shot), left + 1, top, TILE_WIDTH - 2, TILE_HEIGHT)
        center = LEFT + (num_tokens // 2) * TILE_WIDTH
        sheet.draw_frame(axes, center + 2, top + 2, TILE_WIDTH - 4, TILE_HEIGHT - 4, look.LABELLED, "centre shot")
        for token, name in enumerate(["CLS", *map(str, window)]):
            sheet.write(axes, LEFT + (token + 0.5) * TILE_WIDTH, top + TILE_HEIGHT + 4, name)
        _draw_shares(axes, weights[number].float().cpu().numpy(), top + TILE_HEIGHT + 24)
    return figure


def _draw_shares(axes: Axes, share: NDArray[np.float32], top: int) -> None:
    """Cells (L, S + 1) below the key-frames, the darker the larger the share."""
    num_layers, num_tokens = share.shape
    darkest = max(float(share.max()), 2 / num_tokens)
    extent = (LEFT, LEFT + num_tokens * TILE_WIDTH, top + num_layers * CELL, top)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=darkest, extent=extent, aspect="auto", interpolation="nearest")
    for layer in range(num_layers):
        middle = top + layer * CELL + 6
        sheet.write(axes, 16, middle, f"layer {layer + 1}", size=12, align="left")
        for token in range(num_tokens):
            color = "white" if share[layer, token] > 0.6 * darkest else look.INK
            left = LEFT + (token + 0.5) * TILE_WIDTH
            sheet.write(axes, left, middle, f"{100 * share[layer, token]:.0f}", color=color)

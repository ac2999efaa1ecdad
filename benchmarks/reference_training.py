"""The reference's way of training: alignment in loops, the CRN over all tokens, the loss by formula, LARS per tensor.

Written from the description of each. The CRN uses the weights of the package's network, so both compute the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from bassl.model.crn import ContextualRelationNetwork
from bassl.training.optim import LARS


def pseudo_boundaries(sparse: Tensor, dense: Tensor) -> Tensor:
    """Return the last shot of the left scene of each window: (B, 2, D), (B, S, D) of unit length -> (B,)."""
    costs = 1 - (sparse @ dense.transpose(1, 2)).detach().float().cpu().numpy()
    return torch.tensor([_boundary(cost) for cost in costs], device=dense.device)


def _boundary(cost: npt.NDArray[np.float32]) -> int:
    """Return the last column that the best warping path through a cost matrix (2, S) spends in its first row."""
    columns = cost.shape[1]
    total = np.full((3, columns + 1), np.inf)
    total[0, 0] = 0
    for row in (1, 2):
        for column in range(1, columns + 1):
            before = min(total[row - 1, column], total[row, column - 1], total[row - 1, column - 1])
            total[row, column] = max(cost[row - 1, column - 1], 0) + before
    # Walk back in the second row until the path comes from the first; of equal paths the largest boundary counts.
    column = columns
    while column > 1 and total[1, column - 1] > total[2, column - 1]:
        column -= 1
    return column - 2


def center_token(network: ContextualRelationNetwork, shots: Tensor) -> Tensor:
    """Return the centre shot's token, (B, H), of shots (B, S, D), from all tokens of all layers."""
    embedding = network.shot_embedding
    sequence = torch.cat([shots.mean(dim=1, keepdim=True), shots], dim=1)
    hidden = embedding.shot_embedding(sequence)
    hidden = hidden + embedding.position_embedding(torch.arange(hidden.shape[1], device=shots.device))
    hidden = embedding.dropout(embedding.LayerNorm(hidden))
    for layer in network.encoder.layer:
        hidden = _layer(layer, hidden)
    return hidden[:, hidden.shape[1] // 2]


def _layer(layer: Any, hidden: Tensor) -> Tensor:
    attended = _attention(layer.attention["self"], hidden)
    hidden = _add_and_norm(layer.attention["output"], attended, hidden)
    return _add_and_norm(layer.output, F.gelu(layer.intermediate["dense"](hidden)), hidden)


def _attention(attention: Any, hidden: Tensor) -> Tensor:
    batch, length, width = hidden.shape
    size = width // attention.num_heads
    query, key, value = (
        linear(hidden).view(batch, length, attention.num_heads, size).transpose(1, 2)
        for linear in (attention.query, attention.key, attention.value)
    )
    scores = torch.matmul(query, key.transpose(-1, -2)) / math.sqrt(size)
    weights = F.dropout(F.softmax(scores, dim=-1), attention.dropout, attention.training)
    return torch.matmul(weights, value).transpose(1, 2).contiguous().view(batch, length, width)


def _add_and_norm(output: Any, update: Tensor, residual: Tensor) -> Tensor:
    return output.LayerNorm(output.dropout(output.dense(update)) + residual)


def two_class_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the cross-entropy in which each class weighs one half, as the formula stands: (B, 2), (B,) -> scalar."""
    losses = F.cross_entropy(logits, labels, reduction="none")
    positive, negative = (labels == 1).float(), (labels == 0).float()
    weights = 0.5 * positive / (positive.sum() + 1e-5) + 0.5 * negative / (negative.sum() + 1e-5)
    return (weights * losses).sum()


class LoopedLARS(LARS):
    """LARS as a loop over tensors that reads each norm."""

    @torch.no_grad()
    def step(self, closure: Callable[[], object] | None = None) -> None:  # type: ignore[override]
        """Update the parameters."""
        for group in self.param_groups:
            for weight in (weight for weight in group["params"] if weight.grad is not None):
                update, decay = weight.grad, group["weight_decay"]
                if decay and (weight_norm := weight.norm()) > 0 and (norm := update.norm()) > 0:
                    trust = group["trust_coefficient"] * weight_norm / (norm + decay * weight_norm + group["eps"])
                    update = trust * (update + decay * weight)
                state = self.state[weight]
                state["momentum"] = group["momentum"] * state.get("momentum", 0) + update
                weight.add_(state["momentum"], alpha=-group["lr"])

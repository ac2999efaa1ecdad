"""Heads of the pre-training terms and of fine-tuning; names follow the published checkpoints' state dict."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class NCEHead(nn.Module):
    """Project encoder features (..., input_dim) to unit vectors (..., output_dim) for the NCE losses."""

    def __init__(self, input_dim: int = 2048, hidden_dim: int = 2048, output_dim: int = 128) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.Linear(input_dim, hidden_dim), nn.ReLU(inplace=True), nn.Linear(hidden_dim, output_dim)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Return embeddings of unit length, in 32 bit even if autocast runs the layers in 16."""
        embedded: Tensor = self.model(features)
        return F.normalize(embedded.to(torch.promote_types(embedded.dtype, torch.float32)), dim=-1)


class MSMHead(nn.Module):
    """Predict encoder features (..., output_dim) of masked shots from CRN outputs (..., hidden_dim)."""

    def __init__(self, hidden_dim: int = 768, output_dim: int = 2048, layer_norm_eps: float = 1e-12) -> None:
        super().__init__()
        self.predictions = _Predictions(hidden_dim, output_dim, layer_norm_eps)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.predictions(tokens)


class _Predictions(nn.Module):
    """BERT's prediction head; its output bias is one parameter with two names, as in the checkpoints."""

    def __init__(self, hidden_dim: int, output_dim: int, layer_norm_eps: float) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(output_dim))
        self.transform = nn.ModuleDict(
            {
                "dense": nn.Linear(hidden_dim, hidden_dim),
                "LayerNorm": nn.LayerNorm(hidden_dim, eps=layer_norm_eps),
            }
        )
        self.decoder = nn.Linear(hidden_dim, output_dim, bias=False)
        self.decoder.bias = self.bias
        self.register_load_state_dict_pre_hook(_copy_missing_bias)

    def forward(self, tokens: Tensor) -> Tensor:
        hidden = F.gelu(self.transform["dense"](tokens))
        return self.decoder(self.transform["LayerNorm"](hidden))


def _copy_missing_bias(_module: nn.Module, state_dict: dict[str, Any], prefix: str, *_unused: Any) -> None:
    """Load the shared bias from a state dict that has only one of its two names."""
    names = [f"{prefix}bias", f"{prefix}decoder.bias"]
    held = [name for name in names if name in state_dict]
    if len(held) == 1:
        (missing,) = set(names) - set(held)
        state_dict[missing] = state_dict[held[0]]


def boundary_head(hidden_dim: int = 768) -> nn.Linear:
    """Build the head for logits (..., 2) of "a scene ends with this shot": `head_pp`, after pre-training `head_sbd`."""
    return nn.Linear(hidden_dim, 2)


def group_head(hidden_dim: int = 768) -> nn.Linear:
    """Build the head for logits (..., 2) of "same scene" from two concatenated CRN outputs (..., 2 * hidden_dim)."""
    return nn.Linear(2 * hidden_dim, 2)

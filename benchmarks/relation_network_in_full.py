"""The reference's way with the CRN: every token of every layer, one operation after the other.

Written from the description of the network (CLS is the mean of the shots, put in front before the linear layer;
post-norm BERT layers; the centre token is picked at the end). It uses the weights of the package's network, so both
compute the same.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bassl.model.crn import AddAndNorm, BertLayer, ContextualRelationNetwork, SelfAttention


def tokens(network: ContextualRelationNetwork, shots: Tensor) -> Tensor:
    """All tokens of the last layer, (B, S + 1, H), of shot features (B, S, D)."""
    embedding = network.shot_embedding
    sequence = torch.cat([shots.mean(dim=1, keepdim=True), shots], dim=1)
    hidden = embedding.shot_embedding(sequence)
    hidden = hidden + embedding.position_embedding(torch.arange(hidden.shape[1], device=shots.device))
    hidden = embedding.dropout(embedding.LayerNorm(hidden))
    for layer in network.encoder.layer:
        hidden = _layer(layer, hidden)
    return hidden


def center_token(network: ContextualRelationNetwork, shots: Tensor) -> Tensor:
    """The token of the centre shot, (B, H)."""
    all_tokens = tokens(network, shots)
    return all_tokens[:, all_tokens.shape[1] // 2]


def _layer(layer: nn.Module, hidden: Tensor) -> Tensor:
    assert isinstance(layer, BertLayer)
    attended = _attention(layer.attention["self"], hidden)
    hidden = _add_and_norm(layer.attention["output"], attended, hidden)
    wide = F.gelu(layer.intermediate["dense"](hidden))
    return _add_and_norm(layer.output, wide, hidden)


def _attention(attention: nn.Module, hidden: Tensor) -> Tensor:
    assert isinstance(attention, SelfAttention)
    batch, length, width = hidden.shape
    heads, size = attention.num_heads, width // attention.num_heads
    query, key, value = (
        layer(hidden).view(batch, length, heads, size).transpose(1, 2)
        for layer in (attention.query, attention.key, attention.value)
    )
    scores = torch.matmul(query, key.transpose(-1, -2)) / math.sqrt(size)
    weights = F.dropout(F.softmax(scores, dim=-1), attention.dropout, attention.training)
    return torch.matmul(weights, value).transpose(1, 2).contiguous().view(batch, length, width)


def _add_and_norm(output: nn.Module, update: Tensor, residual: Tensor) -> Tensor:
    assert isinstance(output, AddAndNorm)
    return output.LayerNorm(output.dropout(output.dense(update)) + residual)

"""Contextual relation network (CRN): a small BERT over the shots of one window, with a CLS token in front.

Layout and names follow the state dict of the published checkpoints: post-norm BERT layers, GELU, one position
embedding per token, and a mask embedding for masked shot modelling.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from bassl.errors import InputError

POOLINGS = ("center", "cls", "avg", "max")


class ContextualRelationNetwork(nn.Module):
    """Transform the shot features of a window (B, S, D) into context-aware tokens (B, S + 1, H), CLS first.

    Weights start from PyTorch's defaults: the reference never runs BERT's own initialiser.

    Args:
        input_dim: D, width of the shot encoder's features.
        hidden_dim: H, divisible by num_heads.
        num_shots: S, shots of a window.
        pooling: default of `pool` and the method of `pooled`, one of POOLINGS.
    """

    def __init__(
        self,
        input_dim: int = 2048,
        hidden_dim: int = 768,
        num_layers: int = 2,
        num_heads: int = 8,
        intermediate_dim: int = 3072,
        dropout: float = 0.1,
        num_shots: int = 17,
        pooling: str = "center",
        layer_norm_eps: float = 1e-12,
    ) -> None:
        super().__init__()
        if num_layers < 1:
            raise InputError(f"a contextual relation network needs at least 1 layer, got {num_layers}; raise it")
        if hidden_dim % num_heads:
            raise InputError(
                f"hidden dimension {hidden_dim} is not divisible by {num_heads} attention heads; "
                "choose a number of heads that divides it"
            )
        self.hidden_dim, self.num_layers = hidden_dim, num_layers
        self.num_heads, self.intermediate_dim = num_heads, intermediate_dim
        self.pooling = _known(pooling)
        self.shot_embedding = ShotEmbedding(input_dim, hidden_dim, num_shots, dropout, layer_norm_eps)
        self.encoder = BertEncoder(num_layers, hidden_dim, num_heads, intermediate_dim, dropout, layer_norm_eps)

    @property
    def input_dim(self) -> int:
        return self.shot_embedding.input_dim

    @property
    def num_shots(self) -> int:
        return self.shot_embedding.num_shots

    def set_dropout(self, probability: float) -> None:
        """Set the dropout of all layers, which a checkpoint does not store."""
        for module in self.modules():
            if isinstance(module, nn.Dropout):
                module.p = probability
            elif isinstance(module, SelfAttention):
                module.dropout = probability

    def forward(self, shots: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return tokens (B, S + 1, H), CLS first, of shots (B, S, D); mask (B, S) is non-zero for a masked shot.

        Raises InputError if S or D differs from that of the network.
        """
        return self.encoder(self.shot_embedding(shots, mask))

    def pool(self, tokens: Tensor, pooling: str | None = None) -> Tensor:
        """Pool tokens (B, S + 1, H) to one vector (B, H) per window; `avg` and `max` leave CLS out."""
        pooling = _known(pooling or self.pooling)
        if pooling == "avg":
            return tokens[:, 1:].mean(dim=1)
        if pooling == "max":
            return tokens[:, 1:].amax(dim=1)
        return tokens[:, _pooled_token(pooling, tokens.shape[1])]

    def pooled(self, shots: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return `pool(forward(shots, mask))`, (B, H), and compute only the tokens that pooling reads.

        With `center` and `cls` pooling the last layer has one query token, with keys and values of all tokens. The
        result is the same except for the dropout draws.
        """
        if self.pooling in ("avg", "max"):
            return self.pool(self(shots, mask))
        tokens = self.shot_embedding(shots, mask)
        position = _pooled_token(self.pooling, tokens.shape[1])
        return self.encoder(tokens, position).squeeze(1)


class ShotEmbedding(nn.Module):
    """Embed shot features (B, S, D) as the input tokens (B, S + 1, H) of the first layer.

    CLS is the mean of the (masked) shot features. The mean is taken after the linear layer, with which it commutes,
    to avoid a second copy of the wide features.
    """

    def __init__(self, input_dim: int, hidden_dim: int, num_shots: int, dropout: float, layer_norm_eps: float) -> None:
        super().__init__()
        self.input_dim = input_dim
        self.num_shots = num_shots
        self.shot_embedding = nn.Linear(input_dim, hidden_dim)
        self.position_embedding = nn.Embedding(num_shots + 1, hidden_dim)
        # Row 0 (not masked) starts at zero and is never read, so no gradient and no decay can move it.
        self.mask_embedding = nn.Embedding(2, input_dim, padding_idx=0)
        self.LayerNorm = nn.LayerNorm(hidden_dim, eps=layer_norm_eps)
        self.dropout = nn.Dropout(dropout)

    def forward(self, shots: Tensor, mask: Tensor | None = None) -> Tensor:
        self._check(shots, mask)
        masked_shot = self.mask_embedding.weight[1]
        if mask is not None:
            shots = torch.where(mask.bool().unsqueeze(-1), masked_shot.to(shots.dtype), shots)
        embedded = self.shot_embedding(shots)
        cls = embedded.mean(dim=1, keepdim=True)
        if mask is None and self.training:
            # A zero gradient instead of none: DDP waits for every parameter in every step.
            cls = cls + 0.0 * masked_shot.sum()
        tokens = torch.cat([cls, embedded], dim=1) + self.position_embedding.weight
        return self.dropout(self.LayerNorm(tokens))

    def _check(self, shots: Tensor, mask: Tensor | None) -> None:
        assert shots.ndim == 3, f"shots must be (B, S, D), got {tuple(shots.shape)}"
        _, num_shots, width = shots.shape
        if num_shots != self.num_shots:
            raise InputError(
                f"windows of {num_shots} shots were given to a contextual relation network of "
                f"{self.num_shots}; set neighbor_size to what the network was trained with"
            )
        if width != self.input_dim:
            raise InputError(
                f"features of {width} dimensions were given to a contextual relation network of "
                f"{self.input_dim}; use features of the encoder that it was trained with"
            )
        assert mask is None or mask.shape == shots.shape[:2], (
            f"mask must be {tuple(shots.shape[:2])}, got {tuple(mask.shape)}"
        )


class BertEncoder(nn.Module):
    """Stack of layers, named as in BERT."""

    def __init__(
        self,
        num_layers: int,
        hidden_dim: int,
        num_heads: int,
        intermediate_dim: int,
        dropout: float,
        layer_norm_eps: float,
    ) -> None:
        super().__init__()
        self.layer = nn.ModuleList(
            BertLayer(hidden_dim, num_heads, intermediate_dim, dropout, layer_norm_eps) for _ in range(num_layers)
        )

    def forward(self, tokens: Tensor, position: int | None = None) -> Tensor:
        """Return the tokens (B, T, H) of the last layer, or only the one at `position`, (B, 1, H)."""
        *earlier, last = self.layer
        for layer in earlier:
            tokens = layer(tokens)
        queries = tokens if position is None else tokens[:, position : position + 1]
        return last(queries, context=tokens)


class BertLayer(nn.Module):
    """Post-norm transformer layer: attention, add, norm, feed-forward, add, norm."""

    def __init__(
        self, hidden_dim: int, num_heads: int, intermediate_dim: int, dropout: float, layer_norm_eps: float
    ) -> None:
        super().__init__()
        self.attention = nn.ModuleDict(
            {
                "self": SelfAttention(hidden_dim, num_heads, dropout),
                "output": AddAndNorm(hidden_dim, hidden_dim, dropout, layer_norm_eps),
            }
        )
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(hidden_dim, intermediate_dim)})
        self.output = AddAndNorm(intermediate_dim, hidden_dim, dropout, layer_norm_eps)

    def forward(self, tokens: Tensor, context: Tensor | None = None) -> Tensor:
        """Update tokens (B, Q, H) from a context (B, T, H), by default from themselves."""
        attended = self.attention["self"](tokens, tokens if context is None else context)
        tokens = self.attention["output"](attended, tokens)
        return self.output(F.gelu(self.intermediate["dense"](tokens)), tokens)


class SelfAttention(nn.Module):
    """Multi-head attention with dropout on the attention probabilities."""

    def __init__(self, hidden_dim: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.dropout = dropout
        self.query = nn.Linear(hidden_dim, hidden_dim)
        self.key = nn.Linear(hidden_dim, hidden_dim)
        self.value = nn.Linear(hidden_dim, hidden_dim)

    def forward(self, tokens: Tensor, context: Tensor) -> Tensor:
        """Return the attended values (B, Q, H) of tokens (B, Q, H) that attend to a context (B, T, H)."""
        if tokens.shape[1] == 1:
            return self._attend_once(tokens, context)
        query, key, value = (
            rearrange(projected, "b t (heads dim) -> b heads t dim", heads=self.num_heads)
            for projected in (self.query(tokens), self.key(context), self.value(context))
        )
        dropout = self.dropout if self.training else 0.0
        attended = F.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        return rearrange(attended, "b heads t dim -> b t (heads dim)")

    def _attend_once(self, token: Tensor, context: Tensor) -> Tensor:
        """Do the same for one query per window, without keys and values: q (K c) = (q K) c, sum p (V c) = V sum p c.

        This takes 2 H^2 multiplications per window instead of 2 T H^2. The softmax is 32 bit, also under autocast.
        """
        query = rearrange(self.query(token), "b 1 (heads dim) -> heads b dim", heads=self.num_heads)
        key, value = (
            rearrange(layer.weight, "(heads dim) h -> heads dim h", heads=self.num_heads)
            for layer in (self.key, self.value)
        )
        key_bias, value_bias = (
            rearrange(layer.bias, "(heads dim) -> heads dim", heads=self.num_heads) for layer in (self.key, self.value)
        )
        scores = rearrange(query @ key, "heads b h -> b heads h") @ context.mT
        offsets = torch.einsum("n b d, n d -> b n", query, key_bias)  # moves no score against another
        scores = scores + offsets[..., None]
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32)) / math.sqrt(query.shape[-1])
        weights = F.dropout(scores.softmax(dim=-1), self.dropout, self.training)
        mixed = rearrange(weights.to(context.dtype) @ context, "b heads h -> heads b h")
        attended = mixed @ value.mT
        attended = attended + rearrange(weights.sum(-1), "b heads -> heads b 1") * value_bias[:, None]
        return rearrange(attended, "heads b dim -> b 1 (heads dim)")


class AddAndNorm(nn.Module):
    """Dense layer, dropout, residual, LayerNorm."""

    def __init__(self, input_dim: int, hidden_dim: int, dropout: float, layer_norm_eps: float) -> None:
        super().__init__()
        self.dense = nn.Linear(input_dim, hidden_dim)
        self.LayerNorm = nn.LayerNorm(hidden_dim, eps=layer_norm_eps)
        self.dropout = nn.Dropout(dropout)

    def forward(self, update: Tensor, residual: Tensor) -> Tensor:
        return self.LayerNorm(residual + self.dropout(self.dense(update)))


def _known(pooling: str) -> str:
    if pooling not in POOLINGS:
        raise InputError(f"pooling method '{pooling}' is unknown; choose one of {', '.join(POOLINGS)}")
    return pooling


def _pooled_token(pooling: str, num_tokens: int) -> int:
    return 0 if pooling == "cls" else num_tokens // 2

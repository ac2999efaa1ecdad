"""Make a CRN learn from few labelled films: show it how shots relate, never what they look like.

A fresh CRN learns a few films by heart. Here shot features, centred on their film, are projected to P dimensions of
fixed length, and in training each window is rotated at random. Two rotations of a window share nothing but the
similarities of its shots, so nothing else can be learnt, and the scorer carries over to other films.

PyTorch's default weights then stall at a loss of log 2: attention hardly looks at similarity, and the positions of
similar shots, the signal, drown in rotated features. `attend_to_similar_shots` starts the CRN where it can learn.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bassl.errors import InputError
from bassl.model.crn import AddAndNorm, BertLayer, ContextualRelationNetwork, SelfAttention

LENGTH = 8.0
"""Length of a projected shot; with 64 dimensions every number is about 1."""

NUM_TRAINING_ROTATIONS = 512
NUM_TEST_ROTATIONS = 8

POSITION_SCALE = 0.6
QUERY_SCALE = 2.0
VALUE_SCALE = 3**0.5  # PyTorch draws weights of variance 1 / (3 n); this keeps the variance of what passes through


class RotatedProjection(nn.Module):
    """Project windows of shot features (B, S, D) to (B, S, P) of one length, and rotate them.

    Attributes:
        basis: (P, D), orthonormal rows: where to project. A buffer, set by `fit`.
        rotations: (R, P, P), orthogonal: what scores are averaged over outside training. Stored with the weights.
        training_rotations: (N, P, P): what training draws from. Not stored.
    """

    basis: Tensor
    rotations: Tensor
    training_rotations: Tensor

    def __init__(
        self,
        input_dim: int,
        output_dim: int = 64,
        num_rotations: int = NUM_TEST_ROTATIONS,
        num_training_rotations: int = NUM_TRAINING_ROTATIONS,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        output_dim = min(input_dim, output_dim)
        self.register_buffer("basis", torch.eye(output_dim, input_dim))
        self.register_buffer("rotations", draw_rotations(num_rotations, output_dim, generator))
        pool = draw_rotations(num_training_rotations, output_dim, generator)
        self.register_buffer("training_rotations", pool, persistent=False)

    @property
    def input_dim(self) -> int:
        """D."""
        return self.basis.shape[1]

    @property
    def output_dim(self) -> int:
        """P."""
        return self.basis.shape[0]

    def fit(self, features: Tensor) -> None:
        """Set the basis from features (N, D) of the training films, each centred on its film."""
        self.basis.copy_(principal_directions(features, self.output_dim))

    def project(self, shots: Tensor) -> Tensor:
        """Return shots (..., D) projected to (..., P) of length LENGTH; a shot of zeros stays zero."""
        if shots.shape[-1] != self.input_dim:
            raise InputError(
                f"features of {shots.shape[-1]} numbers per shot were given to a projection that reads "
                f"{self.input_dim}; use features of the encoder that it was trained with"
            )
        return LENGTH * F.normalize(shots @ self.basis.T, dim=-1)

    def rotate_randomly(self, projected: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """Return projected windows (B, S, P), each rotated by one of `training_rotations`."""
        num_rotations = len(self.training_rotations)
        device = projected.device if generator is None else generator.device
        drawn = torch.randint(num_rotations, (len(projected),), generator=generator, device=device)
        return projected @ self.training_rotations[drawn.to(projected.device)]


def principal_directions(features: Tensor, num_directions: int) -> Tensor:
    """Return the directions of the largest mean square of features (N, D) as orthonormal rows (P, D).

    The largest number of each direction is positive, so that the same films give the same basis everywhere.

    Raises:
        InputError: if features are not 2-D, or a value is NaN or infinite.
    """
    if features.ndim != 2 or not torch.isfinite(features).all():
        raise InputError(f"features of shape {tuple(features.shape)} are not (N, D), or hold NaN; extract them again")
    values = features.double()
    _, directions = torch.linalg.eigh(values.T @ values)  # ascending
    basis = directions.T.flip(0)[:num_directions]
    largest = basis.gather(1, basis.abs().argmax(dim=1, keepdim=True))
    return (basis * largest.sign()).to(features.dtype)


def draw_rotations(count: int, dim: int, generator: torch.Generator | None = None) -> Tensor:
    """Return orthogonal matrices (count, dim, dim), uniform over rotations and reflections (Mezzadri, 2007)."""
    drawn = torch.linalg.qr(torch.randn(count, dim, dim, generator=generator))
    return drawn.Q * torch.diagonal(drawn.R, dim1=1, dim2=2).sign()[:, None, :]


@torch.no_grad()
def attend_to_similar_shots(crn: ContextualRelationNetwork) -> None:
    """Reinitialise a fresh CRN, in place, so that attention starts as "where in the window are shots like this one?".

    Position embeddings are orthogonal to the embedded features, and queries do not see them. Keys are copies of the
    queries, so attention compares features alone. It fetches positions, which values and outputs pass on undamped.

    Raises:
        InputError: if the hidden dimension has no room for features and positions side by side.
    """
    embedding = crn.shot_embedding
    position = embedding.position_embedding.weight
    num_used = crn.input_dim + len(position)
    if num_used > crn.hidden_dim:
        raise InputError(
            f"a CRN of {crn.hidden_dim} dimensions cannot hold {crn.input_dim} of features and {len(position)} "
            f"positions apart; set its hidden_size to {num_used} or more"
        )
    features = torch.linalg.qr(embedding.shot_embedding.weight).Q
    nn.init.normal_(position, std=POSITION_SCALE)
    position -= position @ features @ features.T
    positions = torch.linalg.qr(position.T).Q
    for module in crn.encoder.modules():
        if isinstance(module, BertLayer):
            output, attention = module.attention["output"], module.attention["self"]
            assert isinstance(output, AddAndNorm) and isinstance(attention, SelfAttention)
            attention.query.weight.mul_(QUERY_SCALE)
            attention.query.weight.sub_(attention.query.weight @ positions @ positions.T)
            attention.key.weight.copy_(attention.query.weight)
            attention.value.weight.mul_(VALUE_SCALE)
            output.dense.weight.mul_(VALUE_SCALE)

"""Describe every shot of a film by how the film changes there: inputs of a boundary scorer for few labelled films.

Each column is standardised over its film, so a scorer that reads these inputs carries over to films and shot encoders
that it was not trained with. Columns, larger where a scene is likelier to end with the shot (lengths excepted):

    posterior              log odds of `scene_posterior.boundary_posterior` from features alone
    posterior_lengths      the same with shot lengths
    max_similarity_W       minus the largest cosine similarity between one of the W shots up to and including this one
                           and one of the W shots after it (the scorer of `similarity.py`)
    mean_similarity_8      minus the mean of the same similarities
    top_similarity_8       minus the mean of the five largest
    novelty_W              similarity within either side of W shots less that across (Foote, ICME 2000)
    length_K               logarithm of the length of the shot K positions later (earlier where K is negative)

Without shot lengths the columns stay the same, so any scorer reads any film: `posterior_lengths` repeats `posterior`,
and the lengths are 0, which is their mean.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from bassl.model.scene_posterior import boundary_posterior

WINDOWS = (1, 2, 4, 8)
NOVELTY_WINDOWS = (4, 8)
LENGTH_OFFSETS = tuple(range(-3, 5))
STRUCTURE_COLUMNS = (
    "posterior",
    "posterior_lengths",
    *(f"max_similarity_{window}" for window in WINDOWS),
    "mean_similarity_8",
    "top_similarity_8",
    *(f"novelty_{window}" for window in NOVELTY_WINDOWS),
    *(f"length_{offset:+d}" for offset in LENGTH_OFFSETS),
)
"""Names of the columns of `structure_inputs`, in order."""

TRAINING_FREE_WEIGHTS = tuple(1.4 if name == "posterior_lengths" else 0.0 for name in STRUCTURE_COLUMNS)
"""Weights of the columns that rank the shots of each film as the training-free scorer does."""

REACH = max(WINDOWS)  # shots looked at on either side of a boundary
NUM_TOP = 5
NUM_SIMILARITY_COLUMNS = len(WINDOWS) + 2 + len(NOVELTY_WINDOWS)
BOUNDARIES_AT_ONCE = 256  # bounds memory and changes no result
MIN_ODDS = 1e-6


class StructureScorer(nn.Module):
    """Logits that a scene ends with each shot of a film, linear in `structure_inputs`.

    Attributes:
        weight: (F,), one per column.
        bias: Scalar.
        uses_lengths: Whether it was fitted with shot lengths. Otherwise lengths are ignored, since their columns would
            be new to it.
    """

    weight: Tensor
    bias: Tensor
    uses_lengths: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("uses_lengths", torch.tensor(True))
        self.register_buffer("weight", torch.tensor(TRAINING_FREE_WEIGHTS))
        self.register_buffer("bias", torch.zeros(()))

    def logits(self, features: ArrayLike, shot_lengths: ArrayLike | None = None) -> NDArray[np.float64]:
        """Return (N,) logits of the shots of a film; arguments and errors as of `structure_inputs`."""
        weight, bias = self.weight.double().cpu().numpy(), float(self.bias)
        lengths = shot_lengths if self.uses_lengths else None
        return structure_inputs(features, lengths) @ weight + bias


def structure_inputs(features: ArrayLike, shot_lengths: ArrayLike | None = None) -> NDArray[np.float32]:
    """Return the columns of STRUCTURE_COLUMNS for all shots of a film, (N, F) float32.

    Every column has mean 0 and standard deviation 1 over the film, or is 0 where it is constant. The row of the last
    shot is 0: no boundary follows it, and it does not count in mean and deviation.

    Args:
        features: (N, D), in film order, from any encoder.
        shot_lengths: (N,), above 0, in any unit.

    Raises:
        InputError: if a shape is wrong, or a value is NaN, infinite or not a length.
    """
    posterior = _log_odds(boundary_posterior(features))
    columns = [posterior, posterior if shot_lengths is None else _log_odds(boundary_posterior(features, shot_lengths))]
    columns += _similarity_columns(np.asarray(features, np.float64))
    columns += _length_columns(shot_lengths, len(posterior))
    inputs = np.zeros((len(posterior), len(STRUCTURE_COLUMNS)), np.float32)
    for index, column in enumerate(columns):
        inputs[:-1, index] = _standardize(column[:-1])
    return inputs


def _similarity_columns(features: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    norm = np.linalg.norm(features, axis=1, keepdims=True)
    unit = features / np.where(norm > 0, norm, 1)
    parts = []
    for start in range(0, len(unit) - 1, BOUNDARIES_AT_ONCE):
        boundary = np.arange(start, min(start + BOUNDARIES_AT_ONCE, len(unit) - 1))
        shot = boundary[:, None] + np.arange(1 - REACH, 1 + REACH)  # up to the boundary, and after it
        inside = (shot >= 0) & (shot < len(unit))
        around = unit[shot.clip(0, len(unit) - 1)]
        is_pair = inside[:, :, None] & inside[:, None, :]
        parts.append(_boundary_columns(np.where(is_pair, around @ around.transpose(0, 2, 1), np.nan)))
    columns = np.concatenate(parts, axis=1) if parts else np.zeros((NUM_SIMILARITY_COLUMNS, 0))
    return list(np.pad(columns, ((0, 0), (0, len(unit) - columns.shape[1]))))


def _boundary_columns(similarity: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the similarity columns (8, B) of B boundaries.

    similarity: (B, 2 REACH, 2 REACH) of the shots around each boundary, NaN outside the film.
    """
    before = {window: slice(REACH - window, REACH) for window in WINDOWS}
    after = {window: slice(REACH, REACH + window) for window in WINDOWS}
    across = {window: similarity[:, before[window], after[window]].reshape(len(similarity), -1) for window in WINDOWS}
    largest = -np.sort(-across[REACH], axis=1)[:, :NUM_TOP]  # NaN comes last
    columns = [-np.nanmax(across[window], axis=1) for window in WINDOWS]
    columns += [-np.nanmean(across[REACH], axis=1), -np.nanmean(largest, axis=1)]
    for window in NOVELTY_WINDOWS:
        sides = [np.nanmean(similarity[:, side, side], axis=(1, 2)) for side in (before[window], after[window])]
        columns.append(sum(sides) / 2 - np.nanmean(across[window], axis=1))
    return np.stack(columns)


def _length_columns(shot_lengths: ArrayLike | None, num_shots: int) -> list[NDArray[np.float64]]:
    if shot_lengths is None:
        return [np.zeros(num_shots)] * len(LENGTH_OFFSETS)
    length = np.log(np.asarray(shot_lengths, np.float64))
    return [length[(np.arange(num_shots) + offset).clip(0, num_shots - 1)] for offset in LENGTH_OFFSETS]


def _log_odds(probability: NDArray[np.float64]) -> NDArray[np.float64]:
    probability = probability.clip(MIN_ODDS, 1 - MIN_ODDS)
    return np.log(probability) - np.log1p(-probability)


def _standardize(values: NDArray[np.float64]) -> NDArray[np.float64]:
    if not len(values):
        return values
    deviation = values - values.mean()
    spread = deviation.std()
    return deviation / spread if spread > 1e-9 else np.zeros_like(values)

"""Compare the shots of a film: how much likelier is one shot beside another than anywhere in the film?"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bassl.errors import InputError

ROW_BLOCK = 256
"""Rows of the similarity matrix that exist at a time; bounds memory and changes no result."""

NEGLIGIBLE = 1e-6
"""Relative size below which a difference counts as rounding of 32-bit features."""


def centered_features(features: ArrayLike) -> NDArray[np.float64]:
    """Return features (N, D) of unit length, centred on the film's mean and of unit length again.

    A shot without direction (zero, or equal to the mean) gets zeros.

    Raises:
        InputError: if features are not 2-D, or a value is NaN or infinite.
    """
    values = np.asarray(features, np.float64)
    if values.ndim != 2:
        raise InputError(f"features have shape {values.shape}; give (num_shots, D)")
    invalid = ~np.isfinite(values).all(1)
    if invalid.any():
        raise InputError(f"features of shot {invalid.argmax()} contain NaN or infinity; extract them again")
    unit = _normalize(values / np.abs(values).max(initial=np.finfo(float).tiny))
    return _normalize(unit - unit.mean(0)) if len(unit) else unit


def _normalize(values: NDArray[np.float64]) -> NDArray[np.float64]:
    norm = np.linalg.norm(values, axis=1, keepdims=True)
    return np.where(norm > NEGLIGIBLE, values / np.maximum(norm, NEGLIGIBLE), 0.0)


def relative_bands(
    unit: NDArray[np.float64], kappa: float, width: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return R_{i,i-m} and R_{i,i+m} at [i, m-1], each (N, width) and 0 outside the film.

    R is defined in `bassl/model/scene_posterior.py`; it is 1 where all similarities are equal. unit: from
    `centered_features`. kappa: sharpness of the kernel, 0 or more. width: in shots, less than N.
    """
    num_shots = len(unit)
    before, after = np.zeros((num_shots, width)), np.zeros((num_shots, width))
    if width == 0:
        return before, after
    spread = _similarity_spread(unit)
    sharpness = kappa / spread if spread > NEGLIGIBLE else 0.0
    offset = np.arange(1, width + 1)
    for start in range(0, num_shots, ROW_BLOCK):
        kernel = sharpness * (unit[start : start + ROW_BLOCK] @ unit.T)
        row = np.arange(len(kernel))
        shot = start + row
        kernel[row, shot] = -np.inf
        kernel -= kernel.max(1, keepdims=True)
        np.exp(kernel, out=kernel)
        kernel *= (num_shots - 1) / kernel.sum(1, keepdims=True)
        for band, column in ((before, shot[:, None] - offset), (after, shot[:, None] + offset)):
            inside = (column >= 0) & (column < num_shots)
            band[shot] = np.where(inside, kernel[row[:, None], column.clip(0, num_shots - 1)], 0.0)
    return before, after


def _similarity_spread(unit: NDArray[np.float64]) -> float:
    """Return s, the standard deviation of all cosine similarities off the diagonal; 0 below three shots."""
    num_shots, num_dims = unit.shape
    num_pairs = num_shots * (num_shots - 1)
    if num_shots < 3:
        return 0.0
    square = np.square(unit).sum(1)  # the diagonal: 1, or 0 for a shot without direction
    mean = (np.square(unit.sum(0)).sum() - square.sum()) / num_pairs
    if num_dims < num_shots:  # the similarities and unit.T @ unit have the same sum of squares
        total = np.square(unit.T @ unit).sum()
    else:
        total = np.square(unit @ unit.T).sum()
    variance = (total - np.square(square).sum()) / num_pairs - mean**2
    return float(np.sqrt(max(variance, 0.0)))

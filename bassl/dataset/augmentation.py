"""What a data worker does for an augmented view: draw every random choice, and crop.

A view is an augmentation of a sequence of images that belong together (the dense or the sparse shots of a
window). All choices come from the sample's own generator, so nothing depends on the number of workers or on
the device; `bassl.dataset.view.apply_views` carries out the rest (flip, colour jitter, blur) for whole
batches.
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
"""Names of the colour operations in `ViewDraw.order` and the columns of `ViewDraw.factors`."""

_CROP_ATTEMPTS = 10


@dataclass(frozen=True)
class AugmentationSettings:
    """Distributions of the pre-training augmentation, with the reference's values.

    size: side of the square crop in pixels. scale: area of the crop as a fraction of the image. ratio: its
    width over its height. brightness, contrast, saturation: largest change of a factor around 1. hue:
    largest turn, as a fraction of the colour circle (at most 0.5). jitter_consistent: False draws the
    factors and their order for each image instead of once for the sequence. blur_sigma: range of the
    Gaussian's standard deviation in pixels.

    Raises InputError for a range that is empty or a probability outside 0..1.
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
        if self.size < 1:
            raise InputError(f"size of the crop is {self.size}; give 1 pixel or more")
        for name in ("scale", "ratio", "blur_sigma"):
            low, high = getattr(self, name)
            if not 0 < low <= high:
                raise InputError(f"{name} is ({low}, {high}); give two positive numbers, the smaller first")
        for name in ("flip_probability", "jitter_probability", "blur_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} is {getattr(self, name)}; give a number from 0 to 1")
        for name in ("brightness", "contrast", "saturation"):
            if getattr(self, name) < 0:
                raise InputError(f"{name} is {getattr(self, name)}; give 0 or more")
        if not 0 <= self.hue <= 0.5:
            raise InputError(f"hue is {self.hue}; give a number from 0 to 0.5")


class ViewDraw(NamedTuple):
    """Every random choice behind the views of S images, as host arrays of fixed shapes.

    All fields have a row an image, so that draws can be joined and stacked; what a sequence shares is equal
    in its rows. Stacked draws have a leading dimension N. They stay on the host on purpose: `apply_views`
    groups images by them without waiting for the device.
    """

    box: npt.NDArray[np.int64]
    """Crop in pixels, (S, 4): top, left, height, width."""
    flip: npt.NDArray[np.bool_]
    """Mirror left to right, (S,)."""
    jitter: npt.NDArray[np.bool_]
    """Change the colours, (S,)."""
    order: npt.NDArray[np.int64]
    """Colour operations from first to last, (S, 4), each of BRIGHTNESS, CONTRAST, SATURATION, HUE once."""
    factors: npt.NDArray[np.float32]
    """Factors of BRIGHTNESS, CONTRAST, SATURATION and the turn of HUE, (S, 4), whatever the order."""
    blur: npt.NDArray[np.bool_]
    """Blur, (S,)."""
    sigma: npt.NDArray[np.float32]
    """Standard deviation of the blur in pixels, (S,)."""


def draw_view(
    num_images: int, height: int, width: int, settings: AugmentationSettings, rng: np.random.Generator
) -> ViewDraw:
    """One view of a sequence of images of height x width pixels.

    Drawn once for the sequence: crop, flip, whether to jitter and whether to blur, and the colour factors
    with their order (unless `jitter_consistent` is False); for each image: the blur's radius. Always takes
    the same number of coins, so a probability does not change what is drawn after it.
    """
    box = _draw_box(height, width, settings, rng)
    flip, jitter, blur = rng.random(3) < (
        settings.flip_probability,
        settings.jitter_probability,
        settings.blur_probability,
    )
    num_jitters = 1 if settings.jitter_consistent else num_images
    order = rng.permuted(np.tile(np.arange(4), (num_jitters, 1)), axis=1)
    low, high = _factor_ranges(settings)
    factors = rng.uniform(low, high, (num_jitters, 4)).astype(np.float32)
    return ViewDraw(
        box=np.tile(box, (num_images, 1)),
        flip=np.full(num_images, flip),
        jitter=np.full(num_images, jitter),
        order=np.broadcast_to(order, (num_images, 4)).copy(),
        factors=np.broadcast_to(factors, (num_images, 4)).copy(),
        blur=np.full(num_images, blur),
        sigma=rng.uniform(*settings.blur_sigma, num_images).astype(np.float32),
    )


def join_views(draws: Sequence[ViewDraw]) -> ViewDraw:
    """One record for several sequences of a sample, one after the other: (S1 + S2 + ...) images."""
    return ViewDraw(*(np.concatenate(fields) for fields in zip(*draws, strict=True)))


def stack_views(draws: Sequence[ViewDraw]) -> ViewDraw:
    """The records of N samples with S images each, stacked to (N, S, ...): what a collate function needs."""
    return ViewDraw(*(np.stack(fields) for fields in zip(*draws, strict=True)))


def crop(images: Tensor | Sequence[Tensor], box: npt.ArrayLike, size: int) -> Tensor:
    """The same box of every image, resized: uint8 (S, 3, size, size), channels-last in memory.

    `images`: uint8 (S, 3, H, W) or S times (3, H, W); fastest as the decoder leaves them, a list of images
    with their channels last in memory. `box`: top, left, height, width. Bilinear, and antialiased where it
    shrinks, as Pillow does (at most 1/255 apart); 0.11 ms an image on one core, where torch has its vector
    code for uint8.
    """
    top, left, height, width = (int(value) for value in np.asarray(box))
    cut = torch.stack([image.permute(1, 2, 0)[top : top + height, left : left + width] for image in images]).permute(
        0, 3, 1, 2
    )
    return torch.nn.functional.interpolate(cut, (size, size), mode="bilinear", antialias=True)


def _draw_box(
    height: int, width: int, settings: AugmentationSettings, rng: np.random.Generator
) -> tuple[int, int, int, int]:
    """Box of a random resized crop, drawn as torchvision's RandomResizedCrop does."""
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


def _factor_ranges(settings: AugmentationSettings) -> tuple[list[float], list[float]]:
    changes = (settings.brightness, settings.contrast, settings.saturation)
    low = [max(0.0, 1 - change) for change in changes]
    return [*low, -settings.hue], [*(1 + change for change in changes), settings.hue]

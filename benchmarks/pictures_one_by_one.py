"""The reference's way with key-frames: Pillow, an image at a time, in the data worker.

Written from its description ("augmentation of each image by itself in Python"), with torchvision's operations for
Pillow images. Draws come from the package, so that both sides make the same views.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torchvision.transforms.functional as pillow
from PIL import Image, ImageFilter
from torch import Tensor
from torchvision.transforms import InterpolationMode

from bassl.dataset.augmentation import BRIGHTNESS, CONTRAST, HUE, SATURATION, AugmentParams, draw_params
from bassl.dataset.movienet import PretrainShots
from bassl.dataset.sampler import SampleKey
from bassl.dataset.transform import IMAGENET_MEAN, IMAGENET_STD
from bassl.dataset.window import draw_mask, pretrain_window

ADJUST = {
    BRIGHTNESS: pillow.adjust_brightness,
    CONTRAST: pillow.adjust_contrast,
    SATURATION: pillow.adjust_saturation,
    HUE: pillow.adjust_hue,
}


def opened(path: Path) -> Image.Image:
    """One key-frame."""
    with Image.open(path) as image:
        return image.convert("RGB")


def view(image: Image.Image, draw: AugmentParams, size: int) -> Tensor:
    """One augmented image, normalised, (3, size, size); `draw` holds the choices of this image alone."""
    top, left, height, width = draw.box.tolist()
    image = pillow.resized_crop(image, top, left, height, width, [size, size], InterpolationMode.BILINEAR)
    if draw.flip:
        image = pillow.hflip(image)
    if draw.jitter:
        for operation in draw.order.tolist():
            image = ADJUST[operation](image, float(draw.factors[operation]))
    if draw.blur:
        image = image.filter(ImageFilter.GaussianBlur(float(draw.sigma)))
    return pillow.normalize(pillow.to_tensor(image), list(IMAGENET_MEAN), list(IMAGENET_STD))


def sample(data: PretrainShots, key: SampleKey) -> tuple[Tensor, Tensor]:
    """One pre-training sample, ready for the encoder: the views (V, 3, size, size) and the mask (S,)."""
    rng = np.random.default_rng((data.seed, key.epoch, key.row))
    notes = data.annotations
    film, shot = int(notes.film[key.row]), int(notes.shot[key.row])
    shots = pretrain_window(shot, int(notes.num_shots[film]), data.window.size, data.window.interval)
    picks = rng.integers(3, size=len(shots))
    images = [
        opened(data.keyframes.path(film, one, pick)) for one, pick in zip(shots.tolist(), picks.tolist(), strict=True)
    ]
    views = []
    for sequence in ([images[position] for position in data.sparse], images):
        width, height = images[0].size
        draws = draw_params(len(sequence), height, width, data.settings, rng)
        for number, image in enumerate(sequence):
            views.append(view(image, AugmentParams(*(field[number] for field in draws)), data.settings.size))
    return torch.stack(views), torch.from_numpy(draw_mask(len(shots), rng, data.masking_probability))


def plain_view(path: Path, resize: int, crop: int) -> Tensor:
    """One key-frame under the test-time transform, (3, crop, crop)."""
    image = pillow.resize(opened(path), resize, InterpolationMode.BICUBIC)
    image = pillow.center_crop(image, [crop, crop])
    return pillow.normalize(pillow.to_tensor(image), list(IMAGENET_MEAN), list(IMAGENET_STD))


def shot_views(paths: Sequence[Path], resize: int, crop: int) -> Tensor:
    """The key-frames of a shot, (K, 3, crop, crop)."""
    return torch.stack([plain_view(path, resize, crop) for path in paths])

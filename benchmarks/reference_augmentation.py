"""The reference's way with key-frames: Pillow, one image at a time, in the data worker.

Written from its description with torchvision's operations for Pillow images. The random draws are the package's, so
both sides make the same views.
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


def pretrain_sample(data: PretrainShots, key: SampleKey) -> tuple[Tensor, Tensor]:
    """Return one sample, ready for the encoder: the views (V, 3, size, size) and the mask (S,)."""
    rng = np.random.default_rng((data.seed, key.epoch, key.row))
    annotations = data.annotations
    film, shot = int(annotations.film[key.row]), int(annotations.shot[key.row])
    shots = pretrain_window(shot, int(annotations.num_shots[film]), data.window.size, data.window.interval)
    keyframes = rng.integers(3, size=len(shots))
    paths = [data.keyframes.path(film, *pair) for pair in zip(shots.tolist(), keyframes.tolist(), strict=True)]
    images = [_open(path) for path in paths]
    views = []
    for sequence in ([images[position] for position in data.sparse], images):
        width, height = images[0].size
        params = draw_params(len(sequence), height, width, data.settings, rng)
        for number, image in enumerate(sequence):
            views.append(_augmented(image, AugmentParams(*(field[number] for field in params)), data.settings.size))
    return torch.stack(views), torch.from_numpy(draw_mask(len(shots), rng, data.masking_probability))


def views_at_test_time(paths: Sequence[Path], resize: int, crop: int) -> Tensor:
    """Return the key-frames of a shot under the test-time transform, (K, 3, crop, crop)."""
    images = [pillow.resize(_open(path), resize, InterpolationMode.BICUBIC) for path in paths]
    return torch.stack([_normalized(pillow.center_crop(image, [crop, crop])) for image in images])


def _augmented(image: Image.Image, params: AugmentParams, size: int) -> Tensor:
    """Return one augmented image, (3, size, size); `params` holds its own choices only."""
    top, left, height, width = params.box.tolist()
    image = pillow.resized_crop(image, top, left, height, width, [size, size], InterpolationMode.BILINEAR)
    if params.flip:
        image = pillow.hflip(image)
    if params.jitter:
        for operation in params.order.tolist():
            image = ADJUST[operation](image, float(params.factors[operation]))
    if params.blur:
        image = image.filter(ImageFilter.GaussianBlur(float(params.sigma)))
    return _normalized(image)


def _open(path: Path) -> Image.Image:
    with Image.open(path) as image:
        return image.convert("RGB")


def _normalized(image: Image.Image) -> Tensor:
    return pillow.normalize(pillow.to_tensor(image), list(IMAGENET_MEAN), list(IMAGENET_STD))

"""Augmented views of a batch: what `ViewDraw` says, carried out for all images at once on their device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bassl.dataset.augmentation import BRIGHTNESS, CONTRAST, HUE, SATURATION, ViewDraw
from bassl.dataset.blur import gaussian_blur
from bassl.dataset.color import adjust_brightness_, adjust_contrast_, adjust_hue_, adjust_saturation_
from bassl.dataset.transform import IMAGENET_MEAN, IMAGENET_STD

_ADJUSTMENTS = {
    BRIGHTNESS: adjust_brightness_,
    CONTRAST: adjust_contrast_,
    SATURATION: adjust_saturation_,
    HUE: adjust_hue_,
}
_MAX_IMAGES_CPU = 4  # so few stay in the cache; 17 at a time take half as long again
_MAX_IMAGES = 256

Rows = npt.NDArray[np.int64]


def apply_views(
    images: Tensor,
    draws: ViewDraw,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Flip, colour jitter, blur and normalisation: (N, S, 3, h, w), channels-last in memory.

    `images`: cropped, uint8 (N, S, 3, h, w), on any device; fastest with channels last in memory, as `crop`
    leaves them. `draws`: their records, stacked to (N, S, ...), on the host. Colours follow torchvision's
    tensor operations in the drawn order. Pixels are computed in 32 bit, also under autocast, and returned as
    `dtype`.

    Images with the same recipe (flip, colour operations and their order) go through it together, and
    nothing is read back from the device. 1.5 ms an image of 224 x 224 pixels on one core.
    """
    num_samples, num_images, num_channels, height, width = images.shape
    assert num_channels == 3, f"images {tuple(images.shape)} must be (N, S, 3, h, w)"
    assert draws.flip.shape == (num_samples, num_images), f"draws {draws.flip.shape} of other images"
    flat = ViewDraw(*(np.reshape(field, (num_samples * num_images, *field.shape[2:])) for field in draws))
    pixels = images.flatten(0, 1)
    views = torch.empty((len(pixels), height, width, 3), dtype=dtype, device=images.device)
    max_images = _MAX_IMAGES_CPU if images.device.type == "cpu" else _MAX_IMAGES
    with torch.autocast(images.device.type, enabled=False):
        for rows in _recipes(flat, max_images):
            planes = _view(pixels, flat, rows)
            for plane, channel_mean, channel_std in zip(planes, mean, std, strict=True):
                plane.sub_(channel_mean).div_(channel_std)
            for start, stop in _runs(rows):
                run = views[rows[start] : rows[start] + stop - start]
                run.permute(3, 0, 1, 2).copy_(planes[:, start:stop])
    return views.permute(0, 3, 1, 2).unflatten(0, (num_samples, num_images))


def _view(pixels: Tensor, draws: ViewDraw, rows: Rows) -> Tensor:
    """Images that share their recipe, augmented: uint8 (M, 3, h, w) -> float32 (3, len(rows), h, w)."""
    planes = pixels.index_select(0, _to_device(rows, pixels.device)).transpose(0, 1)
    if draws.flip[rows[0]]:
        planes = planes.flip(-1)
    planes = planes.to(torch.float32, memory_format=torch.contiguous_format).div_(255)
    if draws.jitter[rows[0]]:
        factors = _to_device(draws.factors[rows].T[..., None, None], pixels.device)
        for operation in draws.order[rows[0]].tolist():
            planes = _ADJUSTMENTS[operation](planes, factors[operation])
    num_sharp = int(np.count_nonzero(~draws.blur[rows]))
    if num_sharp < len(rows):
        sigma = draws.sigma[rows[num_sharp:]]
        device_sigma = _to_device(sigma[:, None, None], pixels.device)
        blurred = gaussian_blur(planes[:, num_sharp:], device_sigma, float(sigma.max()))
        planes = blurred if num_sharp == 0 else torch.cat([planes[:, :num_sharp], blurred], dim=1)
    return planes


def _recipes(draws: ViewDraw, max_images: int) -> Iterator[Rows]:
    """Rows of images with the same flip and the same colour operations in one order, blurred ones last."""
    order = 1 + draws.order @ np.array([64, 16, 4, 1])
    recipe = np.where(draws.jitter, order, 0) * 2 + draws.flip
    rows = np.lexsort((draws.blur, recipe))
    for group in np.split(rows, np.flatnonzero(np.diff(recipe[rows])) + 1):
        for start in range(0, len(group), max_images):
            yield group[start : start + max_images]


def _runs(rows: Rows) -> list[tuple[int, int]]:
    """Stretches of consecutive rows, as ranges of positions in `rows`."""
    ends = [*(np.flatnonzero(np.diff(rows) != 1) + 1).tolist(), len(rows)]
    return list(zip([0, *ends[:-1]], ends, strict=True))


def _to_device(values: npt.NDArray[np.generic], device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(device, non_blocking=True)

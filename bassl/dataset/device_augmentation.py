"""Device half of the pre-training augmentation: flip, colour jitter, blur and normalisation of a whole batch.

Images lie as planes with the colour in front, float (3, M, H, W) in 0..1 for M images. Each colour is then contiguous,
and a factor (M, 1, 1) applies to all three. The `adjust_*_` functions follow torchvision's tensor operations. They
work in place, clamp their result to 0..1 and return it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import pad

from bassl.dataset.augmentation import BRIGHTNESS, CONTRAST, HUE, SATURATION, AugmentParams
from bassl.dataset.transform import IMAGENET_MEAN, IMAGENET_STD

_RED, _GREEN, _BLUE = 0.2989, 0.587, 0.114  # torchvision's weights of a grey value
_MAX_IMAGES_CPU = 4  # they stay in the cache; 17 at a time take half as long again
_MAX_IMAGES = 256
_BLUR_TRUNCATE = 3.0  # standard deviations; 0.3 % of the Gaussian lies beyond
_BLUR_BLOCK = 32  # pixels per small matrix: fewer waste matrix units, more multiply by zeros

Rows = npt.NDArray[np.int64]


def augment(
    images: Tensor,
    params: AugmentParams,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """Apply the drawn flip, colour jitter and blur to cropped images and normalise: (N, S, 3, h, w), channels-last.

    Images with the same recipe (flip, and colour operations in one order) are processed together. Nothing is read
    back from the device. Takes 1.5 ms per image of 224 x 224 pixels on one core.

    Args:
        images: cropped, uint8 (N, S, 3, h, w), on any device; fastest with channels last in memory, as from `crop`.
        params: choices for them, (N, S, ...), on the host.
        mean, std: of each channel, for the normalisation.
        dtype: of the result; pixels are computed in 32 bit, also under autocast.
    """
    num_samples, num_images, num_channels, height, width = images.shape
    assert num_channels == 3, f"images {tuple(images.shape)} must be (N, S, 3, h, w)"
    assert params.flip.shape == (num_samples, num_images), f"params {params.flip.shape} of other images"
    flat = AugmentParams(*(np.reshape(field, (num_samples * num_images, *field.shape[2:])) for field in params))
    pixels = images.flatten(0, 1)
    result = torch.empty((len(pixels), height, width, 3), dtype=dtype, device=images.device)
    max_images = _MAX_IMAGES_CPU if images.device.type == "cpu" else _MAX_IMAGES
    with torch.autocast(images.device.type, enabled=False):
        for rows in _recipes(flat, max_images):
            planes = _augment_rows(pixels, flat, rows)
            for plane, channel_mean, channel_std in zip(planes, mean, std, strict=True):
                plane.sub_(channel_mean).div_(channel_std)
            for start, stop in _runs(rows):
                run = result[rows[start] : rows[start] + stop - start]
                run.permute(3, 0, 1, 2).copy_(planes[:, start:stop])
    return result.permute(0, 3, 1, 2).unflatten(0, (num_samples, num_images))


def _augment_rows(pixels: Tensor, params: AugmentParams, rows: Rows) -> Tensor:
    """Augment images of one recipe: uint8 (M, 3, h, w) -> float32 (3, len(rows), h, w)."""
    planes = pixels.index_select(0, _to_device(rows, pixels.device)).transpose(0, 1)
    if params.flip[rows[0]]:
        planes = planes.flip(-1)
    planes = planes.to(torch.float32, memory_format=torch.contiguous_format).div_(255)
    if params.jitter[rows[0]]:
        factors = _to_device(params.factors[rows].T[..., None, None], pixels.device)
        for operation in params.order[rows[0]].tolist():
            planes = _ADJUSTMENTS[operation](planes, factors[operation])
    num_sharp = int(np.count_nonzero(~params.blur[rows]))
    if num_sharp < len(rows):
        sigma = params.sigma[rows[num_sharp:]]
        device_sigma = _to_device(sigma[:, None, None], pixels.device)
        blurred = gaussian_blur(planes[:, num_sharp:], device_sigma, float(sigma.max()))
        planes = blurred if num_sharp == 0 else torch.cat([planes[:, :num_sharp], blurred], dim=1)
    return planes


def _recipes(params: AugmentParams, max_images: int) -> Iterator[Rows]:
    """Group rows of images with the same flip and the same colour operations in one order, blurred ones last."""
    order = 1 + params.order @ np.array([64, 16, 4, 1])
    recipe = np.where(params.jitter, order, 0) * 2 + params.flip
    rows = np.lexsort((params.blur, recipe))
    for group in np.split(rows, np.flatnonzero(np.diff(recipe[rows])) + 1):
        for start in range(0, len(group), max_images):
            yield group[start : start + max_images]


def _runs(rows: Rows) -> list[tuple[int, int]]:
    """Return the runs of consecutive rows, as ranges of positions in `rows`."""
    ends = [*(np.flatnonzero(np.diff(rows) != 1) + 1).tolist(), len(rows)]
    return list(zip([0, *ends[:-1]], ends, strict=True))


def _to_device(values: npt.NDArray[np.generic], device: torch.device) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(device, non_blocking=True)


def adjust_brightness_(planes: Tensor, factor: Tensor) -> Tensor:
    """Multiply by the factor; 1 changes nothing."""
    return planes.mul_(factor).clamp_(0, 1)


def adjust_contrast_(planes: Tensor, factor: Tensor) -> Tensor:
    """Multiply the distance to the image's mean grey by the factor; 1 changes nothing."""
    mean = _gray(planes).mean((-2, -1), keepdim=True)
    return planes.mul_(factor).add_(mean.mul_(1 - factor)).clamp_(0, 1)


def adjust_saturation_(planes: Tensor, factor: Tensor) -> Tensor:
    """Multiply the distance to the pixel's grey by the factor; 1 changes nothing."""
    gray = _gray(planes)
    return planes.mul_(factor).add_(gray.mul_(1 - factor)).clamp_(0, 1)


def adjust_hue_(planes: Tensor, turn: Tensor) -> Tensor:
    """Turn the hue by a fraction of the colour circle; 0 and 1 change nothing.

    The conversion to HSV and back is never written out: the brightest and the darkest channel of a pixel stay, and
    the new hue alone decides where each channel lies between them.
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


_ADJUSTMENTS = {
    BRIGHTNESS: adjust_brightness_,
    CONTRAST: adjust_contrast_,
    SATURATION: adjust_saturation_,
    HUE: adjust_hue_,
}


def _gray(planes: Tensor) -> Tensor:
    red, green, blue = planes
    return (red * _RED).add_(green, alpha=_GREEN).add_(blue, alpha=_BLUE)


def gaussian_blur(planes: Tensor, sigma: Tensor, max_sigma: float) -> Tensor:
    """Blur images by Gaussians of standard deviation `sigma` (M, 1, 1) in pixels; returns (P, M, H, W) as given.

    The kernel of an image reaches ceil(3 sigma) pixels, less in a smaller image, and mirrors the image at its edge,
    as torchvision's gaussian_blur with 2 ceil(3 sigma) + 1 taps. `max_sigma` is a bound of `sigma` that the host
    knows; it decides the amount of work, not the result.

    Columns, then rows are filtered as small banded matrix products: 0.5 ms for three 224 x 224 planes on one core,
    against 1.6 ms for whole-row matrices and 0.3 to 2 ms, depending on M, for a depthwise convolution.
    """
    columns = _filter_rows(planes.mT, sigma, max_sigma)
    return _filter_rows(columns.mT, sigma, max_sigma)


def _filter_rows(planes: Tensor, sigma: Tensor, max_sigma: float) -> Tensor:
    num_planes, num_images, height, width = planes.shape
    reach = min(math.ceil(_BLUR_TRUNCATE * max_sigma), width - 1)
    num_blocks = -(-width // _BLUR_BLOCK)
    padded = pad(pad(planes, (reach, reach, 0, 0), mode="reflect"), (0, num_blocks * _BLUR_BLOCK - width))
    blocks = padded.unfold(-1, _BLUR_BLOCK + 2 * reach, _BLUR_BLOCK).reshape(
        num_planes, num_images, height * num_blocks, _BLUR_BLOCK + 2 * reach
    )
    filtered = torch.matmul(blocks, _band(sigma, reach))
    return filtered.view(num_planes, num_images, height, num_blocks * _BLUR_BLOCK)[..., :width]


def _band(sigma: Tensor, reach: int) -> Tensor:
    """Return matrices (M, block + 2 reach, block) whose column j holds an image's kernel around row j + reach."""
    rows = torch.arange(-reach, _BLUR_BLOCK + reach, device=sigma.device)
    distance = (rows[:, None] - rows[reach : reach + _BLUR_BLOCK]).to(sigma.dtype)
    weights = torch.exp(-0.5 * (distance / sigma).square())
    weights = weights * (distance.abs() <= torch.ceil(_BLUR_TRUNCATE * sigma).clamp(max=reach))
    return weights / weights.sum(1, keepdim=True)

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as torchvision
from PIL import Image, ImageFilter
from torch import Tensor

from bassl.dataset.blur import gaussian_blur

SIGMAS = (0.1, 0.34, 1.0, 1.99, 2.0)


def planes(height: int, width: int) -> Tensor:
    return torch.rand(3, len(SIGMAS), height, width, generator=torch.Generator().manual_seed(0))


def column(values: tuple[float, ...] = SIGMAS) -> Tensor:
    return torch.tensor(values).view(-1, 1, 1)


@pytest.mark.parametrize("height, width", [(64, 64), (33, 70), (7, 32), (4, 5), (224, 31)])
def test_each_image_is_blurred_as_by_torchvision_with_its_own_kernel(height: int, width: int) -> None:
    images = planes(height, width)
    blurred = gaussian_blur(images, column(), max(SIGMAS))
    assert blurred.shape == images.shape
    for index, sigma in enumerate(SIGMAS):
        reach = math.ceil(3 * sigma)
        kernel = [2 * min(reach, side - 1) + 1 for side in (width, height)]
        expected = torchvision.gaussian_blur(images[:, index], kernel, [sigma, sigma])
        torch.testing.assert_close(blurred[:, index], expected, rtol=0, atol=2e-6)


def test_point_of_light_becomes_the_gaussian() -> None:
    image = torch.zeros(1, 1, 21, 21)
    image[..., 10, 10] = 1
    weights = [math.exp(-0.5 * k * k) for k in range(-3, 4)]
    row = torch.tensor([0.0] * 7 + weights + [0.0] * 7) / sum(weights)
    blurred = gaussian_blur(image, column((1.0,)), 1.0)[0, 0]
    torch.testing.assert_close(blurred, row[:, None] * row)


@pytest.mark.parametrize("radius", [0.5, 1.0, 2.0])
def test_the_radius_means_what_it_means_to_pillow(radius: float) -> None:
    """Pillow's GaussianBlur is three box blurs: away from the edge within 3 levels of 255, on noise, which is worst."""
    noise = (planes(48, 48)[:, :1] * 255).round()
    picture = Image.fromarray(noise[:, 0].permute(1, 2, 0).to(torch.uint8).numpy())
    theirs = torch.from_numpy(np.array(picture.filter(ImageFilter.GaussianBlur(radius)), dtype=np.float32))
    ours = gaussian_blur(noise, column((radius,)), radius)[:, 0].permute(1, 2, 0)
    inside = (ours - theirs)[8:-8, 8:-8]
    assert inside.square().mean().sqrt() < 3
    wrong = gaussian_blur(noise, column((1.3 * radius,)), 1.3 * radius)[:, 0].permute(1, 2, 0)
    assert (wrong - theirs)[8:-8, 8:-8].square().mean() > 2 * inside.square().mean()


def test_bound_on_the_radius_does_not_change_the_result() -> None:
    images = planes(40, 40)
    torch.testing.assert_close(
        gaussian_blur(images, column(), 2.0), gaussian_blur(images, column(), 5.0), rtol=0, atol=1e-6
    )


def test_tiny_radius_leaves_the_image_and_an_even_image_stays_even() -> None:
    images = planes(40, 40)
    torch.testing.assert_close(gaussian_blur(images, column((0.1,) * 5), 0.1), images)
    even = torch.full((3, 5, 40, 40), 0.7)
    torch.testing.assert_close(gaussian_blur(even, column(), 2.0), even)


def test_batch_without_planes_is_refused() -> None:
    with pytest.raises(ValueError, match="not enough values to unpack"):
        gaussian_blur(torch.rand(2, 8, 8), column((1.0, 1.0)), 1.0)

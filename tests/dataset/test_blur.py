from __future__ import annotations

import math

import pytest
import torch
import torchvision.transforms.v2.functional as torchvision
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

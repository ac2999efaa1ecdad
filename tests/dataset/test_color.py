from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torchvision.transforms.v2.functional as torchvision
from torch import Tensor

from bassl.dataset.color import adjust_brightness_, adjust_contrast_, adjust_hue_, adjust_saturation_

Adjust = Callable[[Tensor, Tensor], Tensor]

PAIRS: list[tuple[Adjust, Callable[[Tensor, float], Tensor]]] = [
    (adjust_brightness_, torchvision.adjust_brightness),
    (adjust_contrast_, torchvision.adjust_contrast),
    (adjust_saturation_, torchvision.adjust_saturation),
    (adjust_hue_, torchvision.adjust_hue),
]


def pixel(red: float, green: float, blue: float) -> Tensor:
    return torch.tensor([red, green, blue]).view(3, 1, 1, 1)


def planes(num_images: int) -> Tensor:
    noise = torch.rand(3, num_images, 16, 21, generator=torch.Generator().manual_seed(0))
    noise[:, :, 0] = noise[0, :, 0]  # a row of grey pixels
    noise[:, :, 1] = noise[:, :, 1].round()  # a row of pure colours, black and white among them
    return noise


def factor(*values: float) -> Tensor:
    return torch.tensor(values).view(-1, 1, 1)


@pytest.mark.parametrize("adjust, theirs", PAIRS)
def test_batch_with_its_own_factors_equals_torchvision_image_by_image(
    adjust: Adjust, theirs: Callable[[Tensor, float], Tensor]
) -> None:
    images = planes(6)
    factors = [0.0, 0.25, 0.5, 1.0, 1.2, 2.0]
    if adjust is adjust_hue_:
        factors = [-0.5, -0.05, 0.0, 0.05, 0.3, 0.5]
    expected = [theirs(images[:, k], factors[k]) for k in range(6)]
    adjusted = adjust(images.clone(), factor(*factors))
    torch.testing.assert_close(adjusted, torch.stack(expected, dim=1), rtol=0, atol=2e-6)


def test_brightness_by_hand() -> None:
    torch.testing.assert_close(adjust_brightness_(pixel(0.5, 0.2, 0.8), factor(1.5)), pixel(0.75, 0.3, 1.0))


def test_contrast_by_hand() -> None:
    # Grey pixels with mean 0.4, but that the three weights sum to 0.9999.
    images = torch.tensor([0.2, 0.6]).expand(3, 1, 1, 2).clone()
    expected = torch.tensor([0.3, 0.5]).expand(3, 1, 1, 2)
    torch.testing.assert_close(adjust_contrast_(images, factor(0.5)), expected, rtol=0, atol=1e-4)


def test_saturation_zero_leaves_the_grey_of_each_pixel() -> None:
    grey = 0.2989 * 0.5 + 0.587 * 0.2 + 0.114 * 0.8
    torch.testing.assert_close(adjust_saturation_(pixel(0.5, 0.2, 0.8), factor(0.0)), pixel(grey, grey, grey))


def test_a_third_of_a_turn_moves_red_to_green_to_blue() -> None:
    torch.testing.assert_close(adjust_hue_(pixel(0.9, 0.1, 0.4), factor(1 / 3)), pixel(0.4, 0.9, 0.1))
    torch.testing.assert_close(adjust_hue_(pixel(0.9, 0.1, 0.4), factor(-1 / 3)), pixel(0.1, 0.4, 0.9))


def test_grey_pixels_have_no_hue_to_turn() -> None:
    for value in (0.0, 0.3, 1.0):
        assert torch.equal(adjust_hue_(pixel(value, value, value), factor(0.4)), pixel(value, value, value))


@pytest.mark.parametrize("adjust", [pair[0] for pair in PAIRS])
def test_neutral_factor_changes_nothing(adjust: Adjust) -> None:
    images = planes(2)
    neutral = 0.0 if adjust is adjust_hue_ else 1.0
    adjusted = adjust(images.clone(), factor(neutral, neutral))
    torch.testing.assert_close(adjusted, images, rtol=0, atol=1e-6)


@pytest.mark.parametrize("adjust", [adjust_contrast_, adjust_saturation_, adjust_hue_])
def test_images_without_three_colours_are_refused(adjust: Adjust) -> None:
    with pytest.raises(ValueError, match="values to unpack"):
        adjust(torch.rand(4, 2, 8, 8), factor(1.0, 1.0))

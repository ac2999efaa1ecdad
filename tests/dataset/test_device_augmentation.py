from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as torchvision
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from bassl.dataset import device_augmentation
from bassl.dataset.augmentation import (
    AugmentationSettings,
    AugmentParams,
    concatenate_params,
    draw_params,
    stack_params,
)
from bassl.dataset.device_augmentation import (
    adjust_brightness_,
    adjust_contrast_,
    adjust_hue_,
    adjust_saturation_,
    augment,
    gaussian_blur,
)
from bassl.dataset.transform import IMAGENET_MEAN, IMAGENET_STD

NUM_SAMPLES, NUM_IMAGES, HEIGHT, WIDTH = 6, 7, 36, 52  # per sample: 2 sparse and 5 dense images
OURS = (adjust_brightness_, adjust_contrast_, adjust_saturation_, adjust_hue_)
THEIRS = (
    torchvision.adjust_brightness,
    torchvision.adjust_contrast,
    torchvision.adjust_saturation,
    torchvision.adjust_hue,
)
SIGMAS = (0.1, 0.34, 1.0, 1.99, 2.0)


def params(seed: int = 0, num_samples: int = NUM_SAMPLES, **changes: object) -> AugmentParams:
    settings, rng = AugmentationSettings(**changes), np.random.default_rng(seed)  # type: ignore[arg-type]
    samples = ([draw_params(count, 60, 80, settings, rng) for count in (2, 5)] for _ in range(num_samples))
    return stack_params([concatenate_params(sequences) for sequences in samples])


NOTHING = {"flip_probability": 0.0, "jitter_probability": 0.0, "blur_probability": 0.0}


@pytest.fixture(scope="module")
def pixels() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (NUM_SAMPLES, NUM_IMAGES, 3, HEIGHT, WIDTH), generator=generator).to(torch.uint8)


def slow_augment(pixels: Tensor, drawn: AugmentParams) -> Tensor:
    """Image by image, with torchvision's own operations."""
    views = torch.empty(pixels.shape)
    for index in np.ndindex(pixels.shape[:2]):
        draw = AugmentParams(*(field[index] for field in drawn))
        view = torchvision.to_dtype(pixels[index], torch.float32, scale=True)
        if draw.flip:
            view = torchvision.horizontal_flip(view)
        for operation in draw.order if draw.jitter else ():
            view = THEIRS[operation](view, float(draw.factors[operation]))
        if draw.blur:
            sigma = float(draw.sigma)
            view = torchvision.gaussian_blur(view, [2 * math.ceil(3 * sigma) + 1] * 2, [sigma] * 2)
        views[index] = torchvision.normalize(view, list(IMAGENET_MEAN), list(IMAGENET_STD))
    return views


@pytest.mark.parametrize(("seed", "consistent"), [(0, True), (1, True), (2, False)])
def test_a_batch_equals_torchvision_image_by_image(seed: int, consistent: bool, pixels: Tensor) -> None:
    drawn = params(seed, jitter_consistent=consistent, hue=0.3, brightness=0.8)
    before = pixels.clone(), AugmentParams(*(field.copy() for field in drawn))
    torch.testing.assert_close(augment(pixels, drawn), slow_augment(pixels, drawn), rtol=0, atol=2e-5)
    assert torch.equal(pixels, before[0])
    for field, unchanged in zip(drawn, before[1], strict=True):
        np.testing.assert_array_equal(field, unchanged)


@pytest.mark.parametrize("always", ["flip", "jitter", "blur", "nothing"])
def test_every_choice_alone_equals_torchvision(always: str, pixels: Tensor) -> None:
    drawn = params(7, 2, **{name: float(always in name) for name in NOTHING})
    torch.testing.assert_close(augment(pixels[:2], drawn), slow_augment(pixels[:2], drawn), rtol=0, atol=2e-5)


def test_memory_layout_changes_nothing_and_the_result_is_channels_last(pixels: Tensor) -> None:
    drawn = params()
    last = pixels.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    views = augment(last, drawn)
    assert torch.equal(views, augment(pixels, drawn))
    assert views.flatten(0, 1).data_ptr() == views.data_ptr()
    assert views.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)


def test_a_sample_does_not_depend_on_its_batch_nor_on_the_size_of_groups(
    pixels: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = params()
    views = augment(pixels, drawn)
    for max_images in (1, 1000):
        monkeypatch.setattr(device_augmentation, "_MAX_IMAGES_CPU", max_images)
        torch.testing.assert_close(augment(pixels, drawn), views, rtol=0, atol=1e-5)
        alone = augment(pixels[3:4], AugmentParams(*(field[3:4] for field in drawn)))
        torch.testing.assert_close(alone[0], views[3], rtol=0, atol=1e-5)


def test_mean_and_deviation_of_each_channel_are_used() -> None:
    pixels = torch.zeros(NUM_SAMPLES, NUM_IMAGES, 3, 4, 4, dtype=torch.uint8)
    pixels[:, :, 1] = 255
    views = augment(pixels, params(**NOTHING), mean=(0.5, 0.25, 0.0), std=(0.5, 0.5, 2.0))
    assert [views[:, :, channel].unique().tolist() for channel in range(3)] == [[-1.0], [1.5], [0.0]]


def test_half_precision_is_the_rounded_32_bit_result_also_under_autocast(pixels: Tensor) -> None:
    drawn = params()
    exact = augment(pixels, drawn)
    assert torch.equal(augment(pixels, drawn, dtype=torch.bfloat16), exact.to(torch.bfloat16))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(augment(pixels, drawn), exact)


def test_no_value_is_read_back_from_the_device() -> None:
    with FakeTensorMode():  # a fake tensor has no value to read
        views = augment(torch.empty(NUM_SAMPLES, NUM_IMAGES, 3, HEIGHT, WIDTH, dtype=torch.uint8), params())
    assert views.shape == (NUM_SAMPLES, NUM_IMAGES, 3, HEIGHT, WIDTH)


def test_params_of_other_images_are_refused(pixels: Tensor) -> None:
    with pytest.raises(AssertionError, match="of other images"):
        augment(pixels, params(num_samples=5))


# --- colours ---


def pixel(red: float, green: float, blue: float) -> Tensor:
    return torch.tensor([red, green, blue]).view(3, 1, 1, 1)


def factor(*values: float) -> Tensor:
    return torch.tensor(values).view(-1, 1, 1)


@pytest.mark.parametrize(("ours", "theirs"), list(zip(OURS, THEIRS, strict=True)))
def test_colour_operations_with_a_factor_per_image_equal_torchvision(ours: object, theirs: object) -> None:
    images = torch.rand(3, 6, 16, 21, generator=torch.Generator().manual_seed(0))
    images[:, :, 0] = images[0, :, 0]  # a row of grey pixels
    images[:, :, 1] = images[:, :, 1].round()  # a row of pure colours, black and white among them
    factors = [-0.5, -0.05, 0.0, 0.05, 0.3, 0.5] if ours is adjust_hue_ else [0.0, 0.25, 0.5, 1.0, 1.2, 2.0]
    expected = torch.stack([theirs(images[:, k], factors[k]) for k in range(6)], dim=1)  # type: ignore[operator]
    torch.testing.assert_close(ours(images.clone(), factor(*factors)), expected, rtol=0, atol=2e-6)  # type: ignore[operator]


def test_colour_operations_by_hand() -> None:
    torch.testing.assert_close(adjust_brightness_(pixel(0.5, 0.2, 0.8), factor(1.5)), pixel(0.75, 0.3, 1.0))
    grey = 0.2989 * 0.5 + 0.587 * 0.2 + 0.114 * 0.8
    torch.testing.assert_close(adjust_saturation_(pixel(0.5, 0.2, 0.8), factor(0.0)), pixel(grey, grey, grey))
    torch.testing.assert_close(adjust_hue_(pixel(0.9, 0.1, 0.4), factor(1 / 3)), pixel(0.4, 0.9, 0.1))
    images = torch.tensor([0.2, 0.6]).expand(3, 1, 1, 2).clone()  # grey with mean 0.4; the weights sum to 0.9999
    contrast = adjust_contrast_(images, factor(0.5))
    torch.testing.assert_close(contrast, torch.tensor([0.3, 0.5]).expand(3, 1, 1, 2), rtol=0, atol=1e-4)


# --- blur ---


@pytest.mark.parametrize(("height", "width"), [(64, 64), (33, 70), (4, 5), (224, 31)])
def test_each_image_is_blurred_as_by_torchvision_with_its_own_kernel(height: int, width: int) -> None:
    images = torch.rand(3, len(SIGMAS), height, width, generator=torch.Generator().manual_seed(0))
    blurred = gaussian_blur(images, factor(*SIGMAS), max(SIGMAS))
    for index, sigma in enumerate(SIGMAS):
        kernel = [2 * min(math.ceil(3 * sigma), side - 1) + 1 for side in (width, height)]
        expected = torchvision.gaussian_blur(images[:, index], kernel, [sigma, sigma])
        torch.testing.assert_close(blurred[:, index], expected, rtol=0, atol=2e-6)
    torch.testing.assert_close(gaussian_blur(images, factor(*SIGMAS), 5.0), blurred, rtol=0, atol=1e-6)

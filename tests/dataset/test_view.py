from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as torchvision
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from bassl.dataset.augmentation import HUE, AugmentationSettings, ViewDraw, draw_view, join_views, stack_views
from bassl.dataset.transform import IMAGENET_MEAN, IMAGENET_STD
from bassl.dataset.view import apply_views

NUM_SAMPLES, NUM_IMAGES, HEIGHT, WIDTH = 6, 7, 36, 52  # a sample: 2 sparse and 5 dense images


def draws(seed: int = 0, num_samples: int = NUM_SAMPLES, **changes: object) -> ViewDraw:
    settings = AugmentationSettings(**changes)  # type: ignore[arg-type]
    rng = np.random.default_rng(seed)
    return stack_views(
        [join_views([draw_view(count, 60, 80, settings, rng) for count in (2, 5)]) for _ in range(num_samples)]
    )


def images(num_samples: int = NUM_SAMPLES) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(0, 256, (num_samples, NUM_IMAGES, 3, HEIGHT, WIDTH), generator=generator)
    return noise.to(torch.uint8)


def slow_views(pixels: Tensor, drawn: ViewDraw) -> Tensor:
    """Image by image, with torchvision's own operations."""
    adjust = [
        torchvision.adjust_brightness,
        torchvision.adjust_contrast,
        torchvision.adjust_saturation,
        torchvision.adjust_hue,
    ]
    views = torch.empty(pixels.shape)
    for sample in range(pixels.shape[0]):
        for image in range(pixels.shape[1]):
            draw = ViewDraw(*(field[sample, image] for field in drawn))
            view = torchvision.to_dtype(pixels[sample, image], torch.float32, scale=True)
            if draw.flip:
                view = torchvision.horizontal_flip(view)
            if draw.jitter:
                for operation in draw.order:
                    view = adjust[operation](view, float(draw.factors[operation]))
            if draw.blur:
                sigma = float(draw.sigma)
                view = torchvision.gaussian_blur(view, [2 * math.ceil(3 * sigma) + 1] * 2, [sigma] * 2)
            views[sample, image] = torchvision.normalize(view, list(IMAGENET_MEAN), list(IMAGENET_STD))
    return views


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("consistent", [True, False])
def test_batch_equals_torchvision_image_by_image(seed: int, consistent: bool) -> None:
    drawn = draws(seed, jitter_consistent=consistent, hue=0.3, brightness=0.8)
    pixels = images()
    torch.testing.assert_close(apply_views(pixels, drawn), slow_views(pixels, drawn), rtol=0, atol=2e-5)


@pytest.mark.parametrize("flip", [0.0, 1.0])
@pytest.mark.parametrize("jitter", [0.0, 1.0])
@pytest.mark.parametrize("blur", [0.0, 1.0])
def test_every_combination_of_coins_equals_torchvision(flip: float, jitter: float, blur: float) -> None:
    drawn = draws(7, 2, flip_probability=flip, jitter_probability=jitter, blur_probability=blur)
    pixels = images(2)
    torch.testing.assert_close(apply_views(pixels, drawn), slow_views(pixels, drawn), rtol=0, atol=2e-5)


def test_memory_layout_of_the_images_changes_nothing_and_views_are_channels_last() -> None:
    pixels, drawn = images(), draws()
    last = pixels.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
    views = apply_views(last, drawn)
    assert torch.equal(views, apply_views(pixels, drawn))
    assert views.shape == pixels.shape
    flat = views.flatten(0, 1)
    assert flat.data_ptr() == views.data_ptr()
    assert flat.is_contiguous(memory_format=torch.channels_last)


def test_a_samples_views_do_not_depend_on_its_batch() -> None:
    pixels, drawn = images(), draws()
    views = apply_views(pixels, drawn)
    for sample in range(NUM_SAMPLES):
        alone = apply_views(pixels[sample : sample + 1], ViewDraw(*(field[sample : sample + 1] for field in drawn)))
        torch.testing.assert_close(alone[0], views[sample], rtol=0, atol=1e-5)


def test_groups_larger_than_a_chunk_are_split_without_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, drawn = images(), draws(jitter_probability=0.0)
    views = []
    for max_images in (1, 3, 1000):
        monkeypatch.setattr("bassl.dataset.view._MAX_IMAGES_CPU", max_images)
        views.append(apply_views(pixels, drawn))
    torch.testing.assert_close(views[0], views[1], rtol=0, atol=1e-5)
    torch.testing.assert_close(views[0], views[2], rtol=0, atol=1e-5)


def test_views_without_any_augmentation_are_the_normalised_images() -> None:
    drawn = draws(flip_probability=0.0, jitter_probability=0.0, blur_probability=0.0)
    pixels = torch.zeros(NUM_SAMPLES, NUM_IMAGES, 3, HEIGHT, WIDTH, dtype=torch.uint8)
    pixels[:, :, 1] = 255
    views = apply_views(pixels, drawn, mean=(0.5, 0.25, 0.0), std=(0.5, 0.5, 2.0))
    assert [views[:, :, channel].unique().tolist() for channel in range(3)] == [[-1.0], [1.5], [0.0]]


def test_flip_mirrors_left_and_right() -> None:
    drawn = draws(flip_probability=1.0, jitter_probability=0.0, blur_probability=0.0)
    pixels = images()
    unchanged = draws(flip_probability=0.0, jitter_probability=0.0, blur_probability=0.0)
    assert torch.equal(apply_views(pixels, drawn), apply_views(pixels.flip(-1), unchanged))


def test_half_precision_is_the_rounded_32_bit_result_also_under_autocast() -> None:
    pixels, drawn = images(), draws()
    exact = apply_views(pixels, drawn)
    for dtype in (torch.bfloat16, torch.float16):
        assert torch.equal(apply_views(pixels, drawn, dtype=dtype), exact.to(dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(apply_views(pixels, drawn), exact)


def test_pixels_that_leave_the_range_are_clamped_between_operations() -> None:
    drawn = draws(jitter_probability=1.0, blur_probability=0.0, brightness=0.9)
    views = apply_views(images(), drawn, mean=(0, 0, 0), std=(1, 1, 1))
    assert views.min() >= 0
    assert views.max() <= 1


def test_no_value_is_read_back_from_the_device() -> None:
    with FakeTensorMode():  # a fake tensor has no value to read
        views = apply_views(torch.empty(NUM_SAMPLES, NUM_IMAGES, 3, HEIGHT, WIDTH, dtype=torch.uint8), draws())
    assert views.shape == (NUM_SAMPLES, NUM_IMAGES, 3, HEIGHT, WIDTH)


def test_images_and_records_stay_unchanged() -> None:
    pixels, drawn = images(), draws()
    before = pixels.clone(), ViewDraw(*(field.copy() for field in drawn))
    apply_views(pixels, drawn)
    assert torch.equal(pixels, before[0])
    for one, other in zip(drawn, before[1], strict=True):
        np.testing.assert_array_equal(one, other)


def test_records_of_other_images_are_refused() -> None:
    with pytest.raises(AssertionError, match="of other images"):
        apply_views(images(), draws(num_samples=5))
    with pytest.raises(AssertionError, match="must be"):
        apply_views(images().transpose(2, 3), draws())


def test_hue_settings_reach_the_pixels() -> None:
    settings = replace(AugmentationSettings(), hue=0.0)
    drawn = draw_view(3, 60, 80, settings, np.random.default_rng(0))
    assert (drawn.factors[:, HUE] == 0).all()

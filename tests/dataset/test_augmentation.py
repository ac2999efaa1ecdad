from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import RandomResizedCrop

from bassl.dataset.augmentation import (
    BRIGHTNESS,
    HUE,
    AugmentationSettings,
    AugmentParams,
    concatenate_params,
    crop,
    draw_params,
    stack_params,
)
from bassl.errors import InputError

NUM_DRAWS = 4000
FIVE_SIGMA = 5 / math.sqrt(NUM_DRAWS)  # of a mean, in standard deviations of one draw
HEIGHT, WIDTH = 240, 426
SHARED = ("box", "flip", "jitter", "blur")


def draw(seed: int = 0, num_images: int = 3, **changes: object) -> AugmentParams:
    settings = AugmentationSettings(**changes)  # type: ignore[arg-type]
    return draw_params(num_images, HEIGHT, WIDTH, settings, np.random.default_rng(seed))


def many_draws(num_images: int = 3, **changes: object) -> AugmentParams:
    settings = AugmentationSettings(**changes)  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    return stack_params([draw_params(num_images, HEIGHT, WIDTH, settings, rng) for _ in range(NUM_DRAWS)])


@pytest.fixture(scope="module")
def draws() -> AugmentParams:
    return many_draws()


def test_a_seed_decides_every_draw_and_zero_is_a_seed() -> None:
    for first, again, other in zip(draw(0), draw(0), draw(1), strict=True):
        np.testing.assert_array_equal(first, again)
        assert first.dtype.kind == "b" or (first != other).any()


def test_a_sequence_shares_everything_but_the_radius_of_the_blur(draws: AugmentParams) -> None:
    for name in (*SHARED, "order", "factors"):
        field = getattr(draws, name)
        assert (field == field[:, :1]).all(), name
    np.testing.assert_allclose(np.corrcoef(draws.sigma.T), np.eye(3), atol=FIVE_SIGMA)


def test_inconsistent_jitter_draws_factors_and_order_for_each_image() -> None:
    draws = many_draws(jitter_consistent=False)
    np.testing.assert_allclose(np.corrcoef(draws.factors[..., BRIGHTNESS].T), np.eye(3), atol=FIVE_SIGMA)
    same_order = (draws.order[:, 0] == draws.order[:, 1]).all(-1)
    assert same_order.mean() == pytest.approx(1 / 24, abs=FIVE_SIGMA * math.sqrt(1 / 24))
    for name in SHARED:
        field = getattr(draws, name)
        assert (field == field[:, :1]).all(), name


def test_choices_fall_with_their_probabilities_independently(draws: AugmentParams) -> None:
    for name, probability in (("flip", 0.5), ("jitter", 0.8), ("blur", 0.5)):
        deviation = math.sqrt(probability * (1 - probability))
        assert getattr(draws, name)[:, 0].mean() == pytest.approx(probability, abs=FIVE_SIGMA * deviation)
    columns = [draws.flip, draws.jitter, draws.blur, draws.box[..., 2], draws.factors[..., HUE], draws.sigma]
    correlation = np.corrcoef(np.stack([column[:, 0] for column in columns]))
    np.testing.assert_allclose(correlation, np.eye(6), atol=FIVE_SIGMA)


def test_a_probability_does_not_change_the_other_draws() -> None:
    plain, changed = draw(3), draw(3, flip_probability=0.0, jitter_probability=1.0, blur_probability=1.0)
    assert not changed.flip.any() and changed.jitter.all() and changed.blur.all()
    for name in ("box", "order", "factors", "sigma"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(changed, name))


def test_factors_and_radius_are_uniform_over_their_ranges(draws: AugmentParams) -> None:
    low, high = np.array([0.8, 0.8, 0.8, -0.05, 0.1]), np.array([1.2, 1.2, 1.2, 0.05, 2.0])
    unit = (np.column_stack([draws.factors[:, 0], draws.sigma[:, 0]]).astype(np.float64) - low) / (high - low)
    assert (unit.min(), unit.max()) == (pytest.approx(0, abs=0.01), pytest.approx(1, abs=0.01))
    np.testing.assert_allclose(unit.mean(0), 0.5, atol=FIVE_SIGMA * math.sqrt(1 / 12))
    np.testing.assert_allclose(unit.var(0), 1 / 12, atol=FIVE_SIGMA * math.sqrt(1 / 180))
    assert many_draws(brightness=3.0, num_images=1).factors[..., BRIGHTNESS].min() >= 0


def test_every_order_of_the_colour_operations_is_equally_likely(draws: AugmentParams) -> None:
    orders, counts = np.unique(draws.order[:, 0], axis=0, return_counts=True)
    assert (len(orders), (np.sort(orders, axis=1) == np.arange(4)).all()) == (24, True)
    np.testing.assert_allclose(counts / NUM_DRAWS, 1 / 24, atol=FIVE_SIGMA * math.sqrt(1 / 24))


def test_crops_are_distributed_as_torchvisions_and_reach_every_edge(draws: AugmentParams) -> None:
    def measures(boxes: np.ndarray) -> np.ndarray:
        top, left, height, width = boxes.astype(np.float64).T
        area, ratio = height * width / (HEIGHT * WIDTH), np.log(width / height)
        free = left / np.maximum(WIDTH - width, 1), top / np.maximum(HEIGHT - height, 1)
        return np.stack([area, ratio, *free, area**2, ratio**2, area * ratio])

    torch.manual_seed(0)
    image = torch.empty(3, HEIGHT, WIDTH)
    theirs = [RandomResizedCrop.get_params(image, [0.14, 1.0], [3 / 4, 4 / 3]) for _ in range(NUM_DRAWS)]
    ours, other = measures(draws.box[:, 0]), measures(np.array(theirs))
    assert (np.abs(ours.mean(1) - other.mean(1)) <= math.sqrt(2) * FIVE_SIGMA * other.std(1)).all()
    top, left, height, width = draws.box[:, 0].T
    assert (top.min(), left.min(), (top + height).max(), (left + width).max()) == (0, 0, HEIGHT, WIDTH)
    assert (height * width / (HEIGHT * WIDTH)).min() > 0.138
    assert 0.74 < (width / height).min() < (width / height).max() < 1.35


@pytest.mark.parametrize(("height", "width"), [(100, 100), (100, 400), (400, 100), (99, 131)])
def test_an_impossible_crop_falls_back_to_torchvisions_central_one(height: int, width: int) -> None:
    box = draw_params(1, height, width, AugmentationSettings(scale=(4.0, 4.0)), np.random.default_rng(0)).box[0]
    theirs = RandomResizedCrop.get_params(torch.empty(3, height, width), [4.0, 4.0], [3 / 4, 4 / 3])
    assert tuple(box) == tuple(theirs)


def test_joined_and_stacked_params_keep_their_rows() -> None:
    sparse, dense = draw(0, 2), draw(1, 17)
    sample = concatenate_params([sparse, dense])
    np.testing.assert_array_equal(sample.sigma, [*sparse.sigma, *dense.sigma])
    batch = stack_params([sample, sample])
    assert (batch.box.shape, batch.factors.shape, batch.flip.shape) == ((2, 19, 4), (2, 19, 4), (2, 19))
    np.testing.assert_array_equal(batch.order[1, 2:], dense.order)


@pytest.mark.parametrize("box", [(0, 0, 60, 90), (5, 20, 40, 50), (59, 89, 1, 1)])
@pytest.mark.parametrize("size", [24, 64])
def test_a_crop_is_pillows_to_one_part_in_255(box: tuple[int, int, int, int], size: int) -> None:
    noise = torch.rand(3, 3, 7, 11, generator=torch.Generator().manual_seed(0))
    images = (torch.nn.functional.interpolate(noise, (60, 90), mode="bilinear") * 255).to(torch.uint8)
    decoded = [image.permute(1, 2, 0).contiguous().permute(2, 0, 1) for image in images]
    top, left, height, width = box
    cropped = crop(images, box, size)
    assert (cropped.shape, cropped.dtype) == ((3, 3, size, size), torch.uint8)
    assert torch.equal(crop(decoded, np.array(box), size), cropped)
    assert crop(decoded, box, size).is_contiguous(memory_format=torch.channels_last)
    for image, ours in zip(images, cropped, strict=True):
        cut = Image.fromarray(image.permute(1, 2, 0).numpy()).crop((left, top, left + width, top + height))
        theirs = np.asarray(cut.resize((size, size), Image.Resampling.BILINEAR)).astype(int)
        assert np.abs(ours.permute(1, 2, 0).numpy() - theirs).max() <= 1


@pytest.mark.parametrize(
    "change", [{"size": 0}, {"scale": (0.5, 0.2)}, {"ratio": (0.0, 1.0)}, {"blur_probability": 1.5}, {"hue": 0.6}]
)
def test_an_impossible_setting_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(change))} is "):
        AugmentationSettings(**change)  # type: ignore[arg-type]

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
    ViewDraw,
    crop,
    draw_view,
    join_views,
    stack_views,
)
from bassl.errors import InputError

NUM_DRAWS = 4000
FIVE_SIGMA = 5 / math.sqrt(NUM_DRAWS)  # of a mean, in standard deviations of one draw
HEIGHT, WIDTH = 240, 426


def many_draws(num_images: int = 3, **changes: object) -> ViewDraw:
    settings = AugmentationSettings(**changes)  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    return stack_views([draw_view(num_images, HEIGHT, WIDTH, settings, rng) for _ in range(NUM_DRAWS)])


@pytest.fixture(scope="module")
def draws() -> ViewDraw:
    return many_draws()


def test_record_has_a_row_an_image_and_fixed_types() -> None:
    draw = draw_view(17, HEIGHT, WIDTH, AugmentationSettings(), np.random.default_rng(0))
    assert {name: (field.shape, field.dtype.name) for name, field in draw._asdict().items()} == {
        "box": ((17, 4), "int64"),
        "flip": ((17,), "bool"),
        "jitter": ((17,), "bool"),
        "order": ((17, 4), "int64"),
        "factors": ((17, 4), "float32"),
        "blur": ((17,), "bool"),
        "sigma": ((17,), "float32"),
    }


def test_same_seed_draws_the_same_record_and_zero_is_a_seed() -> None:
    def draw(seed: int) -> ViewDraw:
        return draw_view(5, HEIGHT, WIDTH, AugmentationSettings(), np.random.default_rng(seed))

    for one, other, another in zip(draw(0), draw(0), draw(1), strict=True):
        np.testing.assert_array_equal(one, other)
        if one.dtype.kind != "b":
            assert (one != another).any()


def test_sequence_shares_everything_but_the_radius_of_the_blur(draws: ViewDraw) -> None:
    for name in ("box", "flip", "jitter", "order", "factors", "blur"):
        field = getattr(draws, name)
        assert (field == field[:, :1]).all(), name
    sigma = draws.sigma
    assert (sigma[:, 0] != sigma[:, 1]).mean() > 0.99
    correlation = np.corrcoef(sigma.T)
    np.testing.assert_allclose(correlation, np.eye(3), atol=FIVE_SIGMA)


def test_inconsistent_jitter_draws_factors_and_order_for_each_image() -> None:
    draws = many_draws(jitter_consistent=False)
    np.testing.assert_allclose(np.corrcoef(draws.factors[..., BRIGHTNESS].T), np.eye(3), atol=FIVE_SIGMA)
    same_order = (draws.order[:, 0] == draws.order[:, 1]).all(-1)
    assert same_order.mean() == pytest.approx(1 / 24, abs=FIVE_SIGMA * math.sqrt(1 / 24))
    for name in ("box", "flip", "jitter", "blur"):
        field = getattr(draws, name)
        assert (field == field[:, :1]).all(), name


@pytest.mark.parametrize("name, probability", [("flip", 0.5), ("jitter", 0.8), ("blur", 0.5)])
def test_coins_fall_with_their_probabilities(draws: ViewDraw, name: str, probability: float) -> None:
    deviation = math.sqrt(probability * (1 - probability))
    assert getattr(draws, name)[:, 0].mean() == pytest.approx(probability, abs=FIVE_SIGMA * deviation)


def test_coins_are_independent_of_each_other_and_of_the_crop(draws: ViewDraw) -> None:
    columns = [draws.flip, draws.jitter, draws.blur, draws.box[..., 2], draws.factors[..., HUE], draws.sigma]
    correlation = np.corrcoef(np.stack([column[:, 0] for column in columns]))
    np.testing.assert_allclose(correlation, np.eye(6), atol=FIVE_SIGMA)


def test_coins_of_probability_zero_and_one_never_and_always_fall() -> None:
    settings = AugmentationSettings(flip_probability=0.0, jitter_probability=1.0, blur_probability=0.0)
    rng = np.random.default_rng(0)
    drawn = stack_views([draw_view(2, 50, 50, settings, rng) for _ in range(200)])
    assert not drawn.flip.any()
    assert drawn.jitter.all()
    assert not drawn.blur.any()


def test_probabilities_do_not_change_what_else_is_drawn() -> None:
    plain = draw_view(3, HEIGHT, WIDTH, AugmentationSettings(), np.random.default_rng(3))
    other = AugmentationSettings(flip_probability=0.0, jitter_probability=0.0, blur_probability=1.0)
    changed = draw_view(3, HEIGHT, WIDTH, other, np.random.default_rng(3))
    for name in ("box", "order", "factors", "sigma"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(changed, name))


def test_factors_are_uniform_over_their_ranges(draws: ViewDraw) -> None:
    factors = draws.factors[:, 0].astype(np.float64)
    low, high = np.array([0.8, 0.8, 0.8, -0.05]), np.array([1.2, 1.2, 1.2, 0.05])
    unit = (factors - low) / (high - low)
    assert unit.min() >= -1e-6
    assert unit.max() <= 1 + 1e-6
    np.testing.assert_allclose(unit.mean(0), 0.5, atol=FIVE_SIGMA * math.sqrt(1 / 12))
    np.testing.assert_allclose(unit.var(0), 1 / 12, atol=FIVE_SIGMA * math.sqrt(1 / 180))
    np.testing.assert_allclose(np.corrcoef(unit.T), np.eye(4), atol=FIVE_SIGMA)


def test_strong_settings_never_draw_a_negative_factor() -> None:
    assert many_draws(brightness=3.0, num_images=1).factors[..., BRIGHTNESS].min() >= 0


def test_every_order_of_the_colour_operations_is_equally_likely(draws: ViewDraw) -> None:
    orders, counts = np.unique(draws.order[:, 0], axis=0, return_counts=True)
    assert len(orders) == 24
    assert (np.sort(orders, axis=1) == np.arange(4)).all()
    np.testing.assert_allclose(counts / NUM_DRAWS, 1 / 24, atol=FIVE_SIGMA * math.sqrt(1 / 24))


def test_radius_of_the_blur_is_uniform_over_its_range(draws: ViewDraw) -> None:
    unit = (draws.sigma.ravel().astype(np.float64) - 0.1) / 1.9
    assert 0 <= unit.min() < 0.01
    assert 0.99 < unit.max() <= 1
    assert unit.mean() == pytest.approx(0.5, abs=FIVE_SIGMA * math.sqrt(1 / 12))
    assert unit.var() == pytest.approx(1 / 12, abs=FIVE_SIGMA * math.sqrt(1 / 180))


def test_crops_are_distributed_as_torchvisions(draws: ViewDraw) -> None:
    def measures(boxes: np.ndarray) -> np.ndarray:
        top, left, height, width = boxes.astype(np.float64).T
        area, ratio = height * width / (HEIGHT * WIDTH), np.log(width / height)
        free = left / np.maximum(WIDTH - width, 1), top / np.maximum(HEIGHT - height, 1)
        return np.stack([area, ratio, *free, area**2, ratio**2, area * ratio])

    torch.manual_seed(0)
    image = torch.empty(3, HEIGHT, WIDTH)
    theirs = [RandomResizedCrop.get_params(image, [0.14, 1.0], [3 / 4, 4 / 3]) for _ in range(NUM_DRAWS)]
    one, other = measures(draws.box[:, 0]), measures(np.array(theirs))
    tolerance = math.sqrt(2) * FIVE_SIGMA * other.std(1)
    assert (np.abs(one.mean(1) - other.mean(1)) <= tolerance).all()


def test_crops_stay_inside_the_image_and_within_their_ranges(draws: ViewDraw) -> None:
    top, left, height, width = draws.box[:, 0].T
    assert min(top.min(), left.min()) >= 0
    assert min(height.min(), width.min()) >= 1
    assert (top + height).max() <= HEIGHT
    assert (left + width).max() <= WIDTH
    ratio = width / height
    assert ratio.min() > 0.74
    assert ratio.max() < 1.35
    assert (height * width / (HEIGHT * WIDTH)).min() > 0.138


@pytest.mark.parametrize("height, width", [(100, 100), (100, 400), (400, 100), (99, 131)])
def test_impossible_crop_falls_back_to_torchvisions_central_one(height: int, width: int) -> None:
    settings = AugmentationSettings(scale=(4.0, 4.0))
    box = draw_view(1, height, width, settings, np.random.default_rng(0)).box[0]
    theirs = RandomResizedCrop.get_params(torch.empty(3, height, width), [4.0, 4.0], [3 / 4, 4 / 3])
    assert tuple(box) == tuple(theirs)


def test_joined_and_stacked_records_keep_their_rows() -> None:
    rng = np.random.default_rng(0)
    sparse, dense = (draw_view(count, 50, 60, AugmentationSettings(), rng) for count in (2, 17))
    sample = join_views([sparse, dense])
    assert sample.box.shape == (19, 4)
    np.testing.assert_array_equal(sample.sigma, [*sparse.sigma, *dense.sigma])
    batch = stack_views([sample, sample])
    assert batch.factors.shape == (2, 19, 4)
    np.testing.assert_array_equal(batch.order[1, 2:], dense.order)


def smooth_images(num_images: int, height: int = 60, width: int = 90) -> torch.Tensor:
    noise = torch.rand(num_images, 3, height // 8, width // 8, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(noise, (height, width), mode="bilinear")
    return (smooth * 255).to(torch.uint8)


@pytest.mark.parametrize("box", [(0, 0, 60, 90), (5, 20, 40, 50), (59, 89, 1, 1)])
@pytest.mark.parametrize("size", [24, 64])
def test_crop_is_pillows_to_one_part_in_255(box: tuple[int, int, int, int], size: int) -> None:
    images = smooth_images(3)
    top, left, height, width = box
    cropped = crop(images, box, size)
    assert cropped.shape == (3, 3, size, size)
    assert cropped.dtype == torch.uint8
    for image, ours in zip(images, cropped, strict=True):
        cut = Image.fromarray(image.permute(1, 2, 0).numpy()).crop((left, top, left + width, top + height))
        theirs = np.asarray(cut.resize((size, size), Image.Resampling.BILINEAR)).astype(int)
        assert np.abs(ours.permute(1, 2, 0).numpy() - theirs).max() <= 1


def test_crop_takes_a_list_as_decoded_and_leaves_channels_last() -> None:
    images = smooth_images(4)
    decoded = [image.permute(1, 2, 0).contiguous().permute(2, 0, 1) for image in images]
    box = np.array([3, 4, 50, 60])
    assert torch.equal(crop(decoded, box, 32), crop(images, box, 32))
    assert crop(decoded, box, 32).is_contiguous(memory_format=torch.channels_last)


def test_crop_of_the_whole_image_at_its_own_size_is_the_image() -> None:
    images = smooth_images(2, 48, 48)
    assert torch.equal(crop(images, (0, 0, 48, 48), 48), images)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"size": 0}, "size of the crop is 0"),
        ({"scale": (0.5, 0.2)}, r"scale is \(0.5, 0.2\)"),
        ({"ratio": (0.0, 1.0)}, r"ratio is \(0.0, 1.0\)"),
        ({"blur_sigma": (-1.0, 1.0)}, "blur_sigma is"),
        ({"flip_probability": 1.5}, "flip_probability is 1.5"),
        ({"jitter_probability": -0.1}, "jitter_probability is -0.1"),
        ({"blur_probability": 2}, "blur_probability is 2"),
        ({"contrast": -0.2}, "contrast is -0.2"),
        ({"hue": 0.6}, "hue is 0.6"),
    ],
)
def test_impossible_setting_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        AugmentationSettings(**change)  # type: ignore[arg-type]

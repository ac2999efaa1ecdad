from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bassl
from bassl.errors import InputError
from bassl.model.colour import CHROMAS, GRID, HUES, NUM_FEATURES, VALUES, colour_histogram
from bassl.model.scene_posterior import boundary_posterior, scene_threshold

SAMPLE = Path(bassl.__file__).parent / "data" / "big_buck_bunny"


def filled(*rgb: int) -> np.ndarray:
    return np.full((90, 160, 3), rgb, np.uint8)


def cells(image: np.ndarray) -> np.ndarray:
    return colour_histogram(image).reshape(GRID**2, HUES, CHROMAS, VALUES)


def test_plain_colours_have_the_bins_that_were_worked_out_by_hand() -> None:
    white, green = cells(filled(255, 255, 255)), cells(filled(0, 255, 0))
    np.testing.assert_allclose(white[:, 0, 0, VALUES - 1], 0.5)  # each of four cells has a quarter of the norm
    # hue 1/3 is 2 2/3 bins of eight: one third goes to bin 2, two thirds to bin 3
    np.testing.assert_allclose(green[:, 2, -1, -1] ** 4 / green[:, 3, -1, -1] ** 4, 0.5, rtol=1e-5)
    assert np.count_nonzero(white) == GRID**2
    assert np.count_nonzero(green) == 2 * GRID**2


def test_descriptor_tells_top_from_bottom() -> None:
    image = filled(0, 0, 0)
    image[:45] = 255
    np.testing.assert_allclose(cells(image)[:2, 0, 0, -1], 0.5)
    np.testing.assert_allclose(cells(image)[2:, 0, 0, 0], 0.5)
    assert colour_histogram(image) @ colour_histogram(image[::-1]) == 0


def test_leading_dimensions_are_kept_and_rows_are_independent_float32_of_unit_length() -> None:
    images = np.random.default_rng(0).integers(0, 256, size=(2, 3, 30, 50, 3), dtype=np.uint8)
    features = colour_histogram(images)
    assert features.shape == (2, 3, NUM_FEATURES)
    assert features.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(features, axis=-1), 1, rtol=1e-6)
    np.testing.assert_array_equal(features[1, 2], colour_histogram(images[1, 2]))
    assert colour_histogram(images[:0]).shape == (0, 3, NUM_FEATURES)


def test_scenes_of_the_sample_film_are_found() -> None:
    folder = SAMPLE / "240P_frames" / "big_buck_bunny"
    images = [np.asarray(Image.open(path).convert("RGB")) for path in sorted(folder.glob("*.jpg"))]
    features = colour_histogram(np.stack(images).reshape(136, 3, *images[0].shape)).mean(1)
    labels = np.loadtxt(SAMPLE / "scene318" / "label318" / "big_buck_bunny.txt", dtype=int)[:, 1]
    spans = np.loadtxt(SAMPLE / "scene318" / "shot_movie318" / "big_buck_bunny.txt")
    for shot_lengths in (None, spans[:, 1] - spans[:, 0] + 1):
        posterior = boundary_posterior(features, shot_lengths)[:-1]
        found = posterior >= scene_threshold(posterior)
        assert 8 <= found.sum() + 1 <= 30
        assert (found & (labels == 1)).sum() >= 7  # of 11


@pytest.mark.parametrize(
    "images, message",
    [
        (np.zeros((4, 4, 3), np.float32), "images are float32; give uint8"),
        (np.zeros((4, 4), np.uint8), r"images have shape \(4, 4\)"),
        (np.zeros((3, 4, 4), np.uint8), r"images have shape \(3, 4, 4\)"),
        (np.zeros((0, 4, 3), np.uint8), r"images have shape \(0, 4, 3\)"),
    ],
)
def test_other_arrays_are_refused(images: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        colour_histogram(images)

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest

from bassl.errors import InputError
from bassl.model import relative_similarity
from bassl.model.scene_posterior import best_segmentation, boundary_posterior, decoder_unary, scene_threshold

LENGTHS = np.array([30, 5, 60, 12, 44, 90, 8, 21, 17])
UNARY = np.array([0.3, -1.2, 2.0, 0.0, 0.7, -0.4, 1.1, -2.0, np.nan])
OPTIONS: list[dict[str, Any]] = [
    {},
    {"shot_lengths": LENGTHS},
    {"shot_lengths": LENGTHS, "unary": UNARY, "evidence_weight": 1.3, "kappa": 1.5, "alpha": 0.2, "hazard": 0.4},
    {"unary": UNARY, "max_scene_length": 3},
]


def films(num_shots: int, dims: int = 5, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(num_shots, dims)).cumsum(0)


def written_out(
    features: np.ndarray, shot_lengths: Any = None, unary: Any = None, max_scene_length: int = 60, **options: float
) -> Iterator[tuple[list[int], float]]:
    """Yield the ends and the log weight of every segmentation, by the equations of the module's docstring."""
    kappa, alpha = options.get("kappa", 2.0), options.get("alpha", 0.5)
    hazard, beta = options.get("hazard", 0.2), options.get("evidence_weight", 1.0)
    num_shots = len(features)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    unit = unit - unit.mean(0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    similarity, apart = unit @ unit.T, ~np.eye(num_shots, dtype=bool)
    kernel = np.exp(kappa * similarity / similarity[apart].std()) * apart
    ratio = kernel / (kernel.sum(1, keepdims=True) / (num_shots - 1))
    bonus = np.zeros(num_shots) if unary is None else np.nan_to_num(unary)
    if shot_lengths is not None:
        z = (np.log(shot_lengths) - np.log(shot_lengths).mean()) / np.log(shot_lengths).std()
        bonus = bonus + 0.35 * (z + np.append(z[1:], 0))
    bonus[-1] = 0

    def term(shot: int, company: range) -> float:
        return float(np.log((alpha + ratio[shot, list(company)].sum()) / (alpha + len(company))))

    for cuts in product((False, True), repeat=num_shots - 1):
        ends = [*np.flatnonzero(cuts).tolist(), num_shots - 1]
        starts = [0, *(end + 1 for end in ends[:-1])]
        if max(end - start for start, end in zip(starts, ends, strict=True)) >= max_scene_length:
            continue
        weight = 0.0
        for a, b in zip(starts, ends, strict=True):
            forwards = sum(term(i, range(a, i)) for i in range(a + 1, b + 1))
            backwards = sum(term(i, range(i + 1, b + 1)) for i in range(a, b))
            weight += beta * (forwards + backwards) / 2 + np.log(hazard) + (b - a) * np.log(1 - hazard) + bonus[b]
        yield ends, weight


@pytest.mark.parametrize("options", OPTIONS)
def test_posterior_equals_the_enumeration_of_all_segmentations(options: dict[str, Any]) -> None:
    features = films(9)
    default_weight = {"evidence_weight": 0.5 if "shot_lengths" in options else 1.0}
    segmentations = list(written_out(features, **(default_weight | options)))
    weights = np.exp([weight for _, weight in segmentations])
    is_end = np.array([np.isin(np.arange(9), ends) for ends, _ in segmentations])
    posterior = boundary_posterior(features, **options)
    np.testing.assert_allclose(posterior[:-1], (weights @ is_end / weights.sum())[:-1], rtol=0, atol=1e-12)
    assert np.isnan(posterior[-1])


@pytest.mark.parametrize("options", OPTIONS)
def test_best_segmentation_is_the_heaviest_of_all(options: dict[str, Any]) -> None:
    for seed in range(3):
        features = films(9, seed=seed)
        ends, _ = max(written_out(features, **options), key=lambda segmentation: segmentation[1])
        assert best_segmentation(features, **options).tolist() == ends


def test_neither_scale_nor_rotation_nor_blocks_change_the_posterior(monkeypatch: pytest.MonkeyPatch) -> None:
    features = films(70, dims=6)
    expected = boundary_posterior(features)
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))
    scales = np.random.default_rng(2).uniform(0.5, 2, size=(70, 1))
    monkeypatch.setattr(relative_similarity, "ROW_BLOCK", 16)
    np.testing.assert_allclose(boundary_posterior(1000 * scales * features @ rotation), expected, atol=1e-9)


def test_scenes_of_equal_shots_are_found_and_long_shots_surround_boundaries() -> None:
    scenes = np.repeat(np.eye(4), 6, axis=0)
    assert best_segmentation(scenes).tolist() == [5, 11, 17, 23]
    posterior = boundary_posterior(scenes)
    assert np.flatnonzero(posterior >= scene_threshold(posterior)).tolist() == [5, 11, 17]
    lengths = np.ones(20)
    lengths[[7, 8]] = 50
    assert np.nanargmax(boundary_posterior(np.ones((20, 3)), lengths)) == 7


@pytest.mark.parametrize("num_shots", [0, 1, 2, 3, 20])
def test_shots_that_nothing_distinguishes_get_the_hazard(num_shots: int) -> None:
    for features in (np.zeros((num_shots, 4)), np.full((num_shots, 4), 0.1, np.float32)):
        posterior = boundary_posterior(features, np.ones(num_shots), hazard=0.3)
        assert posterior.shape == (num_shots,)
        np.testing.assert_allclose(posterior[:-1], 0.3, atol=1e-12)
        assert best_segmentation(features).tolist() == [num_shots - 1][:num_shots]
    assert np.isfinite(boundary_posterior(films(num_shots))[:-1]).all()


def test_a_zero_vector_and_a_scene_length_of_one_shot_are_allowed() -> None:
    features = films(12)
    features[4] = 0
    assert np.isfinite(boundary_posterior(features)[:-1]).all()
    np.testing.assert_allclose(boundary_posterior(features, max_scene_length=1)[:-1], 1)
    assert best_segmentation(features, max_scene_length=1).tolist() == list(range(12))


def test_posterior_of_a_fixed_film_is_the_recorded_one() -> None:
    angle = np.array([0.0, 0.1, 0.2, 1.5, 1.4, 1.6, 3.0, 3.1])
    posterior = boundary_posterior(np.stack([np.cos(angle), np.sin(angle)], axis=1), np.arange(1, 9))
    expected = [0.056412, 0.124761, 0.497700, 0.228313, 0.261863, 0.527165, 0.230308]
    np.testing.assert_allclose(posterior[:-1], expected, atol=1e-6)


def test_decoder_unary_ignores_the_last_logit_and_has_half_a_standard_deviation() -> None:
    np.testing.assert_allclose(decoder_unary([1.0, 3.0, np.nan]), [-0.5, 0.5, 0.0])
    np.testing.assert_array_equal(decoder_unary([4.0, 4.0, 9.0]), 0.0)
    assert scene_threshold([0.0, 1.0, np.nan]) == 1.0
    assert scene_threshold([np.nan]) == 1.0


@pytest.mark.parametrize(
    "options, message",
    [
        ({"features": np.zeros(3)}, r"features have shape \(3,\)"),
        ({"features": [[0.0], [np.inf], [0.0]]}, "features of shot 1 contain NaN or infinity"),
        ({"shot_lengths": [1.0, 2.0]}, r"shot_lengths has shape \(2,\)"),
        ({"shot_lengths": [1.0, 2.0, 0.0]}, "shot_lengths of shot 2 is 0"),
        ({"shot_lengths": [1.0, np.nan, 2.0]}, "shot_lengths of shot 1 is nan"),
        ({"unary": [np.nan, 0.0, 0.0]}, "unary of shot 0 is nan"),
        ({"max_scene_length": 0}, "max_scene_length is 0; give 1 shot or more"),
        ({"hazard": 1.0}, "hazard is 1.0; give more than 0 and less than 1"),
        ({"alpha": 0.0}, "alpha is 0.0"),
    ],
)
def test_invalid_values_are_refused_by_name(options: dict[str, Any], message: str) -> None:
    for function in (boundary_posterior, best_segmentation):
        with pytest.raises(InputError, match=message):
            function(**({"features": np.ones((3, 2))} | options))

"""Per-film standardised descriptions of shots."""

from __future__ import annotations

import numpy as np
import pytest

from bassl.errors import InputError
from bassl.model.scene_posterior import boundary_posterior
from bassl.model.structure import LENGTH_OFFSETS, STRUCTURE_COLUMNS, structure_inputs


def drawn_film(num_shots: int = 30) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    features = np.repeat(rng.normal(size=(num_shots // 5 + 1, 8)), 5, axis=0)[:num_shots]
    return features + 0.5 * rng.normal(size=features.shape), rng.integers(20, 200, num_shots)


def column(inputs: np.ndarray, name: str) -> np.ndarray:
    return inputs[:, STRUCTURE_COLUMNS.index(name)]


def standardized(values: list[float]) -> np.ndarray:
    return (np.array(values) - np.mean(values)) / np.std(values)


def test_columns_equal_their_definitions_written_as_loops() -> None:
    features, lengths = drawn_film()
    inputs = structure_inputs(features, lengths)
    assert inputs.shape == (30, 18) and inputs.dtype == np.float32
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    cosine = unit @ unit.T
    slow: dict[str, list[float]] = {name: [] for name in STRUCTURE_COLUMNS}
    for shot in range(29):
        for window in (1, 2, 4, 8):
            before, after = range(max(shot - window + 1, 0), shot + 1), range(shot + 1, min(shot + 1 + window, 30))
            across = [cosine[i, j] for i in before for j in after]
            slow[f"max_similarity_{window}"].append(-max(across))
            if window >= 4:
                within = [np.mean([cosine[i, j] for i in side for j in side]) for side in (before, after)]
                slow[f"novelty_{window}"].append(sum(within) / 2 - np.mean(across))
        slow["mean_similarity_8"].append(-np.mean(across))
        slow["top_similarity_8"].append(-np.mean(sorted(across)[-5:]))
        for offset in LENGTH_OFFSETS:
            slow[f"length_{offset:+d}"].append(np.log(lengths[min(max(shot + offset, 0), 29)]))
    for name, given in (("posterior", None), ("posterior_lengths", lengths)):
        probability = boundary_posterior(features, given)[:-1]
        slow[name] = list(np.log(probability / (1 - probability)))
    for name, values in slow.items():
        np.testing.assert_allclose(column(inputs, name)[:-1], standardized(values), atol=2e-5, err_msg=name)
    assert (inputs[-1] == 0).all()


def test_scale_and_rotation_of_features_and_unit_of_lengths_change_nothing() -> None:
    features, lengths = drawn_film()
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(8, 8))).Q
    turned = structure_inputs(7 * features @ rotation, lengths / 24)
    np.testing.assert_allclose(turned, structure_inputs(features, lengths), atol=1e-5)


def test_without_lengths_their_columns_are_neutral() -> None:
    features, lengths = drawn_film()
    without, with_lengths = structure_inputs(features), structure_inputs(features, lengths)
    np.testing.assert_array_equal(column(without, "posterior_lengths"), column(without, "posterior"))
    assert (without[:, -len(LENGTH_OFFSETS) :] == 0).all()
    np.testing.assert_array_equal(without[:, 2:10], with_lengths[:, 2:10])


@pytest.mark.parametrize("num_shots", [1, 2, 3, 20, 300])
def test_equal_shots_and_short_films_give_zeros(num_shots: int) -> None:
    inputs = structure_inputs(np.ones((num_shots, 4)), np.full(num_shots, 24))
    assert inputs.shape == (num_shots, len(STRUCTURE_COLUMNS)) and (inputs[:, 2:] == 0).all()


@pytest.mark.parametrize(("features", "lengths"), [(np.ones(4), None), (np.ones((4, 2)), np.ones(3))])
def test_wrong_shapes_are_refused(features: np.ndarray, lengths: np.ndarray | None) -> None:
    with pytest.raises(InputError):
        structure_inputs(features, lengths)

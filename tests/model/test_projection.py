"""Projection and rotation of shot features, and the CRN that starts from similarity."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from bassl.errors import InputError
from bassl.model.crn import ContextualRelationNetwork
from bassl.model.projection import (
    RotatedProjection,
    attend_to_similar_shots,
    draw_rotations,
    principal_directions,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small_projection(seed: int = 0) -> RotatedProjection:
    return RotatedProjection(6, 4, num_rotations=3, num_training_rotations=5, generator=seeded(seed))


def test_a_shot_gets_its_hand_value() -> None:
    """Most of the energy lies along (3, 4) / 5, then along z; (3, 4, 5) has 5 in either, so both become 8 / sqrt 2."""
    projection = RotatedProjection(3, 2)
    projection.fit(torch.tensor([[30.0, 40.0, 0.0], [0.0, 0.0, 7.0], [-0.4, 0.3, 0.0]]))
    torch.testing.assert_close(projection.basis, torch.tensor([[0.6, 0.8, 0.0], [0.0, 0.0, 1.0]]))
    projected = projection.project(torch.tensor([[3.0, 4.0, 5.0], [0.0, 0.0, 0.0]]))
    torch.testing.assert_close(projected, torch.tensor([[32**0.5, 32**0.5], [0.0, 0.0]]))


def test_directions_keep_as_much_energy_as_singular_vectors() -> None:
    features = torch.randn(40, 9, generator=seeded())
    basis = principal_directions(features, 4)
    torch.testing.assert_close(basis @ basis.T, torch.eye(4), atol=1e-5, rtol=0)
    slow = torch.linalg.svd(features).Vh[:4]
    torch.testing.assert_close(basis.T @ basis, slow.T @ slow, atol=1e-5, rtol=0)


def test_rotation_leaves_all_similarities_of_a_window_unchanged() -> None:
    projection = small_projection()
    projected = projection.project(torch.randn(50, 7, 6, generator=seeded(1)))
    rotated = projection.rotate_randomly(projected, seeded(2))
    torch.testing.assert_close(rotated @ rotated.mT, projected @ projected.mT, atol=1e-4, rtol=1e-5)
    assert not torch.allclose(rotated, projected, atol=0.1)
    for window, plain in zip(rotated, projected, strict=True):
        distance = [(window - plain @ rotation).abs().max() for rotation in projection.training_rotations]
        assert min(distance) < 1e-5


def test_rotations_are_orthogonal_and_of_both_kinds() -> None:
    rotations = draw_rotations(40, 5, seeded())
    torch.testing.assert_close(rotations @ rotations.mT, torch.eye(5).expand(40, 5, 5), atol=1e-5, rtol=0)
    assert set(torch.linalg.det(rotations).round().tolist()) == {-1.0, 1.0}


def test_same_generator_same_draws() -> None:
    first, again, other = (small_projection(seed) for seed in (0, 0, 1))
    torch.testing.assert_close(first.rotations, again.rotations, rtol=0, atol=0)
    assert not torch.equal(first.rotations, other.rotations)
    windows = torch.randn(9, 2, 4, generator=seeded(1))
    draws = [first.rotate_randomly(windows, seeded(seed)) for seed in (3, 3, 4)]
    torch.testing.assert_close(draws[0], draws[1], rtol=0, atol=0)
    assert not torch.equal(draws[0], draws[2])


def test_state_dict_round_trip_brings_basis_and_rotations_back() -> None:
    stored, fresh = small_projection(), small_projection(1)
    stored.fit(torch.randn(20, 6, generator=seeded(2)))
    assert set(stored.state_dict()) == {"basis", "rotations"}
    fresh.load_state_dict(stored.state_dict())
    shots = torch.randn(2, 3, 6, generator=seeded(3))
    torch.testing.assert_close(fresh.project(shots), stored.project(shots), rtol=0, atol=0)
    torch.testing.assert_close(fresh.rotations, stored.rotations, rtol=0, atol=0)


def test_first_attention_compares_features_and_ignores_positions() -> None:
    torch.manual_seed(0)
    crn = ContextualRelationNetwork(4, 32, 2, 4, 64, 0.0, 5)
    attend_to_similar_shots(crn)
    position = crn.shot_embedding.position_embedding.weight
    features = crn.shot_embedding.shot_embedding.weight  # (H, D)
    for layer in crn.encoder.layer:
        query, key = layer.attention["self"].query.weight, layer.attention["self"].key.weight
        assert (query @ position.T).abs().max() < 1e-5 and torch.equal(query, key)
        assert (query @ features).abs().max() > 0.1
    assert (position @ features).abs().max() < 1e-5
    assert 0.4 < position.std() < 0.8


@pytest.mark.parametrize("shape", [(2, 3, 5), (6, 7)])
def test_features_of_another_encoder_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="projection that reads 6"):
        small_projection().project(torch.zeros(shape))


def test_a_crn_without_room_for_positions_is_refused() -> None:
    with pytest.raises(InputError, match="hidden_size to 18 or more"):
        attend_to_similar_shots(ContextualRelationNetwork(12, 16, 1, 4, 32, 0.1, 5))


def test_nan_in_the_training_features_is_refused() -> None:
    with pytest.raises(InputError, match="NaN"):
        principal_directions(F.pad(torch.full((1, 1), torch.nan), (0, 2)), 2)

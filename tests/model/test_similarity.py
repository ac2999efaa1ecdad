from __future__ import annotations

import pytest
import torch
from torch import Tensor

from bassl.errors import InputError
from bassl.model import similarity
from bassl.model.similarity import boundary_probabilities, boundary_scores
from tests.reference import data


def loop_scores(features: Tensor, window: int) -> list[float]:
    num_shots, scores = len(features), []
    for shot in range(num_shots):
        highest = [
            float(torch.cosine_similarity(features[left].double(), features[right].double(), dim=0))
            for left in range(max(0, shot - window + 1), shot + 1)
            for right in range(shot + 1, min(num_shots, shot + window + 1))
        ]
        scores.append(-max(highest) if highest else -1.0)
    return scores


def test_scores_have_their_hand_values() -> None:
    angle = torch.deg2rad(torch.tensor([0.0, 60.0, 150.0, 90.0]))
    features = torch.stack([angle.cos(), angle.sin()], dim=1)
    cosine = torch.deg2rad(torch.tensor([60.0, 90.0, 60.0])).cos()
    torch.testing.assert_close(boundary_scores(features, window=1), torch.cat([-cosine, -torch.ones(1)]))
    # window 2: shot 1 is 30 degrees from shot 3, across the boundaries after shots 1 and 2
    cosine = torch.deg2rad(torch.tensor([60.0, 30.0, 30.0])).cos()
    torch.testing.assert_close(boundary_scores(features, window=2), torch.cat([-cosine, -torch.ones(1)]))


@pytest.mark.parametrize("window", [1, 2, 3, 8, 20])
@pytest.mark.parametrize("num_shots", [2, 3, 9, 40])
def test_scores_equal_the_loop_over_all_pairs(num_shots: int, window: int) -> None:
    features = data(num_shots, (num_shots, 5))
    expected = torch.tensor(loop_scores(features, window))
    torch.testing.assert_close(boundary_scores(features, window), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("num_shots", [15, 16, 17, 30])
def test_chunks_of_rows_change_nothing(num_shots: int, monkeypatch: pytest.MonkeyPatch) -> None:
    features = data(3, (num_shots, 6))
    whole = boundary_scores(features, window=3)
    monkeypatch.setattr(similarity, "ROW_CHUNK", 4)
    torch.testing.assert_close(boundary_scores(features, window=3), whole, rtol=0, atol=1e-6)


def test_probabilities_keep_the_order_and_stay_within_0_and_1() -> None:
    features = torch.cat([data(6, (30, 4)), -torch.ones(1, 4), torch.ones(1, 4)])
    scores, probabilities = boundary_scores(features, 1), boundary_probabilities(features, 1)
    torch.testing.assert_close(probabilities, (1 + scores) / 2)
    assert torch.equal(scores.argsort(stable=True), probabilities.argsort(stable=True))
    assert probabilities[-2] == pytest.approx(1.0)
    assert probabilities[-1] == 0.0
    assert probabilities.min() >= 0
    assert probabilities.max() <= 1


def test_a_film_of_one_shot_or_none_has_nothing_to_compare() -> None:
    assert boundary_scores(data(0, (1, 4))).tolist() == [-1.0]
    assert boundary_probabilities(data(0, (1, 4))).tolist() == [0.0]
    assert boundary_scores(torch.zeros(0, 4)).tolist() == []


def test_half_precision_is_compared_in_single_and_double_stays_double() -> None:
    features = data(7, (20, 4))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = boundary_scores(features.bfloat16())
    assert torch.equal(half, boundary_scores(features.bfloat16().float()))
    assert boundary_scores(features.double()).dtype == torch.float64


def test_shapes_values_and_windows_that_cannot_work_are_refused() -> None:
    with pytest.raises(InputError, match=r"features have shape \(4,\)"):
        boundary_scores(torch.zeros(4))
    with pytest.raises(InputError, match="window is 0"):
        boundary_scores(data(0, (4, 2)), window=0)
    with pytest.raises(InputError, match="NaN or infinity"):
        boundary_scores(torch.full((4, 2), float("nan")))

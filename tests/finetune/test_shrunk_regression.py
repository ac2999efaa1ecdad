"""Logistic regression shrunk towards given weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bassl.errors import InputError
from bassl.finetune.shrunk_regression import fit_shrunk_regression


def drawn_samples(num_samples: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    inputs = rng.normal(size=(num_samples, 3))
    return inputs, (inputs[:, 0] + rng.normal(size=num_samples) > 1).astype(int)


def test_two_mirrored_samples_give_the_hand_value() -> None:
    """For x = +-1 the minimum solves 2 / (1 + exp(w)) = strength (w - prior): at w = log 3 the left side is 1 / 2."""
    strength = 0.5 / np.log(3)
    weights, bias = fit_shrunk_regression([[1.0], [-1.0]], [1, 0], [0.0], strength)
    np.testing.assert_allclose([*weights, bias], [np.log(3), 0.0], atol=1e-8)


def test_minimum_is_that_of_a_generic_optimiser() -> None:
    inputs, labels = drawn_samples()
    prior = np.array([1.0, -1.0, 0.0])
    weights, bias = fit_shrunk_regression(inputs, labels, prior, 5.0)
    x, y = torch.from_numpy(inputs), torch.from_numpy(labels).double()
    slow = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([slow], max_iter=500, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        logits = x @ (slow[:3] + slow[4] * torch.from_numpy(prior)) + slow[3]
        loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, y, reduction="sum")
        loss = loss + 2.5 * slow[:3].square().sum() + 0.5 * (slow[4] - 1).square()
        loss.backward()
        return loss

    optimizer.step(closure)
    odds = labels.mean() / (1 - labels.mean())
    change, slow_bias, scale = slow.detach()[:3].numpy(), slow[3].item(), slow[4].item()
    np.testing.assert_allclose(weights, change + scale * prior, atol=1e-5)
    np.testing.assert_allclose(bias, slow_bias - np.log(odds), atol=1e-5)


def test_few_samples_keep_the_ranking_of_the_prior_and_many_leave_it() -> None:
    inputs, labels = drawn_samples()
    prior = np.array([1.0, 1.0, 0.0])

    def angle(strength: float, copies: int) -> float:
        weights, _ = fit_shrunk_regression(np.tile(inputs, (copies, 1)), np.tile(labels, copies), prior, strength)
        return float(np.arccos((weights @ prior / np.linalg.norm(weights) / 2**0.5).clip(-1, 1)))

    assert angle(1e9, 1) < 1e-6
    assert 10 * angle(1000.0, 1) < angle(1000.0, 50)


def test_separable_labels_give_finite_weights() -> None:
    weights, bias = fit_shrunk_regression([[3.0], [2.0], [-1.0]], [1, 1, 0], [1.0], 100.0)
    assert np.isfinite([*weights, bias]).all() and 1 < weights[0] < 10


def test_a_far_prior_does_not_overflow() -> None:
    inputs, labels = drawn_samples()
    weights, bias = fit_shrunk_regression(inputs * 100, labels, [50.0, 0.0, 0.0], 1e-3)
    assert np.isfinite([*weights, bias]).all()


@pytest.mark.parametrize(
    ("inputs", "labels", "strength", "message"),
    [
        (np.zeros((3, 2)), [0, 1, 0], 1.0, "differ"),
        (np.zeros((3, 1)), [0, 0, 0], 1.0, "0 of 3 training labels are 1"),
        ([[0.0], [np.nan]], [0, 1], 1.0, "row 1"),
        (np.zeros((2, 1)), [0, 1], 0.0, "strength is 0"),
    ],
)
def test_what_cannot_be_fitted_is_refused(inputs: object, labels: list[int], strength: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit_shrunk_regression(inputs, labels, [1.0], strength)  # type: ignore[arg-type]

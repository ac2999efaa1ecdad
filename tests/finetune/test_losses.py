"""The class-balanced cross-entropy of fine-tuning."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bassl.finetune.losses import EPSILON, balanced_cross_entropy, class_counts, sum_over_slices
from bassl.model.boundary_scorer import BoundaryScorer
from bassl.model.crn import ContextualRelationNetwork
from tests.reference import SEED, data, fill, golden


def written_out(logits: torch.Tensor, labels: torch.Tensor) -> float:
    positives = sum(labels.tolist())
    total = 0.0
    for row, label in zip(logits.double().tolist(), labels.tolist(), strict=True):
        own = -(row[label] - math.log(math.exp(row[0]) + math.exp(row[1])))
        total += 0.5 * own / ((positives if label else len(labels) - positives) + EPSILON)
    return total


def test_the_constant_behind_the_counts_is_the_references() -> None:
    loss = balanced_cross_entropy(torch.zeros(4, 2), torch.tensor([0, 0, 1, 0]))
    expected = 0.5 * math.log(2) * (3 / (3 + 1e-5) + 1 / (1 + 1e-5))
    assert loss.item() == pytest.approx(expected, rel=1e-6)  # without it 7e-6 more


@pytest.mark.parametrize("num_positives", [0, 1, 5, 16])
def test_equals_the_written_out_sum_also_without_one_of_the_classes(num_positives: int) -> None:
    logits = data(3, (16, 2))
    labels = (torch.arange(16) < num_positives).long()
    assert balanced_cross_entropy(logits, labels).item() == pytest.approx(written_out(logits, labels), rel=1e-5)


def test_a_wrong_shape_is_refused() -> None:
    with pytest.raises(AssertionError, match=r"expected \(B, 2\) and \(B,\)"):
        balanced_cross_entropy(torch.zeros(4, 3), torch.zeros(4, dtype=torch.long))


def test_logits_and_loss_are_the_recorded_ones() -> None:
    """finetune/logits, finetune/train_loss: CRN and head with the reference's weights, in eval mode."""
    scorer = fill(BoundaryScorer(ContextualRelationNetwork())).eval()
    shots = 0.5 * data(SEED + 7, (16, 17, 2048)).abs()
    with torch.no_grad():
        logits = scorer(shots)
        loss = balanced_cross_entropy(logits, torch.from_numpy(golden()["finetune/labels"]))
    np.testing.assert_allclose(logits, golden()["finetune/logits"], rtol=1e-4, atol=1e-5)
    assert loss.item() == pytest.approx(float(golden()["finetune/train_loss"]), rel=1e-4)


ROWS = 10


def small_net() -> nn.Sequential:
    return fill(nn.Sequential(nn.Linear(6, 5), nn.GELU(), nn.Linear(5, 2)))


def loss_and_gradients(net: nn.Module, rows_at_a_time: int, scale: float = 1.0) -> tuple[Tensor, list[Tensor]]:
    features, labels = data(3, (ROWS, 6)), torch.arange(ROWS) % 3 // 2
    counts = class_counts(labels)

    def loss_of(rows: slice) -> Tensor:
        return balanced_cross_entropy(net(features[rows]), labels[rows], counts)

    loss = sum_over_slices(loss_of, ROWS, rows_at_a_time, list(net.parameters()))
    (loss * scale).backward()
    return loss.detach(), [parameter.grad for parameter in net.parameters() if parameter.grad is not None]


@pytest.mark.parametrize("rows_at_a_time", [1, 3, 20])
def test_slices_have_the_loss_and_the_gradients_of_the_whole_batch(rows_at_a_time: int) -> None:
    whole_loss, whole = loss_and_gradients(small_net(), ROWS)
    loss, gradients = loss_and_gradients(small_net(), rows_at_a_time, scale=2.0)
    torch.testing.assert_close(loss, whole_loss)
    assert len(whole) == 4
    torch.testing.assert_close(gradients, [2 * gradient for gradient in whole])


def test_frozen_parameters_get_no_gradient() -> None:
    net = small_net()
    net[0].requires_grad_(False)
    _, gradients = loss_and_gradients(net, 4)
    assert len(gradients) == 2
    assert net[0].weight.grad is None


def test_no_more_than_one_slice_is_held() -> None:
    held: list[int] = []

    class Counted(torch.autograd.Function):
        @staticmethod
        def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
            held.append(len(x))
            return x.clone()

        @staticmethod
        def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:
            held.append(-len(gradient))
            return gradient

    weight = nn.Parameter(torch.ones(()))
    sum_over_slices(lambda rows: Counted.apply(weight * data(0, (ROWS,))[rows]).sum(), ROWS, 4, [weight]).backward()
    assert held == [4, -4, 4, -4, 2, -2]

"""The class-balanced cross-entropy of fine-tuning."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from bassl.finetune.losses import EPSILON, balanced_cross_entropy, class_counts
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


def test_by_hand() -> None:
    """Logits 0 cost log 2 each; three negatives and one positive weigh one half each."""
    loss = balanced_cross_entropy(torch.zeros(4, 2), torch.tensor([0, 0, 1, 0]))
    assert loss.item() == pytest.approx(math.log(2), rel=1e-4)


def test_the_constant_behind_the_counts_is_the_references() -> None:
    loss = balanced_cross_entropy(torch.zeros(4, 2), torch.tensor([0, 0, 1, 0]))
    expected = 0.5 * math.log(2) * (3 / (3 + 1e-5) + 1 / (1 + 1e-5))
    assert loss.item() == pytest.approx(expected, rel=1e-6)  # without it 7e-6 more


@pytest.mark.parametrize("num_positives", [0, 1, 5, 16])
def test_equals_the_written_out_sum_also_without_one_of_the_classes(num_positives: int) -> None:
    logits = data(3, (16, 2))
    labels = (torch.arange(16) < num_positives).long()
    assert balanced_cross_entropy(logits, labels).item() == pytest.approx(written_out(logits, labels), rel=1e-5)


def test_parts_of_a_batch_with_the_counts_of_the_whole_add_up() -> None:
    logits, labels = data(4, (12, 2)), torch.tensor([0, 1, 0, 0, 0, 0, 1, 0, 0, 1, 0, 0])
    counts = class_counts(labels)
    parts = sum(balanced_cross_entropy(logits[part], labels[part], counts) for part in (slice(5), slice(5, 12)))
    torch.testing.assert_close(parts, balanced_cross_entropy(logits, labels))


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
    assert F.cross_entropy(logits, torch.from_numpy(golden()["finetune/labels"])).item() != pytest.approx(
        loss.item(), rel=1e-3
    )

"""The class-balanced cross-entropy of fine-tuning, as a pure function."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

EPSILON = 1e-5  # keeps a batch without one of the classes finite, as in the reference


def balanced_cross_entropy(logits: Tensor, labels: Tensor, counts: Tensor | None = None) -> Tensor:
    """Cross-entropy in which each class weighs one half: (B, 2), (B,) of 0 and 1 -> scalar.

    counts: (2,) number of negatives and positives to divide by, those of the batch unless given. With the counts of
    the batches of all ranks, the ranks' losses add up to the loss of the whole batch.
    """
    assert (logits.ndim, logits.shape[1:], labels.shape) == (2, (2,), logits.shape[:1]), (
        f"expected (B, 2) and (B,), got {tuple(logits.shape)} and {tuple(labels.shape)}"
    )
    if counts is None:
        counts = class_counts(labels)
    weights = (0.5 / (counts + EPSILON))[labels]
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return (weights * F.cross_entropy(logits, labels, reduction="none")).sum()


def class_counts(labels: Tensor) -> Tensor:
    """Numbers of zeros and ones, (B,) -> (2,) float, without waiting for the device."""
    positives = labels.sum()
    return torch.stack([labels.numel() - positives, positives]).float()

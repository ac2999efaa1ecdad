"""The class-balanced cross-entropy of fine-tuning, and the sum of a loss over slices of a large batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import FunctionCtx, once_differentiable

EPSILON = 1e-5  # keeps a batch without one of the classes finite, as in the reference


def balanced_cross_entropy(logits: Tensor, labels: Tensor, counts: Tensor | None = None) -> Tensor:
    """Return the cross-entropy in which each class weighs one half: (B, 2), (B,) of 0 and 1 -> scalar.

    Args:
        counts: Numbers of negatives and positives to divide by, (2,); those of the batch by default. With the counts
            of all ranks, the losses of the ranks add up to the loss of the whole batch.
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
    """Count zeros and ones, (B,) -> (2,) float, without waiting for the device."""
    positives = labels.sum()
    return torch.stack([labels.numel() - positives, positives]).float()


def sum_over_slices(
    loss_of: Callable[[slice], Tensor], num_rows: int, rows_at_a_time: int, parameters: Sequence[Tensor]
) -> Tensor:
    """Sum a loss over slices of a batch; return a scalar whose backward is that of the sum.

    The gradient of a slice is computed together with its loss, so only the activations of one slice are in memory: a
    quarter with four slices, at the same number of operations. With fp16 use one slice, because the gradient scale
    arrives with the backward pass of the sum, too late for small gradients of the slices.

    Args:
        loss_of: Return the loss of some rows.
        parameters: Tensors that get a gradient; no other tensor gets one.
    """
    slices = [slice(start, start + rows_at_a_time) for start in range(0, num_rows, rows_at_a_time)]
    if len(slices) == 1:
        return loss_of(slices[0])
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    return _SumOverSlices.apply(loss_of, slices, *trained)


class _SumOverSlices(Function):
    @staticmethod
    def forward(ctx: FunctionCtx, loss_of: Callable[[slice], Tensor], slices: list[slice], *trained: Tensor) -> Tensor:
        losses: list[Tensor] = []
        gradients: list[Tensor] = []
        for rows in slices:
            with torch.enable_grad():
                loss = loss_of(rows)
            of_slice = list(torch.autograd.grad(loss, trained))
            losses.append(loss.detach())
            if gradients:
                torch._foreach_add_(gradients, of_slice)
            else:
                gradients = of_slice
        ctx.save_for_backward(*gradients)
        return torch.stack(losses).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, outer: Tensor) -> tuple[Tensor | None, ...]:
        scaled = torch._foreach_mul(ctx.saved_tensors, outer)  # type: ignore[attr-defined]
        return None, None, *scaled

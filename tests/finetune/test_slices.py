from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from bassl.finetune.losses import balanced_cross_entropy, class_counts
from bassl.finetune.slices import sum_over_slices
from tests.reference import data, fill

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


@pytest.mark.parametrize("rows_at_a_time", [1, 3, 5, 9])
def test_slices_have_the_loss_and_the_gradients_of_the_whole_batch(rows_at_a_time: int) -> None:
    whole_loss, whole = loss_and_gradients(small_net(), ROWS)
    loss, gradients = loss_and_gradients(small_net(), rows_at_a_time)
    torch.testing.assert_close(loss, whole_loss)
    assert len(gradients) == len(whole) == 4
    for mine, expected in zip(gradients, whole, strict=True):
        torch.testing.assert_close(mine, expected)


def test_a_factor_on_the_loss_reaches_the_gradients() -> None:
    _, plain = loss_and_gradients(small_net(), 4)
    _, doubled = loss_and_gradients(small_net(), 4, scale=2.0)
    for mine, expected in zip(doubled, plain, strict=True):
        torch.testing.assert_close(mine, 2 * expected)


def test_gradients_add_up_over_calls_as_they_do_without_slices() -> None:
    net = small_net()
    _, once = loss_and_gradients(net, 4)
    once = [gradient.clone() for gradient in once]
    _, twice = loss_and_gradients(net, 4)
    for mine, expected in zip(twice, once, strict=True):
        torch.testing.assert_close(mine, 2 * expected)


def test_frozen_parameters_get_no_gradient() -> None:
    net = small_net()
    net[0].requires_grad_(False)
    _, gradients = loss_and_gradients(net, 4)
    assert len(gradients) == 2
    assert net[0].weight.grad is None


def test_autocast_reaches_into_the_slices() -> None:
    net = small_net()
    with torch.autocast("cpu", torch.bfloat16):
        loss, gradients = loss_and_gradients(net, 3)
    exact, expected = loss_and_gradients(small_net(), ROWS)
    torch.testing.assert_close(loss, exact, rtol=0.02, atol=0.02)
    assert not torch.equal(loss, exact)
    assert [gradient.dtype for gradient in gradients] == [torch.float32] * 4
    for mine, wanted in zip(gradients, expected, strict=True):
        torch.testing.assert_close(mine, wanted, rtol=0.05, atol=0.02)


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


def test_one_slice_is_the_plain_loss() -> None:
    net = small_net()
    copied = copy.deepcopy(net)
    assert torch.equal(loss_and_gradients(net, ROWS)[0], loss_and_gradients(copied, 5 * ROWS)[0])

from __future__ import annotations

import copy
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from bassl.errors import InputError
from bassl.training.optim import LARS, parameter_groups, warmup_cosine, warmup_cosine_factor
from tests.reference import SEED, data, fill, golden

Steps = list[list[Tensor | None]]


def small_net() -> nn.Sequential:
    return fill(nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5), nn.Linear(5, 3))).train()


def slow_lars(weights: list[Tensor], steps: Steps, lr: float, momentum: float, weight_decay: float) -> list[Tensor]:
    """Apply LARS tensor by tensor in float64; `steps` holds the gradients of every step."""
    weights = [weight.double() for weight in weights]
    velocity: list[Tensor | float] = [0.0 for _ in weights]
    for gradients in steps:
        for index, gradient in enumerate(gradients):
            if gradient is None:
                continue
            weight, update = weights[index], gradient.double()
            if weight_decay > 0:
                weight_norm, gradient_norm = float(weight.norm()), float(update.norm())
                if weight_norm > 0 and gradient_norm > 0:  # else neither decay nor scaling, as in the reference
                    factor = 0.001 * weight_norm / (gradient_norm + weight_decay * weight_norm + 1e-8)
                    update = factor * (update + weight_decay * weight)
            velocity[index] = momentum * velocity[index] + update
            weights[index] = weight - lr * velocity[index]
    return weights


def fast_lars(weights: list[Tensor], steps: Steps, lr: float, momentum: float, weight_decay: float) -> list[Tensor]:
    parameters = [nn.Parameter(weight.clone()) for weight in weights]
    optimizer = LARS(parameters, lr=lr, momentum=momentum, weight_decay=weight_decay)
    for gradients in steps:
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = None if gradient is None else gradient.clone()
        optimizer.step()
    return [parameter.detach() for parameter in parameters]


def test_twenty_steps_equal_the_reference() -> None:
    recorded = golden()
    net = small_net()
    optimizer = LARS(parameter_groups(net, 1e-6, no_decay=("bias",)), lr=0.3)
    scheduler = warmup_cosine(optimizer, total_steps=20, warmup_steps=4)
    rates, losses = [], []
    for step in range(20):
        rates.append(optimizer.param_groups[0]["lr"])
        loss = net(data(SEED + 20 + step, (12, 6))).square().mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
    assert rates == recorded["lars/lr"].tolist()
    torch.testing.assert_close(torch.tensor(losses), torch.tensor(recorded["lars/loss"]).float(), rtol=1e-5, atol=0)
    parameters = dict(net.named_parameters())
    assert len(parameters) == 6
    for name, parameter in parameters.items():
        expected = torch.from_numpy(recorded[f"lars/param/{name}"])
        torch.testing.assert_close(parameter.detach(), expected, rtol=1e-4, atol=0)


def test_one_step_by_hand() -> None:
    weights, gradients = [torch.tensor([3.0, 4.0])], [torch.tensor([0.0, 2.0])]
    (moved,) = fast_lars(weights, [gradients], lr=10.0, momentum=0.9, weight_decay=0.1)
    factor = 0.001 * 5 / (2 + 0.1 * 5 + 1e-8)  # the gradient becomes factor * [0.3, 2.4]
    torch.testing.assert_close(moved, torch.tensor([3 - 10 * factor * 0.3, 4 - 10 * factor * 2.4]))


@pytest.mark.parametrize("weight_decay", [0.0, 1e-6, 0.1])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_multi_tensor_steps_equal_the_written_out_ones(momentum: float, weight_decay: float) -> None:
    shapes = [(4, 3, 3, 3), (4,), (7, 4), (1,), ()]
    weights = [data(k, shape) for k, shape in enumerate(shapes)]
    weights[1] = torch.zeros(4)
    steps: Steps = [[data(100 * step + k, shape) for k, shape in enumerate(shapes)] for step in range(1, 5)]
    steps[1][0] = torch.zeros(shapes[0])
    steps[2][2] = None
    fast = fast_lars(weights, steps, 0.3, momentum, weight_decay)
    slow = slow_lars(weights, steps, 0.3, momentum, weight_decay)
    assert len(fast) == len(slow) == 5
    for one, other in zip(fast, slow, strict=True):
        torch.testing.assert_close(one, other.float(), rtol=1e-5, atol=1e-6)


def test_zero_weights_get_factor_one() -> None:
    (moved,) = fast_lars([torch.zeros(3)], [[torch.ones(3)]], lr=0.5, momentum=0.9, weight_decay=0.1)
    assert moved.tolist() == [-0.5, -0.5, -0.5]


def test_groups_without_decay_equal_sgd_with_momentum() -> None:
    weight = nn.Parameter(data(1, (5,)))
    plain = nn.Parameter(weight.detach().clone())
    ours = LARS([{"params": [weight], "weight_decay": 0.0}], lr=0.1, weight_decay=0.5)
    theirs = torch.optim.SGD([plain], lr=0.1, momentum=0.9)
    for step in range(3):
        weight.grad, plain.grad = data(step, (5,)), data(step, (5,))
        ours.step()
        theirs.step()
    torch.testing.assert_close(weight, plain)


def test_a_step_never_waits_for_the_device() -> None:
    net = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 3)).to("meta")  # a meta tensor has no value to read
    optimizer = LARS(parameter_groups(net, 1e-6), lr=0.3)
    for _ in range(2):
        net(torch.ones(2, 6, device="meta")).square().mean().backward()
        optimizer.step()
    assert len(optimizer.state) == 4


class Counted(TorchDispatchMode):
    """Counts operations by name."""

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.counts[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("num_tensors", [2, 50])
def test_the_number_of_operations_does_not_depend_on_the_number_of_tensors(num_tensors: int) -> None:
    weights = [nn.Parameter(data(k, (k % 3 + 1, 4))) for k in range(num_tensors)]
    optimizer = LARS(weights, lr=0.1, weight_decay=1e-3)
    for step in range(2):
        for weight in weights:
            weight.grad = data(100 + step, tuple(weight.shape))
        with Counted() as counted:
            optimizer.step()
    foreach = {name: count for name, count in counted.counts.items() if "foreach" in name}
    assert foreach == {"_foreach_norm": 2, "_foreach_add": 1, "_foreach_mul_": 2, "_foreach_add_": 2}
    assert counted.counts.total() < 25, counted.counts


def test_a_restored_optimizer_takes_the_same_steps() -> None:
    def train(net: nn.Module, optimizer: LARS, steps: range) -> None:
        for step in steps:
            optimizer.zero_grad()
            net(data(step, (12, 6))).square().mean().backward()
            optimizer.step()

    straight = small_net()
    optimizer = LARS(parameter_groups(straight, 1e-4), lr=0.3)
    train(straight, optimizer, range(3))
    resumed = copy.deepcopy(straight)
    state = copy.deepcopy(optimizer.state_dict())
    train(straight, optimizer, range(3, 6))
    second = LARS(parameter_groups(resumed, 1e-4), lr=99.0)
    second.load_state_dict(state)
    train(resumed, second, range(3, 6))
    for one, other in zip(straight.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_negative_setting_is_refused() -> None:
    for setting in ("lr", "momentum", "weight_decay", "trust_coefficient", "eps"):
        with pytest.raises(InputError, match=f"{setting} of LARS is -1"):
            LARS([nn.Parameter(torch.ones(1))], **{"lr": 0.1, setting: -1})


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(2)
        self.downsample = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2))
        self.first = nn.Linear(2, 2, bias=False)
        self.second = nn.Linear(2, 2)
        self.second.weight = self.first.weight
        self.frozen = nn.Linear(2, 2).requires_grad_(False)


def test_parameters_are_grouped_by_name_and_shared_ones_count_once() -> None:
    net = Shared()
    decayed, others = parameter_groups(net, 1e-6)
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    assert decayed["weight_decay"] == 1e-6
    assert others["weight_decay"] == 0.0
    assert [names[id(parameter)] for parameter in decayed["params"]] == [
        "downsample.0.weight",
        "downsample.1.weight",  # a normalisation, but not by its name: it decays
        "first.weight",
    ]
    assert [names[id(parameter)] for parameter in others["params"]] == [
        "bn1.weight",
        "bn1.bias",
        "downsample.0.bias",
        "downsample.1.bias",
        "second.bias",
    ]
    only_weights = parameter_groups(nn.Linear(2, 2, bias=False), 1e-6)
    assert [group["weight_decay"] for group in only_weights] == [1e-6], "an empty group is omitted"


def test_schedule_by_hand() -> None:
    factors = [warmup_cosine_factor(step, total_steps=8, warmup_steps=2) for step in range(10)]
    cosine = [0.5 * (1 + math.cos(math.pi * k / 6)) for k in range(7)]
    assert factors == pytest.approx([0.0, 0.5, *cosine, 0.0])
    assert warmup_cosine_factor(0, total_steps=8, warmup_steps=0) == 1.0
    assert warmup_cosine_factor(4, total_steps=4, warmup_steps=4) == 1.0


def test_schedule_sets_the_rate_of_every_group() -> None:
    optimizer = LARS(
        [{"params": [nn.Parameter(torch.ones(1))], "lr": rate} for rate in (0.1, 0.2)], lr=1.0, momentum=0.0
    )
    scheduler = warmup_cosine(optimizer, total_steps=4, warmup_steps=2)
    seen = []
    for _ in range(4):
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        scheduler.step()
    np.testing.assert_allclose(seen, [[0, 0], [0.05, 0.1], [0.1, 0.2], [0.05, 0.1]], atol=1e-12)


@pytest.mark.parametrize("total_steps, warmup_steps", [(0, 0), (10, 11), (10, -1)])
def test_an_impossible_schedule_is_refused(total_steps: int, warmup_steps: int) -> None:
    optimizer = LARS([nn.Parameter(torch.ones(1))], lr=0.1)
    with pytest.raises(InputError, match="steps"):
        warmup_cosine(optimizer, total_steps, warmup_steps)

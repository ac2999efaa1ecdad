"""Optimisation of pre-training: parameter groups, LARS, and linear warm-up followed by a cosine."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from bassl.errors import InputError


def parameter_groups(
    module: nn.Module, weight_decay: float, no_decay: Sequence[str] = ("bn", "bias")
) -> list[dict[str, Any]]:
    """Return the trainable parameters in two groups, with weight decay and without; empty groups are omitted.

    A parameter is not decayed if its *name* contains one of `no_decay`, as in the reference. Normalisation weights of
    other names (`downsample.1.weight`, `LayerNorm.weight`) are decayed. A parameter that two submodules share counts
    once, under its first name.
    """
    named = [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
    decayed = [parameter for name, parameter in named if not any(part in name for part in no_decay)]
    others = [parameter for name, parameter in named if any(part in name for part in no_decay)]
    groups = [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


class LARS(Optimizer):
    """SGD with momentum and layer-wise adaptive rates: LARS (You et al., 2017).

    With weight decay d and trust coefficient t, the gradient g of a tensor w becomes
    (g + d w) * t ||w|| / (||g|| + d ||w|| + eps); the factor is 1 if w is all zero, and 0 if g is. Parameter
    groups without weight decay get neither decay nor scaling. Then v = momentum v + g, w = w - lr v.

    A step takes seven multi-tensor operations per group, whatever the number of tensors, and never waits for the
    device.

    Raises:
        InputError: a setting is negative.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust_coefficient: float = 0.001,
        eps: float = 1e-8,
    ) -> None:
        defaults = {
            "lr": lr,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "trust_coefficient": trust_coefficient,
            "eps": eps,
        }
        for name, value in defaults.items():
            if value < 0:
                raise InputError(f"{name} of LARS is {value}; give 0 or more")
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Update all parameters that have a gradient; return the closure's loss, if a closure is given."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            self._step_group(group)
        return loss

    def _step_group(self, group: dict[str, Any]) -> None:
        weights: list[Tensor] = [weight for weight in group["params"] if weight.grad is not None]
        if not weights:
            return
        updates: list[Tensor] = [weight.grad for weight in weights]  # type: ignore[misc]
        if group["weight_decay"]:
            updates = _trust_scaled(weights, updates, group["weight_decay"], group["trust_coefficient"], group["eps"])
        if group["momentum"]:
            buffers = [self._momentum_buffer(weight) for weight in weights]
            torch._foreach_mul_(buffers, group["momentum"])
            torch._foreach_add_(buffers, updates)
            updates = buffers
        torch._foreach_add_(weights, updates, alpha=-group["lr"])

    def _momentum_buffer(self, weight: Tensor) -> Tensor:
        state = self.state[weight]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(weight, memory_format=torch.preserve_format)
        return state["momentum_buffer"]


def _trust_scaled(
    weights: list[Tensor], gradients: list[Tensor], weight_decay: float, trust_coefficient: float, eps: float
) -> list[Tensor]:
    weight_norms = torch.stack(torch._foreach_norm(weights))
    gradient_norms = torch.stack(torch._foreach_norm(gradients))
    factors = trust_coefficient * weight_norms / (gradient_norms + weight_decay * weight_norms + eps)
    factors = torch.where(weight_norms > 0, factors, 1.0)
    factors = torch.where(gradient_norms > 0, factors, 0.0)  # no decay either, as in the reference
    updates = torch._foreach_add(gradients, weights, alpha=weight_decay)
    torch._foreach_mul_(updates, list(factors.unbind()))
    return list(updates)


def warmup_cosine_factor(step: int, total_steps: int, warmup_steps: int) -> float:
    """Return the factor of the base learning rate at optimiser step `step`, counted from 0.

    Linear from 0 to 1 over `warmup_steps`, then half a cosine to 0 at `total_steps`, then 0.
    """
    if step < warmup_steps:
        return step / warmup_steps
    progress = (step - warmup_steps) / max(total_steps - warmup_steps, 1)
    return 0.5 * (1.0 + math.cos(math.pi * min(progress, 1.0)))


def warmup_cosine(optimizer: Optimizer, total_steps: int, warmup_steps: int) -> LambdaLR:
    """Return the scheduler of `warmup_cosine_factor`, to be stepped after every optimiser step.

    Raises:
        InputError: unless 0 <= warmup_steps <= total_steps and total_steps >= 1.
    """
    if total_steps < 1:
        raise InputError(f"a schedule of {total_steps} steps is empty; train for at least one step")
    if not 0 <= warmup_steps <= total_steps:
        raise InputError(f"warmup_steps {warmup_steps} must lie between 0 and the {total_steps} steps of the run")
    return LambdaLR(optimizer, lambda step: warmup_cosine_factor(step, total_steps, warmup_steps))

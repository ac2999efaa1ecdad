"""Abort training when a loss, a gradient or a weight is NaN or infinite."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from bassl.errors import RunError

REMEDY = "the last checkpoint is kept: resume with config.RESUME=true and a lower config.TRAIN.OPTIMIZER.lr.base_lr"


@dataclass(frozen=True)
class _Watched:
    """Values of one step, perhaps still on their way to the host."""

    values: Tensor
    names: tuple[str, ...]
    where: str
    copied: torch.cuda.Event | None

    def has_arrived(self) -> bool:
        """Return whether reading the values would not wait for the device."""
        return self.copied is None or self.copied.query()


class NanGuard:
    """Check loss terms and gradient of every step without waiting for the device.

    On CUDA a step's values are checked once their copy has arrived. `flush` waits for all of them; call it before the
    result of a step is validated or saved. With a gradient scaler the gradient is not checked: overflows are expected
    there, and the scaler skips those steps.
    """

    def __init__(self) -> None:
        self._pending: list[_Watched] = []

    def watch(self, terms: Iterable[str], values: Tensor, step: int, lr: float, batch: int) -> None:
        """Take the loss terms of this step, (T,); raise RunError if a value of an earlier step is not finite."""
        self._take(values.detach(), tuple(f"loss term {name}" for name in terms), step, lr, batch)

    def watch_gradient(self, module: pl.LightningModule) -> None:
        """Take the gradient that the optimiser is about to apply; call it in `on_before_optimizer_step`."""
        trainer = module.trainer
        if getattr(trainer.precision_plugin, "scaler", None) is None:
            norm, lr = gradient_norm(module.parameters()), trainer.optimizers[0].param_groups[0]["lr"]
            self._take(norm[None], ("the gradient",), trainer.global_step, lr, trainer.fit_loop.epoch_loop.batch_idx)

    def _take(self, values: Tensor, names: tuple[str, ...], step: int, lr: float, batch: int) -> None:
        copied = None
        if values.is_cuda:
            values = values.to("cpu", non_blocking=True)
            copied = torch.cuda.Event()
            copied.record()
        where = f"step {step} (batch {batch} of its epoch, learning rate {lr:.3g})"
        self._pending.append(_Watched(values, names, where, copied))
        while self._pending and self._pending[0].has_arrived():
            _check(self._pending.pop(0))

    def flush(self) -> None:
        """Wait for all pending values; raise RunError if one is not finite."""
        pending, self._pending = self._pending, []
        for watched in pending:
            if watched.copied is not None:
                watched.copied.synchronize()
            _check(watched)


def _check(watched: _Watched) -> None:
    values = zip(watched.names, watched.values.tolist(), strict=True)
    broken = [name for name, value in values if not math.isfinite(value)]
    if broken:
        raise RunError(
            f"{', '.join(broken)} is not finite at {watched.where}; {REMEDY}, or with config.TRAINER.precision=32"
        )


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Return the Euclidean norm of all gradients together, a scalar on their device."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return nn.utils.get_total_norm(gradients).float()


def check_weights(trainer: pl.Trainer) -> None:
    """Raise RunError if a weight is not finite; waits for the device once."""
    module = trainer.lightning_module
    if nn.utils.get_total_norm([weight.detach() for weight in module.parameters()], math.inf).isfinite():
        return
    broken = [name for name, weight in module.named_parameters() if not torch.isfinite(weight).all()]
    if broken:
        raise RunError(
            f"{len(broken)} weights are not finite after step {trainer.global_step}, such as {broken[0]}; {REMEDY}"
        )

"""Stops a run whose loss or gradient is no number any more, and says what it was, and where."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from bassl.errors import RunError


@dataclass(frozen=True)
class _Watched:
    """Values of a step on their way to the host."""

    values: Tensor
    names: tuple[str, ...]
    where: str
    copied: torch.cuda.Event | None

    def has_arrived(self) -> bool:
        """Whether they can be looked at without waiting."""
        return self.copied is None or self.copied.query()


class FiniteGuard:
    """Looks at the loss terms and the gradient of every step without waiting for the device.

    On CUDA it looks when their copy has arrived, which `flush` waits for: call it before what a step has done is used,
    validated or saved. An overflow that a gradient scaler handles is no error: it is in the
    gradient, which is not looked at where there is a scaler.
    """

    def __init__(self) -> None:
        self._pending: list[_Watched] = []

    def watch(self, terms: Iterable[str], values: Tensor, step: int, lr: float, batch: int) -> None:
        """Take the loss terms of this step (T,), and raise RunError if anything of an earlier step was not finite."""
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
            self._check(self._pending.pop(0))

    def flush(self) -> None:
        """Wait for what is under way, and raise RunError if anything of a step so far was not finite."""
        pending, self._pending = self._pending, []
        for watched in pending:
            if watched.copied is not None:
                watched.copied.synchronize()
            self._check(watched)

    @staticmethod
    def _check(watched: _Watched) -> None:
        broken = [
            name
            for name, value in zip(watched.names, watched.values.tolist(), strict=True)
            if not abs(value) < float("inf")
        ]
        if broken:
            raise RunError(
                f"{', '.join(broken)} is not finite at {watched.where}; the last checkpoint is kept: "
                "go on from it with config.RESUME=true and a lower config.TRAIN.OPTIMIZER.lr.base_lr, or with "
                "config.TRAINER.precision=32"
            )


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Euclidean norm of all gradients together, a scalar on their device; not finite if one of them is not."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    return nn.utils.get_total_norm(gradients).float()

"""Stops a run whose loss is no number any more, and says which term it was."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from bassl.errors import RunError


@dataclass(frozen=True)
class _Watched:
    """Loss terms of a step on their way to the host."""

    values: Tensor
    names: tuple[str, ...]
    where: str
    copied: torch.cuda.Event | None


class FiniteGuard:
    """Looks at the loss terms of every step without waiting for the device: on CUDA when their copy has arrived.

    An overflow that a gradient scaler handles is in the gradients, not in the loss, and is no error here.
    """

    def __init__(self) -> None:
        self._pending: list[_Watched] = []

    def watch(self, terms: Mapping[str, Tensor], step: int, lr: float, batch: int) -> None:
        """Take the terms of this step, and raise RunError if those of an earlier step were not finite."""
        values = torch.stack([term.detach().float() for term in terms.values()])
        copied = None
        if values.is_cuda:
            values = values.to("cpu", non_blocking=True)
            copied = torch.cuda.Event()
            copied.record()
        where = f"step {step} (batch {batch} of its epoch, learning rate {lr:.3g})"
        self._pending.append(_Watched(values, tuple(terms), where, copied))
        while self._pending and (self._pending[0].copied is None or self._pending[0].copied.query()):
            self._check(self._pending.pop(0))

    @staticmethod
    def _check(watched: _Watched) -> None:
        broken = [
            name
            for name, value in zip(watched.names, watched.values.tolist(), strict=True)
            if not abs(value) < float("inf")
        ]
        if broken:
            raise RunError(
                f"loss term {', '.join(broken)} is not finite at {watched.where}; the last checkpoint is kept: "
                "go on from it with config.RESUME=true and a lower config.TRAIN.OPTIMIZER.lr.base_lr, or with "
                "config.TRAINER.precision=32"
            )

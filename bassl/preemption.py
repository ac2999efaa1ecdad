"""SIGTERM and SIGUSR1 (preemption, a scheduler's time limit): finish the step, save, and leave with a known status."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from bassl.errors import Preempted

log = logging.getLogger(__name__)
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class StopOnSignal(Callback):
    """After a signal, saves at the end of the step and raises Preempted on every rank.

    Ranks ask one another every `every` steps, so that all stop at the same one. Under SLURM a job that got SIGUSR1 is
    put back into the queue. Handlers are in place while the Trainer trains only.
    """

    def __init__(self, save: Callable[[pl.Trainer], None], every: int = 10) -> None:
        self._save, self._every = save, every
        self._received: int | None = None
        self._before: dict[signal.Signals, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the signals, also from Lightning, which would leave without saving."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in SIGNALS}

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._received = number

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_unused: Any) -> None:
        """Stop if any rank was asked to."""
        if trainer.world_size > 1:
            if trainer.fit_loop.epoch_loop.batch_idx % self._every:
                return
            asked = trainer.strategy.reduce_boolean_decision(self._received is not None, all=False)
        else:
            asked = self._received is not None
        if asked:
            self._save(trainer)
            if trainer.is_global_zero and self._received == signal.SIGUSR1:
                requeue()
            name = signal.Signals(self._received).name if self._received else "a signal to another process"
            raise Preempted(
                f"stopped by {name} after step {trainer.global_step}; saved, config.RESUME=true goes on from there"
            )

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}


def requeue() -> None:
    """Put this SLURM job back into the queue, if it is one."""
    job, scontrol = os.environ.get("SLURM_JOB_ID"), shutil.which("scontrol")
    if job and scontrol:
        done = subprocess.run([scontrol, "requeue", job], check=False, capture_output=True, text=True)
        log.info("SLURM job %s: %s", job, "requeued" if done.returncode == 0 else done.stderr.strip())

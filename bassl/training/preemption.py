"""SIGTERM, SIGUSR1 (a time limit, preemption) and Ctrl-C: finish the step, save, exit with a known code."""

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

from bassl.console import is_main_process
from bassl.errors import Interrupted, Preempted

log = logging.getLogger(__name__)
REQUEUE = getattr(signal, "SIGUSR1", None)  # Windows has none
SIGNALS = tuple(number for number in (signal.SIGTERM, REQUEUE, signal.SIGINT) if number is not None)
CTRL_C = b"\ninterrupted: saving at the end of this step; press Ctrl-C again to abort\n"
AGREE_EVERY = 10
"""Steps between two agreements of the ranks; each one waits for the device."""


class StopOnSignal(Callback):
    """After a signal, save at the end of the step and raise Preempted on every rank.

    Ranks agree every `every` steps, so that all stop at the same one. During validation, and in an epoch's last step,
    the whole epoch is saved. After SIGUSR1 a SLURM job is requeued. A second Ctrl-C aborts. Signals that were ignored
    before stay ignored. Handlers are installed only while the Trainer trains: at other times there is nothing to save.
    """

    def __init__(self, save: Callable[[pl.Trainer, bool], None], every: int = AGREE_EVERY) -> None:
        self._save, self._every = save, every
        self._received: int | None = None
        self._before: dict[int, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Install the handlers."""
        if threading.current_thread() is threading.main_thread():
            heeded = [n for n in SIGNALS if n != signal.SIGINT or signal.getsignal(n) is not signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._receive) for number in heeded}

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Restore the handlers."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        self._received = number
        if number == signal.SIGINT:
            signal.signal(number, self._before.get(number, signal.default_int_handler))
            if is_main_process():
                os.write(2, CTRL_C)  # a handler may interrupt sys.stderr in the middle of a line

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop between two steps of an epoch if any rank received a signal."""
        if not trainer.is_last_batch and is_between_steps(trainer, batch_idx) and may_agree(trainer, self._every):
            self._stop_if_asked(trainer, within_epoch=True)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop between two epochs if any rank received a signal."""
        self._stop_if_asked(trainer, within_epoch=False)

    def _stop_if_asked(self, trainer: pl.Trainer, within_epoch: bool) -> None:
        asked = self._received is not None
        if trainer.world_size > 1:
            asked = trainer.strategy.reduce_boolean_decision(asked, all=False)
        if not asked:
            return
        self._save(trainer, within_epoch)
        if trainer.is_global_zero and self._received is not None and self._received == REQUEUE:
            requeue()
        trainer.strategy.barrier("requeued")  # SLURM may end the job as soon as one rank exits
        then = f"after step {trainer.global_step}; saved, resume with config.RESUME=true"
        if self._received == signal.SIGINT:
            raise Interrupted(f"interrupted {then}")
        name = signal.Signals(self._received).name if self._received else "a signal to another process"
        raise Preempted(f"stopped by {name} {then}")


def is_between_steps(trainer: pl.Trainer, batch_idx: int) -> bool:
    """Return whether no gradients are accumulated after this batch; a checkpoint would lose them."""
    return (batch_idx + 1) % trainer.accumulate_grad_batches == 0


def may_agree(trainer: pl.Trainer, every: int = AGREE_EVERY) -> bool:
    """Return whether ranks may communicate after this step: the same on all, and always True for a single one."""
    return trainer.world_size == 1 or trainer.global_step % every == 0


def disable_lightning_signals(trainer: pl.Trainer) -> None:
    """Leave SIGTERM and SIGUSR1 to `StopOnSignal`.

    Lightning would note a SIGTERM and continue (extraction to its end, training for a batch, then exit code 0). It
    would also broadcast in every step whether one came, for which each rank waits for its device.
    """
    connector, loop = trainer._signal_connector, trainer.fit_loop.epoch_loop
    connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]


def requeue() -> None:
    """Requeue this SLURM job, if it is one."""
    job, scontrol = os.environ.get("SLURM_JOB_ID"), shutil.which("scontrol")
    if job and scontrol:
        done = subprocess.run([scontrol, "requeue", job], check=False, capture_output=True, text=True)
        log.info("SLURM job %s: %s", job, "requeued" if done.returncode == 0 else done.stderr.strip())

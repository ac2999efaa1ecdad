"""SIGTERM, SIGUSR1 (preemption, a time limit) and Ctrl-C: finish the step, save, and leave with a known status."""

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
AGAIN = b"\ninterrupted: the run goes on to where it can be saved; Ctrl-C again ends it at once\n"
ASK_EVERY = 10
"""Steps between two questions of ranks to one another, for which each waits for its device."""


class StopOnSignal(Callback):
    """After a signal, saves at the end of the step and raises Preempted on every rank.

    Ranks ask one another every `every` steps, so that all stop at the same one. A signal that comes with an epoch's
    last batch or during validation is answered when the epoch is whole. Under SLURM a job that got SIGUSR1 is put back
    into the queue. A second Ctrl-C is Python's, which aborts; where whoever started the run ignores it, the run does.
    Handlers are in place while the Trainer trains only; before and after that there is nothing to save, and a signal
    ends the process.
    """

    def __init__(self, save: Callable[[pl.Trainer, bool], None], every: int = ASK_EVERY) -> None:
        self._save, self._every = save, every
        self._received: int | None = None
        self._before: dict[signal.Signals, Any] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the signals."""
        if threading.current_thread() is threading.main_thread():
            taken = [number for number in SIGNALS if number != signal.SIGINT or not is_ignored(number)]
            self._before = {number: signal.signal(number, self._note) for number in taken}

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self._received = number
        if number == signal.SIGINT:
            signal.signal(number, self._before.get(signal.SIGINT, signal.default_int_handler))
            if is_main_process():
                os.write(2, AGAIN)  # sys.stderr may be in the middle of a line of its own

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop between two steps of an epoch if any rank was asked to."""
        if trainer.is_last_batch or not is_between_steps(trainer, batch_idx):
            return
        if may_ask(trainer, self._every):
            self._stop_if_asked(trainer, within_epoch=True)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop between two epochs if any rank was asked to."""
        self._stop_if_asked(trainer, within_epoch=False)

    def _stop_if_asked(self, trainer: pl.Trainer, within_epoch: bool) -> None:
        asked = self._received is not None
        if trainer.world_size > 1:
            asked = trainer.strategy.reduce_boolean_decision(asked, all=False)
        if asked:
            self._save(trainer, within_epoch)
            if trainer.is_global_zero and self._received is not None and self._received == REQUEUE:
                requeue()
            trainer.strategy.barrier(
                "requeued"
            )  # the first that leaves may end the job, which is to be requeued before
            then = f"after step {trainer.global_step}; saved, config.RESUME=true goes on from there"
            if self._received == signal.SIGINT:
                raise Interrupted(f"interrupted {then}")
            name = signal.Signals(self._received).name if self._received else "a signal to another process"
            raise Preempted(f"stopped by {name} {then}")

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}


def is_ignored(number: signal.Signals) -> bool:
    """Whether whoever started this process wants it to ignore a signal."""
    return signal.getsignal(number) is signal.SIG_IGN


def is_between_steps(trainer: pl.Trainer, batch_idx: int) -> bool:
    """Whether no gradients are being accumulated after this batch: those would not be in a checkpoint."""
    return (batch_idx + 1) % trainer.accumulate_grad_batches == 0


def may_ask(trainer: pl.Trainer, every: int = ASK_EVERY) -> bool:
    """Whether ranks may ask one another after this step; alike on all of them, and always so where there is one."""
    return trainer.world_size == 1 or trainer.global_step % every == 0


def take_signals_from_lightning(trainer: pl.Trainer) -> None:
    """Leave SIGTERM and SIGUSR1 to the system until `StopOnSignal` takes them.

    Lightning would note a SIGTERM and go on (extraction to its end, training for a batch, then ending with status 0),
    and have rank zero tell the others in every step whether one came, for which each waits for its device.
    """
    connector, loop = trainer._signal_connector, trainer.fit_loop.epoch_loop
    connector.register_signal_handlers = lambda: None  # type: ignore[method-assign]
    loop._broadcast_sigterm_tensor = lambda: None  # type: ignore[method-assign]


def requeue() -> None:
    """Put this SLURM job back into the queue, if it is one."""
    job, scontrol = os.environ.get("SLURM_JOB_ID"), shutil.which("scontrol")
    if job and scontrol:
        done = subprocess.run([scontrol, "requeue", job], check=False, capture_output=True, text=True)
        log.info("SLURM job %s: %s", job, "requeued" if done.returncode == 0 else done.stderr.strip())

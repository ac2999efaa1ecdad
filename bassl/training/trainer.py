"""Build the Trainer of a run: seeds, progress, throughput, and processes that end together."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, TQDMProgressBar
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.plugins.environments import SLURMEnvironment, TorchElasticEnvironment
from pytorch_lightning.strategies import DDPStrategy

from bassl.config.batches import num_processes, train_batch_size
from bassl.config.schema import Config, Finetune, Pretrain
from bassl.console import describe_error
from bassl.errors import InputError, Preempted
from bassl.model.checkpoint import Checkpoint
from bassl.training.checkpointing import AtomicCheckpointIO, count_epochs_on_resume
from bassl.training.device import Device
from bassl.training.preemption import disable_lightning_signals
from bassl.training.processes import end_with_parent
from bassl.training.run_folder import RunFolder

log = logging.getLogger(__name__)
SEED_VARIABLE = "BASSL_SEED"  # hands a drawn seed to the other processes of a run
REPORT_SECONDS = 10.0


def build_trainer(
    config: Pretrain | Finetune, run: RunFolder, *, device: Device, callbacks: Sequence[Callback], title: str
) -> pl.Trainer:
    """Build the Trainer of a training run, or of an evaluation, which reads no key of training.

    Samplers, checkpoints, signals and synchronised BatchNorm are ours, not Lightning's.

    Args:
        title: what the progress bar says before the epoch.
    """
    loop, processes, evaluates = config.TRAINER, num_processes(config), config.evaluates
    accumulate = 1 if evaluates else loop.accumulate_grad_batches
    samples_per_batch = 0 if evaluates else train_batch_size(config) * processes
    train_batches, val_batches = None if evaluates else loop.limit_train_batches, loop.limit_val_batches
    if run.dry_run:
        train_batches, val_batches = 2 * accumulate, 1
    # Buffers are broadcast before validation only: see `distributed.share_buffers`.
    ddp = DDPStrategy(broadcast_buffers=False, gradient_as_bucket_view=True)
    bar = [ProgressBar(title, samples_per_batch, device.kind)] if loop.progress_bar else []
    trainer = pl.Trainer(
        accelerator="gpu" if device.kind == "cuda" else "cpu",
        devices=config.DISTRIBUTED.NUM_PROC_PER_NODE,
        num_nodes=config.DISTRIBUTED.NUM_NODES,
        strategy=ddp if processes > 1 else "auto",
        precision=device.lightning_precision,
        max_epochs=1 if run.dry_run or evaluates else loop.max_epochs,
        max_steps=-1 if evaluates or loop.max_steps is None else loop.max_steps,
        accumulate_grad_batches=accumulate,
        gradient_clip_val=None if evaluates else loop.gradient_clip_val,
        check_val_every_n_epoch=1 if run.dry_run or evaluates else config.TEST.VAL_FREQ,
        limit_train_batches=1.0 if train_batches is None else train_batches,
        limit_val_batches=1.0 if val_batches is None else val_batches,
        num_sanity_val_steps=0,
        log_every_n_steps=loop.log_every_n_steps,
        logger=False if run.dry_run else TensorBoardLogger(run.logs, name="", version=""),
        callbacks=[*callbacks, StopTogether(), *bar],
        enable_progress_bar=loop.progress_bar,
        enable_checkpointing=any(isinstance(callback, pl.callbacks.Checkpoint) for callback in callbacks),
        enable_model_summary=False,
        use_distributed_sampler=False,
        benchmark=device.kind == "cuda",
        plugins=[
            AtomicCheckpointIO(),
            *([SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else []),  # `preemption` requeues
        ],
    )
    disable_lightning_signals(trainer)
    count_epochs_on_resume(trainer)
    return trainer


# --- seeds ----------------------------------------------------------------------------------------------------------


def choose_seed(config: Pretrain | Finetune, resumed: Checkpoint | None) -> int:
    """Return the run's seed: config.SEED, else that of the resumed run, else one drawn for all its processes.

    Raises:
        InputError: no seed is given, and the processes were not started by this one, so each would draw its own.
    """
    stored = resumed.metadata.get("bassl", {}).get("seed") if resumed is not None else None
    if config.SEED not in (None, -1):
        if resumed is not None and stored != config.SEED:
            log.warning(
                "config.SEED=%s, but %s was trained with %s: later draws differ", config.SEED, resumed.path, stored
            )
        return config.SEED
    return stored if stored is not None else _shared_seed(config)


def _shared_seed(config: Config) -> int:
    """Return the seed in the environment; draw it first in the process that starts all others."""
    processes = num_processes(config)
    if SEED_VARIABLE not in os.environ:
        starts_all = launched_by_lightning() and config.DISTRIBUTED.NUM_NODES == 1 and "LOCAL_RANK" not in os.environ
        if processes > 1 and not starts_all:
            raise InputError(
                f"config.SEED is unset, and each of {processes} processes would draw its own; set config.SEED, or "
                f"{SEED_VARIABLE} in the environment, the same on all machines"
            )
        os.environ[SEED_VARIABLE] = str(secrets.randbits(32))
        log.info("config.SEED is unset; drew %s", os.environ[SEED_VARIABLE])
    try:
        return int(os.environ[SEED_VARIABLE])
    except ValueError as error:
        raise InputError(f"{SEED_VARIABLE}={os.environ[SEED_VARIABLE]} is not a whole number; set one") from error


def derived_seed(*parts: int) -> int:
    """Return a 63-bit seed that is a function of its parts and looks random."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0]) >> 1


# --- processes ------------------------------------------------------------------------------------------------------


def launched_by_lightning() -> bool:
    """Return whether Lightning starts the processes of this run, and not torchrun or SLURM."""
    return not (TorchElasticEnvironment.detect() or SLURMEnvironment.detect())


class StopTogether(Callback):
    """End all processes of a run when one of them fails, also while they wait for it on a device.

    torchrun and SLURM do this by themselves. Of the processes that Lightning starts, the first kills the others after
    an error of its own, and the others end when the first has gone.
    """

    _is_watching = False

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Watch the process that started this one."""
        if not self._is_watching and launched_by_lightning() and os.environ.get("LOCAL_RANK", "0") != "0":
            self._is_watching = True
            end_with_parent()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Kill the others, unless they are about to exit as well."""
        launcher = trainer.strategy.launcher
        if launcher is None or isinstance(exception, Preempted):
            return
        if isinstance(exception, RuntimeError) and describe_error(exception, "") is not None:
            self._let_others_report(getattr(launcher, "procs", ()))
        launcher.kill(getattr(signal, "SIGKILL", signal.SIGTERM))

    @staticmethod
    def _let_others_report(processes: Sequence[Any]) -> None:
        """Wait a moment for a process that failed first, so that it can print its error."""
        deadline = time.monotonic() + REPORT_SECONDS
        while all(process.poll() is None for process in processes) and time.monotonic() < deadline:
            time.sleep(0.05)


# --- progress -------------------------------------------------------------------------------------------------------


class ProgressBar(TQDMProgressBar):
    """Lightning's bar with the job's name and samples per second, without the version number.

    Reading the loss waits for the device, so a GPU's bar is refreshed every 20 batches.
    """

    def __init__(self, title: str, samples_per_batch: int, kind: str) -> None:
        super().__init__(refresh_rate=20 if kind == "cuda" else 1)
        self.title, self.samples_per_batch = title, samples_per_batch
        self._started = (0.0, 0)

    def on_train_epoch_start(self, trainer: pl.Trainer, *unused: Any) -> None:
        """Name the epoch."""
        super().on_train_epoch_start(trainer, *unused)
        self._started = (time.perf_counter(), trainer.fit_loop.epoch_loop.batch_progress.current.ready)
        self.train_progress_bar.set_description(f"{self.title}, epoch {trainer.current_epoch + 1}/{trainer.max_epochs}")

    def get_metrics(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> dict[str, Any]:
        """Return the values behind the bar."""
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        since, first = self._started
        batches = trainer.fit_loop.epoch_loop.batch_progress.current.ready - first
        if batches > 0:
            metrics["samples/s"] = f"{batches * self.samples_per_batch / (time.perf_counter() - since):.1f}"
        return metrics


class Throughput(Callback):
    """Log samples per second over all ranks, between two log points, as `throughput/samples_per_second`."""

    def __init__(self, samples_per_batch: int, every: int) -> None:
        self.samples_per_batch, self.every = samples_per_batch, every
        self._since: tuple[float, int] | None = None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave out the time of validation."""
        self._since = None

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_unused: Any) -> None:
        """Log at every log point."""
        batch = trainer.fit_loop.epoch_loop.batch_idx + 1
        if self._since is None:
            self._since = (time.perf_counter(), batch)
        elif trainer.global_step % self.every == 0 and batch > self._since[1]:
            start, first = self._since
            rate = (batch - first) * self.samples_per_batch / (time.perf_counter() - start)
            pl_module.log("throughput/samples_per_second", torch.tensor(rate), rank_zero_only=True)
            self._since = (time.perf_counter(), batch)

"""What the jobs share once torch is there: device and precision, Trainer, seed, progress."""

from __future__ import annotations

import logging
import os
import secrets
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, TQDMProgressBar
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.plugins.environments import SLURMEnvironment
from pytorch_lightning.strategies import DDPStrategy

from bassl.config.batches import num_processes, train_batch_size
from bassl.config.schema import Config, Finetune, Pretrain
from bassl.console import process_rank, setup_logging
from bassl.errors import InputError
from bassl.training.checkpointing import AtomicCheckpointIO, resume_by_epochs
from bassl.training.launching import EndTogether, are_ours, settle_port
from bassl.training.preemption import take_signals_from_lightning
from bassl.training.run_folder import RunFolder

log = logging.getLogger(__name__)
SEED_VARIABLE = "BASSL_SEED"  # tells all processes of a run which seed was drawn


@dataclass(frozen=True)
class Device:
    """Where a process computes. kind: "cuda" or "cpu"; precision: "32", "bf16" or "fp16"."""

    kind: str
    precision: str

    @property
    def lightning_precision(self) -> Any:
        """The Trainer's name for the precision."""
        return {"32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}[self.precision]

    @property
    def dtype(self) -> torch.dtype:
        """Type of the encoder's arithmetic."""
        return {"32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[self.precision]


def set_up_logging() -> None:
    """One line an event, from rank zero only; Lightning's own chatter is left to warnings."""
    rank_zero = process_rank() == 0
    setup_logging(logging.INFO if rank_zero else logging.ERROR)
    for message in (
        ".*does not have many workers.*",
        ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*",
        ".*The number of training batches.*is smaller than the logging interval.*",
        ".*lr_scheduler.step\\(\\).*before.*optimizer.step\\(\\).*",  # fp16 overflow in the first step
        ".*your dataloader is not resumable.*",  # ours is: see TrainingData.resume_at
        ".*`broadcast_buffers` is deprecated.*",  # its successor is unknown to older torch
        ".*Total length of .* across ranks is zero.*",  # no validation, or all films extracted
        ".*It is recommended to use `self.log\\(.*sync_dist=True.*",  # what we log is of all ranks already
        ".*You have overridden `transfer_batch_to_device`.*",  # as meant: see FinetuneModule
    ):
        warnings.filterwarnings("ignore", message)


def choose_device(config: Config, *, half: bool) -> Device:
    """Device and precision of a run, checked against the machine and logged in one line.

    half: whether "auto" is half precision where the device computes in it: not in fine-tuning.
    Raises InputError where the machine cannot hold the processes that are asked for.
    """
    kind = device_kind(config, torch.cuda.device_count() if torch.cuda.is_available() else 0)
    forbid_tf32()
    precision, why = config.TRAINER.precision, "as set"
    if precision == "auto":
        precision, why = _best_precision(kind, half)
    if precision == "fp16" and kind == "cpu":
        raise InputError("config.TRAINER.precision=fp16 needs a GPU; set bf16 or 32 on the CPU")
    name = torch.cuda.get_device_name(0) if kind == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    log.info("computing on %s, %d process(es), precision %s (%s)", name, num_processes(config), precision, why)
    return Device(kind, precision)


def device_kind(config: Config, num_gpus: int) -> str:
    """What a run computes on, "cuda" or "cpu". Raises InputError where so many GPUs are too few for its processes."""
    accelerator, processes = config.TRAINER.accelerator, config.DISTRIBUTED.NUM_PROC_PER_NODE
    kind = accelerator if accelerator != "auto" else ("cuda" if num_gpus else "cpu")
    if kind == "cuda" and num_gpus < processes:
        raise InputError(
            f"{processes} processes need as many GPUs, this machine has {num_gpus}; "
            f"set config.DISTRIBUTED.NUM_PROC_PER_NODE={max(num_gpus, 1)}"
            + ("" if num_gpus else " and config.TRAINER.accelerator=cpu")
        )
    if kind == "cpu" and accelerator == "auto" and processes > 1:
        raise InputError(
            f"{processes} processes need as many GPUs, this machine has none; set "
            "config.DISTRIBUTED.NUM_PROC_PER_NODE=1, or config.TRAINER.accelerator=cpu to run them on the CPU"
        )
    return kind


def forbid_tf32() -> None:
    """Compute what is 32 bit in IEEE float32 on a GPU as well, where PyTorch takes TF32 for convolutions by default."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*new API settings to control TF32.*")  # since torch 2.9; 2.8 knows no other
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False


def _best_precision(kind: str, half: bool) -> tuple[str, str]:
    if not half:
        return "32", "as the reference"
    if kind == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16", "the GPU computes in it"
        return "fp16", "the GPU has no bfloat16"
    if cpu_has_bfloat16():
        return "bf16", "the CPU computes in it"
    return "32", "best on this CPU"


def cpu_has_bfloat16() -> bool:
    """Whether the CPU multiplies bfloat16 in hardware (AVX512-BF16 or AMX); emulated it is slower than 32 bit."""
    flags = Path("/proc/cpuinfo")
    return flags.is_file() and any(
        {"avx512_bf16", "amx_bf16"} & set(line.split())
        for line in flags.read_text().splitlines()
        if line[:5] == "flags"
    )


def draw_seed(given: int | None, config: Config) -> int:
    """The run's seed: the given one, else one drawn once and shared with the processes that this one starts.

    Raises InputError where none is given and processes that this one has not started would each draw their own.
    """
    if given is not None:
        return given
    if SEED_VARIABLE not in os.environ:
        starts_all = are_ours() and config.DISTRIBUTED.NUM_NODES == 1 and "LOCAL_RANK" not in os.environ
        if num_processes(config) > 1 and not starts_all:
            raise InputError(
                f"config.SEED is unset, and {num_processes(config)} processes that did not start each other would "
                f"each draw their own; set config.SEED, or {SEED_VARIABLE} in the environment, the same on all machines"
            )
        os.environ[SEED_VARIABLE] = str(secrets.randbits(32))
        log.info("config.SEED is unset; drew %s", os.environ[SEED_VARIABLE])
    try:
        return int(os.environ[SEED_VARIABLE])
    except ValueError as error:
        raise InputError(f"{SEED_VARIABLE}={os.environ[SEED_VARIABLE]} is no whole number; set one") from error


def derived_seed(*parts: int) -> int:
    """A 63-bit seed that is a function of its parts and looks random."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0]) >> 1


def build_trainer(
    config: Pretrain | Finetune, run: RunFolder, *, device: Device, callbacks: Sequence[Callback], title: str
) -> pl.Trainer:
    """Build the Trainer of a training run. Samplers, checkpoints and synchronised BatchNorm are ours, not Lightning's.

    An evaluation alone reads no key of training.
    """
    loop, per_node, nodes = config.TRAINER, config.DISTRIBUTED.NUM_PROC_PER_NODE, config.DISTRIBUTED.NUM_NODES
    processes, evaluates = num_processes(config), config.evaluates
    accumulate = 1 if evaluates else loop.accumulate_grad_batches
    samples = 0 if evaluates else train_batch_size(config) * processes
    bar = ProgressBar(title, samples, device.kind)
    limits: dict[str, Any] = {
        "limit_train_batches": None if evaluates else loop.limit_train_batches,
        "limit_val_batches": loop.limit_val_batches,
    }
    if run.dry_run:
        limits = {"limit_train_batches": 2 * accumulate, "limit_val_batches": 1}
    settle_port(per_node, nodes)
    ddp = DDPStrategy(broadcast_buffers=False, gradient_as_bucket_view=True)  # see `share_buffers` of the validation
    trainer = pl.Trainer(
        accelerator="gpu" if device.kind == "cuda" else "cpu",
        devices=per_node,
        num_nodes=nodes,
        strategy=ddp if processes > 1 else "auto",
        precision=device.lightning_precision,
        max_epochs=1 if run.dry_run or evaluates else loop.max_epochs,
        max_steps=-1 if loop.max_steps is None or evaluates else loop.max_steps,
        accumulate_grad_batches=accumulate,
        gradient_clip_val=None if evaluates else loop.gradient_clip_val,
        check_val_every_n_epoch=1 if run.dry_run or evaluates else config.TEST.VAL_FREQ,
        num_sanity_val_steps=0,
        log_every_n_steps=loop.log_every_n_steps,
        logger=False if run.dry_run else TensorBoardLogger(run.logs, name="", version=""),
        callbacks=[*callbacks, EndTogether(), *([bar] if loop.progress_bar else [])],
        enable_progress_bar=loop.progress_bar,
        enable_checkpointing=any(isinstance(callback, pl.callbacks.Checkpoint) for callback in callbacks),
        enable_model_summary=False,
        use_distributed_sampler=False,
        benchmark=device.kind == "cuda",
        plugins=[AtomicCheckpointIO(), *_slurm()],
        **{name: value for name, value in limits.items() if value is not None},
    )
    take_signals_from_lightning(trainer)
    resume_by_epochs(trainer)
    return trainer


def _slurm() -> list[SLURMEnvironment]:
    """SLURM's environment, where the job runs in one, with requeueing left to `bassl.training.preemption`."""
    return [SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else []


class ProgressBar(TQDMProgressBar):
    """Lightning's bar with the job's name and samples per second, and without the version number.

    On a GPU it looks at the loss only now and then: each look waits for the device.
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
        """What stands behind the bar."""
        metrics = super().get_metrics(trainer, pl_module)
        metrics.pop("v_num", None)
        since, first = self._started
        batches = trainer.fit_loop.epoch_loop.batch_progress.current.ready - first
        if batches > 0:
            metrics["samples/s"] = f"{batches * self.samples_per_batch / (time.perf_counter() - since):.1f}"
        return metrics


class Throughput(Callback):
    """Logs samples per second over all ranks, between two log points, as `throughput/samples_per_second`."""

    def __init__(self, samples_per_batch: int, every: int) -> None:
        self.samples_per_batch, self.every = samples_per_batch, every
        self._since: tuple[float, int] | None = None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget the time that validation took."""
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

"""Save a training run, and resume it."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.checkpoint_io import CheckpointIO
from pytorch_lightning import callbacks
from pytorch_lightning.loggers import TensorBoardLogger

from bassl.config.schema import Finetune, Pretrain
from bassl.dataset.datamodule import TrainingData
from bassl.errors import InputError
from bassl.files import write_atomically
from bassl.model import BEST, LAST
from bassl.model.checkpoint import Checkpoint, find_checkpoint, read_checkpoint
from bassl.training.nan_guard import check_weights
from bassl.training.preemption import StopOnSignal, is_between_steps, may_agree
from bassl.training.run_folder import RunFolder

log = logging.getLogger(__name__)
OPTIMIZER_STATE = ("optimizer_states", "lr_schedulers")


class AtomicCheckpointIO(CheckpointIO):
    """Write checkpoints atomically: the last good one survives a full disk or a kill."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint."""
        write_atomically(Path(path), lambda temporary: torch.save(checkpoint, temporary))

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read a checkpoint of ours; only tensors and plain containers are accepted, nothing is executed."""
        return torch.load(path, map_location="cpu", weights_only=True)

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a checkpoint."""
        Path(path).unlink(missing_ok=True)


class SaveLast(callbacks.Checkpoint):
    """Save `last.ckpt` at the end of every epoch and, if set, every so many steps or minutes.

    Never after the last batch of an epoch: on resume, Lightning would skip the epoch's validation.

    Args:
        keep_optimizer: False drops the optimiser state when training is complete. Until then resuming needs it.
    """

    def __init__(
        self, folder: Path, *, every_steps: int | None, every_minutes: float | None, keep_optimizer: bool = True
    ) -> None:
        self.path, self.every_steps, self.every_minutes = folder / LAST, every_steps, every_minutes
        self.keep_optimizer = keep_optimizer
        self._saved_step, self._saved_at = 0, time.monotonic()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start counting steps and minutes."""
        self._saved_step, self._saved_at = trainer.global_step, time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save within an epoch, after whole optimiser steps only."""
        if trainer.is_last_batch or not is_between_steps(trainer, batch_idx):
            return
        steps = trainer.global_step - self._saved_step
        due = self.every_steps is not None and steps >= self.every_steps
        if self.every_minutes is not None and steps > 0 and not due and may_agree(trainer):
            late = time.monotonic() - self._saved_at >= 60 * self.every_minutes
            due = trainer.strategy.broadcast(late)  # rank zero's clock decides
        if due:
            self.save(trainer, within_epoch=True)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the whole epoch."""
        self.save(trainer, within_epoch=False)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """With max_epochs=0, save the initial weights; then drop the optimiser state if it is not kept."""
        if trainer.max_epochs == 0:
            self.save(trainer, within_epoch=False)
        if not self.keep_optimizer and trainer.is_global_zero and self.path.is_file():
            checkpoint = torch.load(self.path, map_location="cpu", weights_only=True)
            kept = {name: value for name, value in checkpoint.items() if name not in OPTIMIZER_STATE}
            write_atomically(self.path, lambda temporary: torch.save(kept, temporary))

    def save(self, trainer: pl.Trainer, within_epoch: bool) -> None:
        """Save now; raise RunError if a weight is not finite, so that the last good file stays."""
        check_weights(trainer)
        flush_logs(trainer, within_epoch)
        trainer.save_checkpoint(self.path)
        self._saved_step, self._saved_at = trainer.global_step, time.monotonic()


class SaveBest(callbacks.Checkpoint):
    """Save `best.ckpt`, without optimiser state, when a logged metric such as `val/AP` reaches a new maximum."""

    def __init__(self, folder: Path, metric: str) -> None:
        self.path, self.metric, self.best = folder / BEST, metric, float("-inf")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Reset a maximum resumed from another folder, where its weights are; rank zero decides for all."""
        if self.best > float("-inf") and not trainer.strategy.broadcast(self.path.is_file()):
            self.best = float("-inf")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compare and save; all ranks have the same value."""
        value = float(trainer.callback_metrics.get(self.metric, float("nan")))
        if value > self.best:
            self.best = value
            trainer.save_checkpoint(self.path, weights_only=True)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore it."""
        self.best = state_dict["best"]


def checkpoint_callbacks(config: Pretrain | Finetune, run: RunFolder) -> list[callbacks.Callback]:
    """Return the callbacks that save a run; none for a dry run."""
    if run.dry_run:
        return []
    last = SaveLast(
        run.checkpoints,
        every_steps=config.TRAINER.checkpoint_every_n_steps,
        every_minutes=config.TRAINER.checkpoint_every_n_minutes,
        keep_optimizer=config.SAVE_OPTIMIZER,
    )
    return [last, StopOnSignal(last.save)]


def flush_logs(trainer: pl.Trainer, within_epoch: bool) -> None:
    """Bring the scalars to disk that a resumed run would not log again.

    Lightning logs a step after the callbacks that save it, and a kill may come between, so log it here already.
    """
    if within_epoch:
        trainer._logger_connector.update_train_step_metrics()
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.flush()


# --- resuming -------------------------------------------------------------------------------------------------------


def find_resume(config: Pretrain | Finetune, run: RunFolder) -> Checkpoint | None:
    """Return the checkpoint to resume from, None for a fresh start; of a folder its last one.

    Raises:
        InputError: config.RESUME is a path that holds no training state.
    """
    given = str(config.RESUME).lower()
    if given in ("none", "false"):
        return None
    if given == "true":
        path = run.checkpoints / LAST
        if not path.is_file():
            log.info("config.RESUME=true: no %s yet, starting afresh", path)
            return None
    else:
        path = Path(str(config.RESUME)).expanduser().resolve()
        if not path.exists():
            raise InputError(
                f"config.RESUME={config.RESUME}: {path} does not exist; give a checkpoint, the folder of a run, or "
                "true for this run's own last.ckpt"
            )
        path = path / LAST if (path / LAST).is_file() else find_checkpoint(path)
    stored = read_checkpoint(path)
    if not {"loops", *OPTIMIZER_STATE} <= stored.metadata.keys():
        raise InputError(
            f"{path} holds weights but no training state, so it cannot be resumed; give a last.ckpt that was saved "
            "with config.SAVE_OPTIMIZER=true"
        )
    log.info("resuming from %s (epoch %d, step %d)", path, stored.epoch, stored.global_step)
    return stored


def count_epochs_on_resume(trainer: pl.Trainer) -> None:
    """Make Lightning resume a run with `max_steps` as it does one without.

    It takes any checkpoint of such a run for one within an epoch. After one of an epoch's end it would run an epoch
    without batches, save it, and count epochs differently from the sampler.
    """
    trainer.fit_loop._iteration_based_training = lambda: False  # type: ignore[method-assign]


def resume_position(checkpoint: Mapping[str, Any], data: TrainingData) -> tuple[int, int]:
    """Return the epoch to resume in, and how many batches of `data` in it are done.

    An epoch that `max_steps` cut short counts as complete: with more steps the run resumes with the next one.

    Raises:
        InputError: batches have another size than before, and none ends where the run stopped.
    """
    loop = checkpoint["loops"]["fit_loop"]
    progress, epochs = loop["epoch_loop.batch_progress"], loop["epoch_progress"]["current"]
    epoch, done = int(epochs["processed"]), int(progress["current"]["processed"])
    if progress["is_last_batch"] or epoch == epochs["ready"]:
        return int(epochs["ready"]), 0
    trained = checkpoint.get("bassl", {}).get("config")
    if trained is None:
        return epoch, done
    before = trained["TRAIN"]["BATCH_SIZE"]["effective_batch_size"]
    samples = done * before // trained["TRAINER"]["accumulate_grad_batches"]
    if samples % data.effective_batch or samples // data.effective_batch >= data.num_steps:
        raise InputError(
            f"the run stopped after {samples} samples of an epoch, in steps of {before}, and cannot resume there in "
            f"steps of {data.effective_batch}; set config.TRAIN.BATCH_SIZE.effective_batch_size={before}, or change it "
            "after a whole epoch"
        )
    return epoch, samples // data.effective_batch * data.accumulate


def restore_position(checkpoint: dict[str, Any], data: TrainingData) -> None:
    """Set data and Lightning's loops to where a checkpoint was saved, counted in batches of this run."""
    epoch, batches = resume_position(checkpoint, data)
    if batches:
        count = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]
        shift = batches - int(count["processed"])
        count |= {name: number + shift for name, number in count.items()}
    data.resume_at(epoch, batches)

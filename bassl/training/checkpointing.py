"""When a training run saves itself, and how it goes on."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins.io.checkpoint_io import CheckpointIO
from pytorch_lightning import callbacks
from pytorch_lightning.loggers import TensorBoardLogger
from torch import nn

from bassl.config.schema import Finetune, Pretrain
from bassl.dataset.datamodule import TrainingData
from bassl.errors import InputError, RunError
from bassl.files import lock_folder, remove_leftovers, write_atomically
from bassl.model.checkpoint import Checkpoint, find_checkpoint, read_checkpoint
from bassl.model.checkpoint_names import BEST, LAST
from bassl.training.preemption import StopOnSignal, is_between_steps, may_ask
from bassl.training.run_folder import RunFolder

log = logging.getLogger(__name__)


class AtomicCheckpointIO(CheckpointIO):
    """Writes a checkpoint under a temporary name and renames it: the last good one survives a full disk or a kill."""

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
    """Saves `last.ckpt` at the end of every epoch and, where set, every so many steps or minutes.

    Never after the last batch of an epoch: Lightning would take the epoch's validation for done on resuming.
    """

    def __init__(self, folder: Path, every_steps: int | None, every_minutes: float | None) -> None:
        self.path, self.every_steps, self.every_minutes = folder / LAST, every_steps, every_minutes
        self._saved_step, self._saved_at = 0, time.monotonic()

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count from here."""
        self._saved_step, self._saved_at = trainer.global_step, time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save in the middle of an epoch, after whole optimiser steps only."""
        if trainer.is_last_batch or not is_between_steps(trainer, batch_idx):
            return
        steps = trainer.global_step - self._saved_step
        due = self.every_steps is not None and steps >= self.every_steps
        if self.every_minutes is not None and steps > 0 and not due and may_ask(trainer):
            late = time.monotonic() - self._saved_at >= 60 * self.every_minutes
            due = trainer.strategy.broadcast(late)  # rank zero's clock decides
        if due:
            self.save(trainer, within_epoch=True)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the whole epoch."""
        self.save(trainer, within_epoch=False)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save a run of no epochs as it was drawn."""
        if trainer.max_epochs == 0:
            self.save(trainer, within_epoch=False)

    def save(self, trainer: pl.Trainer, within_epoch: bool) -> None:
        """Save now; RunError where the weights are not finite any more, so that the last good file stays."""
        refuse_non_finite(trainer)
        flush_logs(trainer, within_epoch)
        trainer.save_checkpoint(self.path)
        self._saved_step, self._saved_at = trainer.global_step, time.monotonic()


class SaveBest(callbacks.Checkpoint):
    """Saves `best.ckpt` after each validation in which a logged metric, such as `val/AP`, is higher than ever."""

    def __init__(self, folder: Path, metric: str) -> None:
        self.path, self.metric, self.best = folder / BEST, metric, float("-inf")

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Forget a best that was resumed from elsewhere: its weights are not here. Rank zero looks, for all."""
        if self.best > float("-inf") and not trainer.strategy.broadcast(self.path.is_file()):
            self.best = float("-inf")

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compare and save; all ranks know the same value."""
        value = float(trainer.callback_metrics.get(self.metric, float("nan")))
        if value > self.best:
            self.best = value
            trainer.save_checkpoint(self.path)

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run has to know."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self.best = state_dict["best"]


def checkpoint_callbacks(config: Pretrain | Finetune, run: RunFolder) -> list[callbacks.Callback]:
    """The callbacks that save a run; none in a dry run."""
    if run.dry_run:
        return []
    loop = config.TRAINER
    last = SaveLast(run.checkpoints, loop.checkpoint_every_n_steps, loop.checkpoint_every_n_minutes)
    return [last, StopOnSignal(last.save)]


def flush_logs(trainer: pl.Trainer, within_epoch: bool) -> None:
    """Bring the scalars to disk that a resumed run would not log again.

    Lightning logs a step after the callbacks that save it, which a kill may come before; so it is logged here already.
    """
    if within_epoch:
        trainer._logger_connector.update_train_step_metrics()
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            logger.experiment.flush()


def refuse_non_finite(trainer: pl.Trainer) -> None:
    """Raise RunError if a weight is NaN or infinite. Waits for the device once, and by name only where one is."""
    module = trainer.lightning_module
    if nn.utils.get_total_norm([weight.detach() for weight in module.parameters()], math.inf).isfinite():
        return
    broken = [name for name, weight in module.named_parameters() if not torch.isfinite(weight).all()]
    if broken:
        raise RunError(
            f"{len(broken)} weights are not finite after step {trainer.global_step}, such as {broken[0]}; the "
            "checkpoint before is kept: go on from it with config.RESUME=true and a lower "
            "config.TRAIN.OPTIMIZER.lr.base_lr"
        )


def find_resume(config: Pretrain | Finetune, run: RunFolder) -> Checkpoint | None:
    """Return the checkpoint to resume from, None for a fresh start.

    Raises:
        InputError: `config.RESUME` is a path that holds no training state.
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
    if "loops" not in stored.metadata:
        raise InputError(f"{path} holds weights but no training state, so config.RESUME cannot resume from it")
    log.info("resuming from %s (epoch %d, step %d)", path, stored.epoch, stored.global_step)
    return stored


def choose_seed(config: Pretrain | Finetune, resumed: Checkpoint | None) -> int | None:
    """Return the given seed, else that of the resumed run; None if one has to be drawn."""
    if resumed is None:
        return config.SEED
    stored = resumed.metadata.get("bassl", {}).get("seed")
    if config.SEED is not None and stored != config.SEED:
        log.warning(
            "config.SEED=%s, but %s was trained with %s: the rest is drawn anew", config.SEED, resumed.path, stored
        )
    return stored if config.SEED is None else config.SEED


@contextmanager
def owned(run: RunFolder, is_writer: bool) -> Iterator[None]:
    """Hold the run's checkpoint folder, and clear it of files that a killed run left half-written.

    is_writer: whether this is the process that writes there; for others, and in a dry run, nothing happens.
    Raises InputError where another run writes there.
    """
    if run.dry_run or not is_writer:
        yield
        return
    folder = run.checkpoints
    with lock_folder(folder, busy=f"another run is writing {folder}; wait for it or set config.EXPR_NAME"):
        remove_leftovers(folder)
        yield


def resume_by_epochs(trainer: pl.Trainer) -> None:
    """Have Lightning resume a run with `max_steps` as it does one without, whose epochs are counted all the same.

    It takes any checkpoint of such a run for one within an epoch: after one of an epoch's end it would run an epoch of
    no batches, save it, and from there on count epochs otherwise than the sampler does.
    """
    trainer.fit_loop._iteration_based_training = lambda: False  # type: ignore[method-assign]


def resume_position(checkpoint: Mapping[str, Any], data: TrainingData) -> tuple[int, int]:
    """Epoch that a run goes on in, and batches of `data` in it that are behind it; (next epoch, 0) where it was over.

    An epoch that `max_steps` cut short is over too: with more steps a run goes on with the next one. Raises InputError
    where batches have another size than in the checkpoint's run and none ends where that one stopped.
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
            f"the run stopped after {samples} samples of an epoch, in steps of {before}, and no step of "
            f"{data.effective_batch} goes on from there; set config.TRAIN.BATCH_SIZE.effective_batch_size={before}, or "
            "change it after a whole epoch"
        )
    return epoch, samples // data.effective_batch * data.accumulate


def go_on(checkpoint: dict[str, Any], data: TrainingData) -> None:
    """Have data and Lightning's loops go on where a checkpoint was saved, counted in batches of this run."""
    epoch, batches = resume_position(checkpoint, data)
    if batches:
        count = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]
        behind = int(count["processed"])
        count |= {name: number + batches - behind for name, number in count.items()}
    data.resume_at(epoch, batches)

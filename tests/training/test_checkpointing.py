"""When a run saves itself, what each checkpoint holds, and where a resumed run starts."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from bassl.config.load import load
from bassl.dataset.datamodule import LoaderSpec, TrainingData
from bassl.errors import InputError
from bassl.model.checkpoint import read_checkpoint
from bassl.training.checkpointing import (
    OPTIMIZER_STATE,
    AtomicCheckpointIO,
    SaveBest,
    SaveLast,
    checkpoint_callbacks,
    find_resume,
    restore_position,
    resume_position,
)
from bassl.training.preemption import StopOnSignal
from bassl.training.run_folder import RunFolder


class Scored(pl.LightningModule):
    """One weight; validation scores are given, one per epoch."""

    def __init__(self, scores: list[float]) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.scores = scores

    def training_step(self, batch: torch.Tensor, batch_idx: int) -> torch.Tensor:
        return (self.weight - batch).square().mean()

    def validation_step(self, batch: torch.Tensor, batch_idx: int) -> None:
        self.log("val/AP", self.scores[self.current_epoch])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.1)


def train(folder: Path, scores: list[float], **options: Any) -> Path:
    """Train an epoch of two steps per score with both savers; returns the folder of checkpoints."""
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=len(scores), logger=False, enable_progress_bar=False, num_sanity_val_steps=0,
        enable_model_summary=False, plugins=[AtomicCheckpointIO()],
        callbacks=[
            SaveLast(folder, every_steps=None, every_minutes=None, **options), SaveBest(folder, "val/AP"),
        ],
    )  # fmt: skip
    data = DataLoader(torch.ones(2, 1))
    trainer.fit(Scored(scores), data, data)
    return folder


def test_best_is_of_the_highest_score_and_holds_no_optimizer_state(tmp_path: Path) -> None:
    folder = train(tmp_path, [0.2, 0.9, 0.9, 0.5])
    best, last = (read_checkpoint(folder / name) for name in ("best.ckpt", "last.ckpt"))
    assert (best.epoch, last.epoch) == (1, 3)
    assert not set(OPTIMIZER_STATE) & best.metadata.keys()
    assert last.metadata["optimizer_states"][0]["state"][0]["step"] == 8


def test_optimizer_state_that_is_not_kept_goes_when_training_is_complete(tmp_path: Path) -> None:
    kept, dropped = (train(tmp_path / name, [0.1, 0.2], keep_optimizer=name == "kept") for name in ("kept", "dropped"))
    first, second = (read_checkpoint(folder / "last.ckpt") for folder in (kept, dropped))
    assert set(first.metadata) - set(second.metadata) == set(OPTIMIZER_STATE)
    assert torch.equal(first.state_dict["weight"], second.state_dict["weight"])
    assert os.path.getsize(dropped / "last.ckpt") < os.path.getsize(kept / "last.ckpt")


@pytest.mark.parametrize("is_here", [True, False])
def test_a_resumed_best_score_counts_only_where_its_weights_are(is_here: bool, tmp_path: Path) -> None:
    saved: list[Path] = []
    trainer: Any = SimpleNamespace(
        strategy=SimpleNamespace(broadcast=lambda value: value),
        callback_metrics={"val/AP": 0.5},
        save_checkpoint=lambda path, weights_only: saved.append(path),
    )
    earlier, resumed = SaveBest(tmp_path, "val/AP"), SaveBest(tmp_path, "val/AP")
    earlier.best = 0.9
    resumed.load_state_dict(earlier.state_dict())
    if is_here:
        resumed.path.touch()
    resumed.on_train_start(trainer, None)  # type: ignore[arg-type]
    resumed.on_validation_end(trainer, None)  # type: ignore[arg-type]
    assert saved == ([] if is_here else [tmp_path / "best.ckpt"])


def settings(tmp_path: Path, *more: str) -> Any:
    return load("pretrain", [f"config.CKPT_PATH={tmp_path}", f"config.LOG_PATH={tmp_path}", *more])


def run_in(folder: Path, dry_run: bool = False) -> RunFolder:
    return RunFolder("devel", folder, folder / "logs", dry_run)


def test_keys_reach_the_callbacks_and_a_dry_run_saves_nothing(tmp_path: Path) -> None:
    keys = ["config.TRAINER.checkpoint_every_n_steps=5", "config.TRAINER.checkpoint_every_n_minutes=2.5"]
    config = settings(tmp_path, *keys, "config.SAVE_OPTIMIZER=false")
    last, stop = checkpoint_callbacks(config, run_in(tmp_path))
    assert isinstance(last, SaveLast) and isinstance(stop, StopOnSignal)
    assert (last.path, last.every_steps, last.every_minutes) == (tmp_path / "last.ckpt", 5, 2.5)
    assert last.keep_optimizer is False
    assert checkpoint_callbacks(config, run_in(tmp_path, dry_run=True)) == []


@pytest.mark.parametrize(("world_size", "agreed"), [(1, list(range(1, 25))), (2, [10, 20])])
def test_several_ranks_ask_for_the_time_every_ten_steps(world_size: int, agreed: list[int], tmp_path: Path) -> None:
    """Each question waits for the device."""
    steps: list[int] = []
    trainer: Any = SimpleNamespace(
        world_size=world_size, global_step=0, is_last_batch=False, accumulate_grad_batches=1,
        strategy=SimpleNamespace(broadcast=lambda late: steps.append(trainer.global_step)),
    )  # fmt: skip
    save = SaveLast(tmp_path, every_steps=None, every_minutes=30.0)
    save.on_train_start(trainer, None)  # type: ignore[arg-type]
    for step in range(1, 25):
        trainer.global_step = step
        save.on_train_batch_end(trainer, None, None, None, step)  # type: ignore[arg-type]
    assert steps == agreed


# --- resuming -------------------------------------------------------------------------------------------------------


def save(path: Path, step: int, *, trained: bool = True) -> Path:
    state = {"loops": {}, "optimizer_states": [], "lr_schedulers": []} if trained else {}
    path.parent.mkdir(exist_ok=True)
    torch.save({"state_dict": {"w": torch.ones(1)}, "epoch": 1, "global_step": step, **state}, path)
    return path


def test_a_folder_is_resumed_from_its_last_checkpoint_and_not_from_its_best(tmp_path: Path) -> None:
    last, best = save(tmp_path / "ckpt" / "last.ckpt", 8), save(tmp_path / "ckpt" / "best.ckpt", 4)
    for given, expected in ((last.parent, last), ("true", last), (best, best)):
        found = find_resume(settings(tmp_path, f"config.RESUME={given}"), run_in(tmp_path / "ckpt"))
        assert found is not None and (found.path, found.global_step) == (expected, 8 if expected is last else 4)


def test_without_a_last_checkpoint_a_run_starts_afresh(tmp_path: Path) -> None:
    save(tmp_path / "last.ckpt", 8)
    assert find_resume(settings(tmp_path), run_in(tmp_path)) is None
    assert find_resume(settings(tmp_path, "config.RESUME=false"), run_in(tmp_path)) is None
    assert find_resume(settings(tmp_path, "config.RESUME=true"), run_in(tmp_path / "other")) is None


def test_a_missing_checkpoint_and_one_without_training_state_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nope.ckpt does not exist; give a checkpoint, the folder of a run, or true"):
        find_resume(settings(tmp_path, f"config.RESUME={tmp_path}/nope.ckpt"), run_in(tmp_path))
    weights = save(tmp_path / "w.ckpt", 8, trained=False)
    with pytest.raises(InputError, match=r"w.ckpt holds weights but no training state.*SAVE_OPTIMIZER=true"):
        find_resume(settings(tmp_path, f"config.RESUME={weights}"), run_in(tmp_path))


def stopped(batches: int, effective: int, accumulate: int, is_last: bool = False) -> dict[str, Any]:
    """Return what a checkpoint of the third epoch stores about where its run stopped."""
    batch = {"ready": batches, "started": batches, "processed": batches, "completed": batches - 1}
    epoch = {"ready": 3, "started": 3, "processed": 2, "completed": 2}
    config = {
        "TRAIN": {"BATCH_SIZE": {"effective_batch_size": effective}},
        "TRAINER": {"accumulate_grad_batches": accumulate},
    }
    loop = {
        "epoch_loop.batch_progress": {"current": batch, "is_last_batch": is_last},
        "epoch_progress": {"current": epoch},
    }
    return {"loops": {"fit_loop": loop}, "bassl": {"config": config}}


def training_data(effective: int, accumulate: int, processes: int = 1) -> TrainingData:
    spec = LoaderSpec(effective // accumulate // processes, num_processes=processes, accumulate=accumulate)
    return TrainingData(range(100), spec, seed=0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("before", "now", "processes", "batches"),
    [((6, 8, 1), (8, 1), 2, 6), ((6, 8, 1), (8, 4), 1, 24), ((6, 8, 1), (16, 1), 1, 3), ((3, 16, 1), (8, 2), 2, 12)],
)
def test_a_run_resumed_with_other_batches_starts_after_the_samples_that_are_done(
    before: tuple[int, int, int], now: tuple[int, int], processes: int, batches: int
) -> None:
    checkpoint, data = stopped(*before), training_data(*now, processes)
    assert resume_position(checkpoint, data) == (2, batches)
    restore_position(checkpoint, data)
    current = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]
    assert current == {"ready": batches, "started": batches, "processed": batches, "completed": batches - 1}
    assert data._position == (2, batches)


@pytest.mark.parametrize(("batches", "now"), [(3, (16, 1)), (1, (24, 3)), (12, (48, 1))])
def test_batches_that_do_not_end_where_the_run_stopped_are_refused(batches: int, now: tuple[int, int]) -> None:
    """With 48 samples per step the epoch of 100 ends after 96."""
    with pytest.raises(InputError, match=rf"after {8 * batches} samples .* in steps of 8, .* in steps of {now[0]};"):
        resume_position(stopped(batches, 8, 1), training_data(*now))
    assert resume_position(stopped(12, 8, 1, is_last=True), training_data(*now)) == (3, 0)

"""The folder of a run's checkpoints: one run at a time, and no rubbish."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bassl.config.plan import RunPlan
from bassl.dataset.datamodule import TrainingData
from bassl.errors import InputError, RunError
from bassl.training.checkpointing import SaveLast, go_on, owned, refuse_non_finite, resume_position, resumed_checkpoint


def run_in(folder: Path, dry_run: bool = False) -> RunPlan:
    return RunPlan("devel", 1, dry_run, False, folder / "ckpt", folder / "logs")


def test_a_second_run_in_a_folder_is_refused_until_the_first_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bassl.files.LOCK_PATIENCE", 0)
    run = run_in(tmp_path)
    with owned(run, True):
        with pytest.raises(InputError, match=f"another run is writing {run.checkpoint_folder}; wait for it"):
            owned(run, True).__enter__()
        with owned(run, False), owned(run_in(tmp_path, dry_run=True), True):
            pass
    with owned(run, True):
        pass
    assert list(run.checkpoint_folder.glob("[!.]*")) == []


def test_what_a_killed_run_left_half_written_is_removed_and_nothing_else(tmp_path: Path) -> None:
    run = run_in(tmp_path)
    run.checkpoint_folder.mkdir()
    names = [".123-0a1b2c3d.last.ckpt", "last.ckpt", ".hidden", "notes.txt"]
    for name in names:
        (run.checkpoint_folder / name).write_text("x")
    with owned(run, False):
        assert len(list(run.checkpoint_folder.iterdir())) == 4
    with owned(run, True):
        assert {path.name for path in run.checkpoint_folder.iterdir()} == {*names[1:], ".lock"}


def test_a_dry_run_makes_no_folder(tmp_path: Path) -> None:
    with owned(run_in(tmp_path, dry_run=True), True):
        assert list(tmp_path.iterdir()) == []


def stopped(batches: int, effective: int, accumulate: int, is_last: bool = False) -> dict[str, Any]:
    """What a checkpoint of the third epoch says about where its run stopped."""
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
    return TrainingData([], 100, effective // accumulate // processes, 0, 0, processes, accumulate)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("before", "now", "processes", "batches"),
    [
        ((6, 8, 1), (8, 1), 2, 6),
        ((6, 8, 1), (8, 4), 1, 24),
        ((6, 8, 2), (8, 1), 1, 3),
        ((6, 8, 1), (16, 1), 1, 3),
        ((3, 16, 1), (8, 2), 2, 12),
    ],
)
def test_a_run_with_other_batches_goes_on_after_the_samples_that_are_behind_it(
    before: tuple[int, int, int], now: tuple[int, int], processes: int, batches: int
) -> None:
    checkpoint, data = stopped(*before), training_data(*now, processes)
    assert resume_position(checkpoint, data) == (2, batches)
    go_on(checkpoint, data)
    current = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]
    assert current == {"ready": batches, "started": batches, "processed": batches, "completed": batches - 1}
    assert data._position == (2, batches)


@pytest.mark.parametrize(("batches", "now"), [(3, (16, 1)), (1, (24, 3)), (12, (48, 1))])
def test_batches_that_do_not_meet_the_place_where_a_run_stopped_are_refused(batches: int, now: tuple[int, int]) -> None:
    """With 48 samples a step the epoch of 100 is over after 96."""
    with pytest.raises(InputError, match=rf"after {8 * batches} samples .* in steps of 8, .* of {now[0]} goes on"):
        resume_position(stopped(batches, 8, 1), training_data(*now))
    assert resume_position(stopped(12, 8, 1, is_last=True), training_data(*now)) == (3, 0)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_weights_are_looked_at_all_at_once_and_by_name_only_where_one_is_no_number(
    value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look waits for the device."""
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2), torch.nn.Linear(2, 2).bfloat16())
    module[0].weight.data.fill_(3e38)  # finite, though its Euclidean norm is not
    looked: list[torch.Tensor] = []
    whole = torch.isfinite

    def look(tensor: torch.Tensor) -> torch.Tensor:
        looked.append(tensor)
        return whole(tensor)

    monkeypatch.setattr(torch, "isfinite", look)
    trainer: Any = SimpleNamespace(lightning_module=module, global_step=7)
    refuse_non_finite(trainer)
    assert looked == []
    module[2].bias.data[1] = value
    with pytest.raises(RunError, match=r"1 weights are not finite after step 7, such as 2\.bias;"):
        refuse_non_finite(trainer)


@pytest.mark.parametrize(("world_size", "asked"), [(1, list(range(1, 25))), (2, [10, 20])])
def test_ranks_ask_for_the_time_every_ten_steps_and_one_alone_always_knows_it(
    world_size: int, asked: list[int], tmp_path: Path
) -> None:
    steps: list[int] = []
    trainer: Any = SimpleNamespace(
        world_size=world_size, global_step=0, is_last_batch=False, accumulate_grad_batches=1,
        strategy=SimpleNamespace(broadcast=lambda late: steps.append(trainer.global_step)),
    )  # fmt: skip
    save = SaveLast(tmp_path, None, 30.0)
    save.on_train_start(trainer, None)  # type: ignore[arg-type]
    for step in range(1, 25):
        trainer.global_step = step
        save.on_train_batch_end(trainer, None, None, None, step)  # type: ignore[arg-type]
    assert steps == asked


def test_a_checkpoint_to_go_on_from_that_is_not_there_is_told_with_what_may_be_given(tmp_path: Path) -> None:
    run = replace(run_in(tmp_path), resume=tmp_path / "nope.ckpt")
    with pytest.raises(InputError) as refused:
        resumed_checkpoint(run)
    assert str(refused.value) == (
        f"config.RESUME={tmp_path}/nope.ckpt: there is no {tmp_path}/nope.ckpt; give a checkpoint, the folder of a "
        "run, or true for this run's own last.ckpt"
    )

"""What reaches Lightning's Trainer, the seeds of a run, and processes that end together."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from pytorch_lightning.strategies import DDPStrategy

from bassl.config.load import load
from bassl.errors import InputError, Preempted
from bassl.model.checkpoint import Checkpoint
from bassl.training import trainer as training
from bassl.training.device import Device
from bassl.training.run_folder import RunFolder
from bassl.training.trainer import SEED_VARIABLE, StopTogether, build_trainer, choose_seed, derived_seed
from tests.runs import ROOT

LAUNCHERS = ("LOCAL_RANK", "NODE_RANK", "TORCHELASTIC_RUN_ID", "SLURM_NTASKS", "SLURM_JOB_ID")
LOOP = {
    "max_epochs": 7, "max_steps": 90, "accumulate_grad_batches": 2, "gradient_clip_val": 0.5, "log_every_n_steps": 3,
    "limit_train_batches": 8, "limit_val_batches": 5, "progress_bar": "false",
}  # fmt: skip
PASSED_ON = {name: value for name, value in LOOP.items() if name != "progress_bar"}


def trainer_arguments(
    monkeypatch: pytest.MonkeyPatch, folder: Path, job: str = "pretrain", *more: str, device: Device | None = None
) -> dict[str, Any]:
    """Return the keyword arguments that `build_trainer` gives to Lightning's Trainer."""
    given: dict[str, Any] = {}

    def record(**arguments: Any) -> None:
        given.update(arguments)
        raise InterruptedError

    loop = [f"config.TRAINER.{name}={value}" for name, value in LOOP.items()]
    settings = ["config.DISTRIBUTED.NUM_PROC_PER_NODE=2", "config.DISTRIBUTED.NUM_NODES=3", "config.TEST.VAL_FREQ=4"]
    batch = "config.TRAIN.BATCH_SIZE.effective_batch_size=24"
    config = load(job, [*loop, *settings, batch, *more])
    run = RunFolder("devel", folder / "ckpt", folder / "logs", config.DRY_RUN)
    monkeypatch.setattr(training.pl, "Trainer", record)
    with pytest.raises(InterruptedError):
        build_trainer(config, run, device=device or Device("cpu", "bf16"), callbacks=[], title="training")
    return given


def test_every_key_of_the_loop_reaches_the_trainer(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given = trainer_arguments(monkeypatch, tmp_path)
    assert {name: given[name] for name in PASSED_ON} == PASSED_ON
    assert (given["devices"], given["num_nodes"], given["check_val_every_n_epoch"]) == (2, 3, 4)
    assert (given["precision"], given["accelerator"], given["benchmark"]) == ("bf16-mixed", "cpu", False)
    assert isinstance(given["strategy"], DDPStrategy) and given["strategy"]._ddp_kwargs["broadcast_buffers"] is False
    assert (given["use_distributed_sampler"], given["num_sanity_val_steps"]) == (False, 0)
    assert given["enable_progress_bar"] is False
    assert Path(given["logger"].log_dir) == tmp_path / "logs"


def test_unset_limits_are_none_at_all(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    unset = [f"config.TRAINER.{name}=null" for name in ("max_steps", "gradient_clip_val", "limit_train_batches")]
    given = trainer_arguments(monkeypatch, tmp_path, "pretrain", *unset, "config.TRAINER.limit_val_batches=null")
    assert (given["max_steps"], given["gradient_clip_val"]) == (-1, None)
    assert (given["limit_train_batches"], given["limit_val_batches"]) == (1.0, 1.0)
    assert type(given["limit_train_batches"]) is float  # 1 would be a single batch


def test_a_gpu_searches_the_fastest_convolution(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given = trainer_arguments(monkeypatch, tmp_path, device=Device("cuda", "fp16"))
    assert (given["accelerator"], given["benchmark"], given["precision"]) == ("gpu", True, "16-mixed")


def test_a_dry_run_takes_two_steps_and_one_validation_batch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given = trainer_arguments(monkeypatch, tmp_path, "pretrain", "config.DRY_RUN=true")
    assert (given["limit_train_batches"], given["accumulate_grad_batches"]) == (4, 2)
    assert (given["limit_val_batches"], given["max_epochs"], given["check_val_every_n_epoch"]) == (1, 1, 1)
    assert given["logger"] is False


def test_an_evaluation_reads_no_key_of_training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given = trainer_arguments(monkeypatch, tmp_path, "finetune", "config.LOAD_FROM=mine")
    assert (given["accumulate_grad_batches"], given["max_steps"], given["gradient_clip_val"]) == (1, -1, None)
    assert given["limit_val_batches"] == 5


# --- seeds ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def unlaunched(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment that no launcher has touched, without a drawn seed."""
    for name in (*LAUNCHERS, SEED_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def seeded(seed: int | None = None, processes: int = 2, nodes: int = 1) -> Any:
    given = [f"config.DISTRIBUTED.NUM_PROC_PER_NODE={processes}", f"config.DISTRIBUTED.NUM_NODES={nodes}"]
    return load("pretrain", [*given, f"config.SEED={'null' if seed is None else seed}"])


def test_a_given_seed_is_kept_zero_included_and_an_unset_one_is_drawn_once(unlaunched: pytest.MonkeyPatch) -> None:
    assert choose_seed(seeded(0), None) == 0
    assert SEED_VARIABLE not in training.os.environ
    drawn = choose_seed(seeded(), None)
    assert 0 <= drawn < 2**32
    assert choose_seed(seeded(), None) == drawn, "as the processes that Lightning starts find it"


def test_a_resumed_run_keeps_its_seed_unless_another_is_given(
    unlaunched: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    resumed = Checkpoint(tmp_path / "last.ckpt", {"w": torch.ones(1)}, metadata={"bassl": {"seed": 0}})
    assert choose_seed(seeded(), resumed) == choose_seed(seeded(0), resumed) == 0
    assert not caplog.messages
    assert choose_seed(seeded(5), resumed) == 5
    assert "config.SEED=5" in caplog.text and "was trained with 0" in caplog.text


@pytest.mark.parametrize(
    ("nodes", "launched"),
    [
        (1, {"LOCAL_RANK": "0", "TORCHELASTIC_RUN_ID": "x", "RANK": "0", "WORLD_SIZE": "2", "GROUP_RANK": "0"}),
        (1, {"SLURM_NTASKS": "2", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0"}),
        (1, {"LOCAL_RANK": "1"}),
        (2, {}),
    ],
    ids=["torchrun", "slurm", "by_hand", "several_machines"],
)
def test_processes_that_did_not_start_each_other_need_a_shared_seed(
    nodes: int, launched: dict[str, str], unlaunched: pytest.MonkeyPatch
) -> None:
    for name, value in launched.items():
        unlaunched.setenv(name, value)
    with pytest.raises(InputError, match=r"config\.SEED is unset.*set config\.SEED, or BASSL_SEED"):
        choose_seed(seeded(nodes=nodes), None)
    unlaunched.setenv(SEED_VARIABLE, "7")
    assert choose_seed(seeded(nodes=nodes), None) == 7
    unlaunched.setenv(SEED_VARIABLE, "seven")
    with pytest.raises(InputError, match="BASSL_SEED=seven is not a whole number"):
        choose_seed(seeded(nodes=nodes), None)


def test_derived_seeds_differ_with_every_part_and_are_reproducible() -> None:
    seeds = {derived_seed(seed, epoch, batch) for seed in range(3) for epoch in range(3) for batch in range(3)}
    assert len(seeds) == 27
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert derived_seed(1, 2, 3) == derived_seed(1, 2, 3)


# --- processes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("error", "kills"), [(ValueError("broken"), True), (Preempted("saved"), False)])
def test_an_error_kills_the_other_processes_and_a_signal_does_not(error: Exception, kills: bool) -> None:
    sent: list[int] = []
    trainer: Any = SimpleNamespace(strategy=SimpleNamespace(launcher=SimpleNamespace(kill=sent.append)))
    StopTogether().on_exception(trainer, None, error)  # type: ignore[arg-type]
    assert sent == [signal.SIGKILL] * kills


def test_a_process_that_failed_first_may_print_its_error_before_it_is_killed() -> None:
    """Another process notices the lost connection first, and would kill it."""
    events: list[str] = []

    def poll() -> int | None:
        events.append("poll")
        return 2 if len(events) == 3 else None

    launcher = SimpleNamespace(kill=lambda number: events.append("kill"), procs=[SimpleNamespace(poll=poll)])
    trainer: Any = SimpleNamespace(strategy=SimpleNamespace(launcher=launcher))
    StopTogether().on_exception(trainer, None, RuntimeError("[gloo/transport] closed"))  # type: ignore[arg-type]
    assert events == ["poll", "poll", "poll", "kill"]


CHILD = """
import threading
from bassl.training.processes import end_with_parent
end_with_parent()
print("watching", flush=True)
threading.Event().wait()
"""
PARENT = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {CHILD!r}])"


@pytest.mark.slow
def test_a_process_ends_when_its_parent_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "watching\n"
        parent.kill()
        _, err = parent.communicate(timeout=60)  # returns once the child has closed its end as well
    assert "the process that started it has ended" in err

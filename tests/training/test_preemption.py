"""A signal at any moment of training: what is saved, and that the rest follows bit for bit."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytorch_lightning as pl
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from pytorch_lightning.trainer.connectors.signal_connector import _SignalConnector

from bassl.errors import Preempted
from bassl.model.checkpoint import read_checkpoint
from bassl.pretrain import main as pretrain_main
from bassl.pretrain.module import PretrainModule
from bassl.training.preemption import CTRL_C, StopOnSignal, disable_lightning_signals, requeue
from tests.runs import PRETRAINING, all_scalars, assert_same_run, pretrain_overrides


def send_during(
    monkeypatch: pytest.MonkeyPatch, step: str, call: int, number: signal.Signals = signal.SIGTERM, times: int = 1
) -> None:
    """Send this process a signal while the n-th call of a method of the module is running."""
    whole, calls = getattr(PretrainModule, step), [0]

    def run(self: PretrainModule, *arguments: Any) -> Any:
        calls[0] += 1
        for _ in range(times if calls[0] == call else 0):
            os.kill(os.getpid(), number)
        return whole(self, *arguments)

    monkeypatch.setattr(PretrainModule, step, run)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "call", "saved"),
    [
        pytest.param("training_step", 1, 1, id="first_half_of_a_step"),
        pytest.param("validation_step", 1, 2, id="validation"),
    ],
)
def test_a_signal_saves_whole_steps_and_the_resumed_run_ends_with_the_same_weights(
    step: str,
    call: int,
    saved: int,
    finished: Path,
    tiny_movienet: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    overrides = [*pretrain_overrides(tiny_movienet, tmp_path), *PRETRAINING]
    with monkeypatch.context() as patch:
        send_during(patch, step, call)
        assert pretrain_main.main(overrides) == Preempted.EXIT_STATUS == 75
    assert f"stopped by SIGTERM after step {saved}; saved" in capsys.readouterr().err
    assert read_checkpoint(tmp_path / "pretrain/ckpt/devel").global_step == saved
    assert pretrain_main.main([*overrides, "config.RESUME=true"]) == 0
    assert_same_run(finished / "pretrain", tmp_path / "pretrain")
    assert all_scalars(tmp_path / "pretrain") == all_scalars(finished / "pretrain")


@pytest.fixture
def terminal() -> Iterator[None]:
    """Handle Ctrl-C as in a terminal; a shell ignores it for background jobs, and Lightning does after one."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.slow
@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize(("times", "final"), [(1, "interrupted after step 1; saved"), (2, "interrupted")])
def test_ctrl_c_saves_and_a_second_one_aborts(
    times: int, final: str, tiny_movienet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    send_during(monkeypatch, "training_step", 1, signal.SIGINT, times)
    assert pretrain_main.main([*pretrain_overrides(tiny_movienet, tmp_path), *PRETRAINING]) == 130
    lines = capfd.readouterr().err.splitlines()
    assert lines[-1].split(",")[0] == final
    assert lines.count(CTRL_C.decode().strip()) == 1
    assert (tmp_path / "pretrain/ckpt/devel/last.ckpt").exists() is (times == 1)


def test_handlers_are_installed_for_training_only_and_an_ignored_signal_stays_ignored(terminal: None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    before = signal.getsignal(signal.SIGTERM)
    stop = StopOnSignal(lambda trainer, within_epoch: None)
    stop.on_train_start(None, None)  # type: ignore[arg-type]
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGTERM) != before
    stop.teardown(None, None, "fit")  # type: ignore[arg-type]
    assert signal.getsignal(signal.SIGTERM) is before


def test_lightning_handles_no_signals() -> None:
    """Both methods that are disabled exist: a new Lightning that renames them fails here."""
    assert callable(_SignalConnector.register_signal_handlers)
    assert callable(_TrainingEpochLoop._broadcast_sigterm_tensor)
    before = signal.getsignal(signal.SIGTERM)
    trainer = pl.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    disable_lightning_signals(trainer)
    trainer._signal_connector.register_signal_handlers()
    assert signal.getsignal(signal.SIGTERM) is before
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor()


@pytest.mark.parametrize(("job", "called"), [("17", "requeue 17\n"), (None, None)])
def test_only_a_slurm_job_is_requeued(
    job: str | None, called: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program, record = tmp_path / "scontrol", tmp_path / "called"
    program.write_text(f'#!/bin/sh\necho "$@" > {record}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    if job:
        monkeypatch.setenv("SLURM_JOB_ID", job)
    requeue()
    assert (record.read_text() if record.exists() else None) == called


@pytest.mark.parametrize(("rank", "expected"), [(0, ["save", "requeue", "barrier"]), (1, ["save", "barrier"])])
def test_no_rank_exits_before_the_job_is_requeued(
    rank: int, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SLURM may end the job as soon as one of its processes exits."""
    done: list[str] = []
    strategy = SimpleNamespace(
        reduce_boolean_decision=lambda asked, all: True, barrier=lambda name: done.append("barrier")
    )
    trainer: Any = SimpleNamespace(world_size=2, is_global_zero=rank == 0, global_step=3, strategy=strategy)
    monkeypatch.setattr("bassl.training.preemption.requeue", lambda: done.append("requeue"))
    stop = StopOnSignal(lambda trainer, within_epoch: done.append("save"))
    stop._receive(signal.SIGUSR1, None)
    with pytest.raises(Preempted, match="stopped by SIGUSR1 after step 3"):
        stop.on_train_epoch_end(trainer, None)  # type: ignore[arg-type]
    assert done == expected

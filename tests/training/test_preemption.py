"""A signal at any moment of a training run: what is saved, what is said, and that the rest follows exactly."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
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
from bassl.training.preemption import AGAIN, StopOnSignal, requeue, take_signals_from_lightning
from tests.runs import pretrain_overrides
from tests.soak_jobs import scalars
from tests.training.test_resume import same_weights

TWO_EPOCHS = [
    "config.TRAINER.max_epochs=2",
    "config.TRAINER.limit_train_batches=4",
    "config.TRAINER.accumulate_grad_batches=2",
    "config.TRAIN.BATCH_SIZE.effective_batch_size=4",
]


@pytest.fixture(scope="module")
def alone(tiny_movienet: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody disturbs: two epochs of two steps of two micro-batches each, with validation."""
    out = tmp_path_factory.mktemp("alone")
    assert pretrain_main.main([*pretrain_overrides(tiny_movienet, out), *TWO_EPOCHS]) == 0
    return out / "pretrain" / "ckpt" / "devel"


def signalled(
    monkeypatch: pytest.MonkeyPatch, step: str, call: int, number: signal.Signals = signal.SIGTERM, times: int = 1
) -> None:
    """Let a signal come while the n-th call of a method of the module is running."""
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
        pytest.param("training_step", 2, 1, id="second_half"),
        pytest.param("training_step", 4, 2, id="last_step_of_an_epoch"),
        pytest.param("validation_step", 1, 2, id="validation"),
    ],
)
def test_a_signal_at_any_moment_saves_whole_steps_and_the_rest_follows_bit_for_bit(
    step: str,
    call: int,
    saved: int,
    alone: Path,
    tiny_movienet: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    overrides = [*pretrain_overrides(tiny_movienet, tmp_path), *TWO_EPOCHS]
    with monkeypatch.context() as patch:
        signalled(patch, step, call)
        assert pretrain_main.main(overrides) == Preempted.EXIT_STATUS == 75
    assert f"stopped by SIGTERM after step {saved}; saved" in capsys.readouterr().err
    last = tmp_path / "pretrain" / "ckpt" / "devel"
    assert read_checkpoint(last).global_step == saved
    assert pretrain_main.main([*overrides, "config.RESUME=true"]) == 0
    same_weights(alone, last)
    assert scalars(tmp_path / "pretrain/logs/devel") == scalars(alone.parents[1] / "logs/devel")


@pytest.fixture
def terminal() -> Iterator[None]:
    """Ctrl-C as from a terminal: a shell that has these tests in the background ignores it; Lightning does after it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.slow
@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize(
    ("times", "said", "saved"),
    [
        pytest.param(1, "interrupted after step 1; saved, config.RESUME=true goes on from there", True, id="once"),
        pytest.param(2, "interrupted", False, id="twice"),
    ],
)
def test_ctrl_c_saves_and_a_second_one_ends_the_run_in_the_middle_of_a_step(
    times: int,
    said: str,
    saved: bool,
    tiny_movienet: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    signalled(monkeypatch, "training_step", 1, signal.SIGINT, times)
    assert pretrain_main.main([*pretrain_overrides(tiny_movienet, tmp_path), *TWO_EPOCHS]) == 130
    lines = capfd.readouterr().err.splitlines()
    assert lines[-1] == said
    assert lines.count(AGAIN.decode().strip()) == 1
    assert (tmp_path / "pretrain" / "ckpt" / "devel" / "last.ckpt").exists() is saved


def test_ctrl_c_stays_ignored_where_it_was(terminal: None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stop = StopOnSignal(lambda trainer, within_epoch: None)
    stop.on_train_start(None, None)  # type: ignore[arg-type]
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    assert signal.getsignal(signal.SIGTERM) == stop._note
    stop.teardown(None, None, "fit")  # type: ignore[arg-type]


def test_lightning_takes_no_signals_and_asks_no_other_process_in_a_step() -> None:
    """The two methods that are put out of action are there: a new Lightning that renames them is noticed here."""
    assert callable(_SignalConnector.register_signal_handlers)
    assert callable(_TrainingEpochLoop._broadcast_sigterm_tensor)
    before = signal.getsignal(signal.SIGTERM)
    trainer = pl.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    take_signals_from_lightning(trainer)
    trainer._signal_connector.register_signal_handlers()
    assert signal.getsignal(signal.SIGTERM) is before
    trainer.fit_loop.epoch_loop._broadcast_sigterm_tensor()


def write_program(folder: Path, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "scontrol").write_text(f"#!/bin/sh\n{text}\n")
    (folder / "scontrol").chmod(0o755)


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Puts a stand-in for scontrol on the PATH and this process into job 17; gives the folder it may write to."""

    def set_up(text: str) -> Path:
        write_program(tmp_path / "bin", text.format(folder=tmp_path))
        monkeypatch.setenv("PATH", str(tmp_path / "bin"))
        monkeypatch.setenv("SLURM_JOB_ID", "17")
        return tmp_path

    return set_up


def test_a_slurm_job_asks_to_be_put_back_into_the_queue(
    slurm: Callable[[str], Path], caplog: pytest.LogCaptureFixture
) -> None:
    folder = slurm('echo "$@" > {folder}/called')
    with caplog.at_level("INFO"):
        requeue()
    assert (folder / "called").read_text() == "requeue 17\n"
    assert caplog.messages == ["SLURM job 17: requeued"]


def test_a_refused_requeue_is_told(slurm: Callable[[str], Path], caplog: pytest.LogCaptureFixture) -> None:
    slurm("echo no permission >&2; exit 1")
    with caplog.at_level("INFO"):
        requeue()
    assert caplog.messages == ["SLURM job 17: no permission"]


@pytest.mark.parametrize(("rank", "expected"), [(0, ["save", "requeue", "barrier"]), (1, ["save", "barrier"])])
def test_nobody_leaves_before_the_job_is_back_in_the_queue(
    rank: int, expected: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """SLURM may end the whole step as soon as one of its processes has ended with a status."""
    done: list[str] = []
    strategy = SimpleNamespace(
        reduce_boolean_decision=lambda asked, all: True, barrier=lambda name: done.append("barrier")
    )
    trainer: Any = SimpleNamespace(world_size=2, is_global_zero=rank == 0, global_step=3, strategy=strategy)
    monkeypatch.setattr("bassl.training.preemption.requeue", lambda: done.append("requeue"))
    stop = StopOnSignal(lambda trainer, within_epoch: done.append("save"))
    stop._note(signal.SIGUSR1, None)
    with pytest.raises(Preempted, match="stopped by SIGUSR1 after step 3"):
        stop.on_train_epoch_end(trainer, None)  # type: ignore[arg-type]
    assert done == expected


def test_outside_slurm_nothing_is_requeued(
    slurm: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = slurm("touch {folder}/called")
    monkeypatch.delenv("SLURM_JOB_ID")
    requeue()
    assert not (folder / "called").exists() and not caplog.messages

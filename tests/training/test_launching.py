"""Processes of a run: they meet although the port is taken, and none outlives another that failed."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from bassl.errors import InputError, Preempted
from bassl.training.launching import EndTogether, is_free, settle_port
from tests.runs import ROOT, pretrain_overrides, typed

LAUNCHERS = ("LOCAL_RANK", "NODE_RANK", "MASTER_PORT", "TORCHELASTIC_RUN_ID", "SLURM_NTASKS", "SLURM_JOB_ID")


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that another program listens on."""
    with socket.socket() as listener:
        listener.bind(("", 0))
        listener.listen()
        yield listener.getsockname()[1]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, taken: int) -> pytest.MonkeyPatch:
    """An environment that no launcher has touched, with MASTER_PORT set to a port that is taken."""
    for name in LAUNCHERS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MASTER_PORT", str(taken))
    return monkeypatch


def port() -> str | None:
    import os

    return os.environ.get("MASTER_PORT")


def test_a_port_is_free_until_something_listens_there_and_afterwards(taken: int) -> None:
    assert not is_free(taken)
    with socket.socket() as listener:
        listener.bind(("", 0))
        listener.listen()
        other = listener.getsockname()[1]
        assert not is_free(other)
    assert is_free(other)


def test_a_port_in_use_is_left_for_another_with_a_word(
    environment: pytest.MonkeyPatch, taken: int, caplog: pytest.LogCaptureFixture
) -> None:
    settle_port(num_processes=2, num_nodes=1)
    assert port() is None, "Lightning picks a free one"
    assert caplog.messages == [f"MASTER_PORT={taken} is in use; taking another"]


def test_a_free_port_is_kept(environment: pytest.MonkeyPatch, taken: int) -> None:
    with socket.socket() as listener:
        listener.bind(("", 0))
        free = str(listener.getsockname()[1])
    environment.setenv("MASTER_PORT", free)
    settle_port(num_processes=2, num_nodes=1)
    assert port() == free


def test_several_machines_have_to_be_told_of_another_port(environment: pytest.MonkeyPatch, taken: int) -> None:
    with pytest.raises(InputError, match=f"MASTER_PORT={taken} is in use on this machine; set another one, the same"):
        settle_port(num_processes=2, num_nodes=2)


@pytest.mark.parametrize(
    "launched",
    [
        {"LOCAL_RANK": "1"},
        {"NODE_RANK": "1"},
        {"LOCAL_RANK": "0", "TORCHELASTIC_RUN_ID": "x", "RANK": "0", "WORLD_SIZE": "2", "GROUP_RANK": "0"},
    ],
    ids=["another_process", "another_machine", "torchrun"],
)
def test_a_port_that_others_decide_is_left_alone(
    launched: dict[str, str], environment: pytest.MonkeyPatch, taken: int
) -> None:
    for name, value in launched.items():
        environment.setenv(name, value)
    settle_port(num_processes=2, num_nodes=1)
    assert port() == str(taken)


@pytest.mark.slow
def test_two_processes_train_although_the_port_is_taken(taken: int, tiny_movienet: Path, tmp_path: Path) -> None:
    two = ["config.DISTRIBUTED.NUM_PROC_PER_NODE=2", "config.TRAINER.accelerator=cpu", "config.DRY_RUN=true"]
    command = ["-m", "bassl.pretrain.main", *pretrain_overrides(tiny_movienet, tmp_path), *two]
    done = typed(command, env={"MASTER_PORT": str(taken)})
    assert done.returncode == 0, done.stderr[-3000:]
    assert f"MASTER_PORT={taken} is in use; taking another" in done.stderr


class Launcher:
    def __init__(self) -> None:
        self.signals: list[int] = []

    def kill(self, number: int) -> None:
        self.signals.append(number)


@pytest.mark.parametrize(
    ("error", "signals"), [(ValueError("broken"), [signal.SIGKILL]), (Preempted("saved"), [])], ids=["error", "signal"]
)
def test_an_error_ends_the_other_processes_and_leaving_after_a_signal_does_not(
    error: Exception, signals: list[int]
) -> None:
    launcher = Launcher()
    trainer: Any = SimpleNamespace(strategy=SimpleNamespace(launcher=launcher))
    EndTogether().on_exception(trainer, None, error)  # type: ignore[arg-type]
    assert launcher.signals == signals


def test_one_process_has_no_others_to_end() -> None:
    trainer: Any = SimpleNamespace(strategy=SimpleNamespace(launcher=None))
    EndTogether().on_exception(trainer, None, ValueError())  # type: ignore[arg-type]


CHILD = """
import threading
from bassl.training.processes import end_with_starter
end_with_starter()
print("watching", flush=True)
threading.Event().wait()
"""
PARENT = f"""
import subprocess, sys
subprocess.run([sys.executable, "-c", {CHILD!r}])
"""


@pytest.mark.slow
def test_a_process_ends_when_the_one_that_started_it_was_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "watching\n"
        parent.kill()
        _, said = parent.communicate(timeout=60)  # returns once the child has closed its end as well
    assert "the process that started this one has ended, so this one ends" in said

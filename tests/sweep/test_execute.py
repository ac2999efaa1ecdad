from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bassl.errors import InputError
from bassl.sweep.folder import DONE, FAILED, WAITING
from tests.runs import ROOT
from tests.sweep.pretend import pretended_run, run_sweep


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "sweep"


def num_lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def test_a_failed_step_ends_its_run_with_its_error_and_no_other_run(folder: Path) -> None:
    planned = [
        pretended_run(folder, "bad", ["say:Traceback", "say:error: no key-frames", "say:later", "fail:2"]),
        pretended_run(folder, "mute", ["fail:3"]),
        pretended_run(folder, "good", ["say:hello"]),
    ]
    sweep = run_sweep(folder, planned)
    bad, mute, good = ([sweep.record(run.name, step.name) for step in run.steps] for run in planned)
    assert [record.status for record in (*bad, *mute, *good)] == [FAILED, WAITING, FAILED, WAITING, DONE, DONE]
    assert (bad[0].error, mute[0].error, bad[1].attempts) == ("no key-frames", "exit status 3", 0)
    assert not (folder / "bad-seed0.txt").exists() and num_lines(folder / "good-seed0.txt") == 1
    output = sweep.output_path("good-seed0", "pretrain").read_text()
    assert output == "$ python3 -m tests.sweep.pretend step say:hello\nhello\n"


def test_done_steps_are_skipped_and_failed_ones_tried_again(folder: Path, tmp_path: Path) -> None:
    tried, once = tmp_path / "tried", tmp_path / "once"
    planned = [
        pretended_run(folder, "bad", [f"add:{tried}", "fail:1"]),
        pretended_run(folder, "good", [f"add:{once}"]),
    ]
    for _ in range(2):
        sweep = run_sweep(folder, planned)
    assert (num_lines(tried), num_lines(once), num_lines(folder / "good-seed0.txt")) == (2, 1, 1)
    assert [sweep.record(run.name, "pretrain").attempts for run in planned] == [2, 1]


def test_annotations_that_change_during_a_sweep_end_it(folder: Path, tmp_path: Path) -> None:
    labels = tmp_path / "anno.test.ndjson"
    labels.write_text("0 1 0\n")
    rows = {"a": [f"add:{labels}"], "b": [f"add:{tmp_path / 'second'}"]}
    planned = [pretended_run(folder, row, actions, annotations=(labels,)) for row, actions in rows.items()]
    with pytest.raises(InputError, match=r"anno\.test\.ndjson has changed since a-seed0"):
        run_sweep(folder, planned)
    assert not (tmp_path / "second").exists()


def test_two_jobs_share_the_runs_and_the_devices(folder: Path, tmp_path: Path) -> None:
    """Each run waits for the other: one after the other they would never end."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    planned = []
    for row, mode in (("a", "w"), ("b", "r")):
        code = f"import os\nopen({str(fifo)!r}, {mode!r}).close()\nprint(os.environ['CUDA_VISIBLE_DEVICES'])\n"
        (tmp_path / f"{row}.py").write_text(code)
        planned.append(pretended_run(folder, row, [f"run:{tmp_path / f'{row}.py'}"]))
    reports: list[int] = []
    sweep = run_sweep(folder, planned, jobs=2, devices=["3", "5"], after_run=lambda: reports.append(1))
    outputs = {sweep.output_path(run.name, "pretrain").read_text().splitlines()[-1] for run in planned}
    assert outputs == {"3", "5"} and reports == [1, 1]


def start(tmp_path: Path) -> tuple[subprocess.Popen[str], Path, Path]:
    """Start a sweep in a process; return it, a pipe that ends with its first step, and what that step saves."""
    fifo, saved = tmp_path / "fifo", tmp_path / "saved"
    os.mkfifo(fifo)
    folder = tmp_path / "sweep"
    command = [sys.executable, "-m", "tests.sweep.pretend", "sweep", str(folder), f"a=save:{saved},wait:{fifo}"]
    return subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True), fifo, saved


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_is_passed_to_the_step_which_saves(tmp_path: Path, number: signal.Signals) -> None:
    process, fifo, saved = start(tmp_path)
    with fifo.open() as pipe:  # opens when the step has opened it
        process.send_signal(number)
        assert pipe.read() == ""  # the step has ended
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 75
    assert f"stopped by {number.name}; run the same command to resume" in stderr
    assert saved.read_text() == number.name
    record = json.loads((tmp_path / "sweep" / "steps" / "a-seed0.pretrain.json").read_text())
    assert (record["status"], record["attempts"], record["seconds"]) == (WAITING, 1, None)


@pytest.mark.skipif(sys.platform != "linux", reason="uses prctl")
def test_a_step_saves_and_ends_with_a_sweep_that_is_killed(tmp_path: Path) -> None:
    process, fifo, saved = start(tmp_path)
    with fifo.open() as pipe:
        process.kill()
        assert pipe.read() == ""
    process.communicate(timeout=60)
    assert saved.read_text() == "SIGTERM"
    sweep = run_sweep(tmp_path / "sweep", [pretended_run(tmp_path / "sweep", "a", [])])
    records = [sweep.record("a-seed0", step) for step in ("pretrain", "extract")]
    assert [(record.status, record.attempts) for record in records] == [(DONE, 2), (DONE, 1)]

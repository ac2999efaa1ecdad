from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bassl.errors import InputError
from bassl.sweep import runs
from bassl.sweep.folder import DONE, FAILED, WAITING
from tests.runs import ROOT
from tests.sweep.pretend import pretended_run, run_sweep


@pytest.fixture(autouse=True)
def _own_modules(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "MODULES", dict(runs.MODULES))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "sweep"


def lines(path: Path) -> int:
    return len(path.read_text().splitlines())


def test_a_failed_run_is_noted_with_its_words_and_the_others_go_on(folder: Path) -> None:
    planned = [
        pretended_run(folder, "bad", ["say:Traceback", "say:error: no key-frames", "say:later", "fail:2"]),
        pretended_run(folder, "mute", ["fail:3"]),
        pretended_run(folder, "good", ["say:hello"]),
    ]
    sweep = run_sweep(folder, planned)
    bad, mute, good = ([sweep.record(run, step) for step in run.steps] for run in planned)
    assert [record.status for record in (*bad, *mute, *good)] == [FAILED, WAITING, FAILED, WAITING, DONE, DONE]
    assert bad[0].error == "no key-frames"
    assert mute[0].error == "exit status 3"
    assert bad[1].attempts == 0
    assert not (folder / "bad-seed0.txt").exists()
    assert lines(folder / "good-seed0.txt") == 1
    said = sweep.output(planned[2], planned[2].steps[0]).read_text()
    assert said == "$ python3 -m tests.sweep.pretend step say:hello\nhello\n"


def test_done_steps_are_not_done_again_and_failed_ones_are(folder: Path, tmp_path: Path) -> None:
    tried, once = tmp_path / "tried", tmp_path / "once"
    planned = [
        pretended_run(folder, "bad", [f"add:{tried}", "fail:1"]),
        pretended_run(folder, "good", [f"add:{once}"]),
    ]
    for _ in range(2):
        sweep = run_sweep(folder, planned)
    assert (lines(tried), lines(once), lines(folder / "good-seed0.txt")) == (2, 1, 1)
    assert sweep.record(planned[0], planned[0].steps[0]).attempts == 2
    assert sweep.record(planned[1], planned[1].steps[0]).attempts == 1


def test_annotations_that_change_while_a_sweep_is_at_work_end_it(folder: Path, tmp_path: Path) -> None:
    labels = tmp_path / "anno.test.ndjson"
    labels.write_text("0 1 0\n")
    rows = {"a": [f"add:{labels}"], "b": [f"add:{tmp_path / 'second'}"]}
    planned = [pretended_run(folder, row, actions, annotations=(labels,)) for row, actions in rows.items()]
    with pytest.raises(InputError, match=r"anno\.test\.ndjson has changed since a-seed0"):
        run_sweep(folder, planned)
    assert not (tmp_path / "second").exists()
    labels.write_text("0 1 0\n")
    run_sweep(folder, planned[1:])
    assert lines(tmp_path / "second") == 1


def test_two_jobs_share_the_runs_and_the_devices(folder: Path, tmp_path: Path) -> None:
    """Each waits for the other: one after the other they would never end."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    planned = []
    for row, mode in (("a", "w"), ("b", "r")):
        code = f"import os\nopen({str(fifo)!r}, {mode!r}).close()\nprint(os.environ['CUDA_VISIBLE_DEVICES'])\n"
        (tmp_path / f"{row}.py").write_text(code)
        planned.append(pretended_run(folder, row, [f"run:{tmp_path / f'{row}.py'}"]))
    reports: list[int] = []
    sweep = run_sweep(folder, planned, jobs=2, devices=["3", "5"], after_run=lambda: reports.append(1))
    said = {sweep.output(run, run.steps[0]).read_text().splitlines()[-1] for run in planned}
    assert said == {"3", "5"}
    assert reports == [1, 1]


def started(tmp_path: Path) -> tuple[subprocess.Popen[str], Path, Path]:
    """A sweep in a process of its own whose first step is at work, and the pipe that ends when the step
    does."""
    fifo, saved = tmp_path / "fifo", tmp_path / "saved"
    os.mkfifo(fifo)
    folder = tmp_path / "sweep"
    command = [sys.executable, "-m", "tests.sweep.pretend", "sweep", str(folder), f"a=save:{saved},wait:{fifo}"]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    return process, fifo, saved


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_is_handed_on_to_the_step_which_saves_itself(tmp_path: Path, number: signal.Signals) -> None:
    process, fifo, saved = started(tmp_path)
    with fifo.open() as pipe:  # opens when the step has opened it
        process.send_signal(number)
        assert pipe.read() == ""  # the step is gone
    _, said = process.communicate(timeout=60)
    assert process.returncode == 75
    assert f"stopped by {number.name}; the same command goes on from here" in said
    assert saved.read_text() == number.name
    record = json.loads((tmp_path / "sweep" / "steps" / "a-seed0.pretrain.json").read_text())
    assert (record["status"], record["attempts"], record["seconds"]) == (WAITING, 1, None)


def test_a_step_ends_with_a_sweep_that_is_killed(tmp_path: Path) -> None:
    process, fifo, saved = started(tmp_path)
    with fifo.open() as pipe:
        process.kill()
        assert pipe.read() == ""
    process.communicate(timeout=60)
    assert saved.read_text() == "SIGTERM"
    planned = [pretended_run(tmp_path / "sweep", "a", [])]
    sweep = run_sweep(tmp_path / "sweep", planned)
    assert [sweep.record(planned[0], step).status for step in planned[0].steps] == [DONE, DONE]
    assert sweep.record(planned[0], planned[0].steps[0]).attempts == 2

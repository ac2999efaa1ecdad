"""Faults injected into real runs: signals, kills, a full disk and broken key-frames."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from bassl.errors import Interrupted, Preempted
from bassl.model.checkpoint import read_checkpoint
from bassl.pretrain import extract_shot_repr
from bassl.pretrain import main as pretrain_main
from bassl.training.preemption import CTRL_C
from tests.runs import ROOT, assert_same_run, extract_overrides, files_no_larger_than, pretrain_overrides

ENDLESS = ["config.TRAINER.max_epochs=10000", "config.TEST.KNN_VALIDATION=false"]
TWO = ["config.DISTRIBUTED.NUM_PROC_PER_NODE=2", "config.TRAINER.accelerator=cpu"]


def start(overrides: list[str]) -> subprocess.Popen[str]:
    """Start a pre-training as from a terminal, where Ctrl-C is not ignored."""
    return subprocess.Popen(
        [sys.executable, "-m", "bassl.pretrain.main", *overrides],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 180
    while not path.exists():
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.02)


def end_of(process: subprocess.Popen[str], seconds: float = 120) -> tuple[int, str]:
    """Return exit code and standard error of a process, once all that share its pipe have ended."""
    try:
        _, err = process.communicate(timeout=seconds)
    finally:
        process.kill()
    return process.returncode, err


def last_checkpoint(out: Path) -> Path:
    return out / "pretrain/ckpt/devel/last.ckpt"


@pytest.mark.slow
def test_sigusr1_to_a_run_and_its_data_workers_saves_and_exits_with_75(tiny_movienet: Path, tmp_path: Path) -> None:
    """As SLURM sends it."""
    last = last_checkpoint(tmp_path)
    process = start([*pretrain_overrides(tiny_movienet, tmp_path), *ENDLESS, "config.TRAIN.NUM_WORKERS=1"])
    wait_for(last, process)
    os.killpg(process.pid, signal.SIGUSR1)
    status, err = end_of(process)
    assert status == Preempted.EXIT_STATUS == 75, err
    assert f"stopped by SIGUSR1 after step {read_checkpoint(last).global_step}; saved" in err.splitlines()[-1]


@pytest.mark.slow
def test_a_signal_to_one_of_two_processes_saves_and_ends_both(tiny_movienet: Path, tmp_path: Path) -> None:
    last, steps = last_checkpoint(tmp_path), "config.TRAINER.limit_train_batches=20"
    process = start([*pretrain_overrides(tiny_movienet, tmp_path), *ENDLESS, *TWO, steps])
    wait_for(last, process)
    process.send_signal(signal.SIGTERM)
    status, err = end_of(process)
    assert status == 75, err[-2000:]
    assert read_checkpoint(last).global_step > 0


@pytest.mark.slow
def test_ctrl_c_to_two_processes_and_their_workers_saves_and_says_so_once(tiny_movienet: Path, tmp_path: Path) -> None:
    """A terminal sends it to every process of the run, here within the first epoch."""
    last = last_checkpoint(tmp_path)
    long = ["config.TRAINER.limit_train_batches=1000", "config.TRAINER.checkpoint_every_n_steps=2"]
    workers = "config.TRAIN.NUM_WORKERS=1"
    process = start([*pretrain_overrides(tiny_movienet, tmp_path), *ENDLESS, *TWO, *long, workers])
    wait_for(last, process)
    os.killpg(process.pid, signal.SIGINT)
    status, err = end_of(process)
    assert status == Interrupted.EXIT_STATUS == 130, err[-2000:]
    lines = [line for line in err.splitlines() if "interrupted" in line]
    assert len(lines) == 2 and lines[0] == CTRL_C.decode().strip()
    assert lines[1].startswith(f"interrupted after step {read_checkpoint(last).global_step}; saved")
    assert "Traceback" not in err


@pytest.mark.slow
@pytest.mark.parametrize("which", ["first", "second"])
def test_when_one_of_two_processes_is_killed_the_other_ends(which: str, tiny_movienet: Path, tmp_path: Path) -> None:
    process = start([*pretrain_overrides(tiny_movienet, tmp_path), *ENDLESS, *TWO])
    wait_for(last_checkpoint(tmp_path), process)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    (child,) = [pid for pid in children if b"bassl" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(int(child) if which == "second" else process.pid, signal.SIGKILL)
    status, err = end_of(process, 60)
    assert status != 0
    lost = "error: another process of this run has ended, so this one stops"
    noticed = {  # by the connection, or by the process that watches the other, whichever is first
        "first": (lost, "the process that started it has ended"),
        "second": (lost, "Forcefully terminating all other processes"),
    }
    assert any(sentence in err for sentence in noticed[which]), err[-2000:]


@pytest.mark.slow
def test_two_killed_processes_are_resumed_and_end_with_the_weights_of_undisturbed_ones(
    tiny_movienet: Path, tmp_path: Path
) -> None:
    steps = ["config.TRAINER.max_epochs=2", "config.TRAINER.limit_train_batches=6", "config.TEST.KNN_VALIDATION=false"]
    often = ["config.TRAINER.checkpoint_every_n_steps=1", "config.RESUME=true"]
    killed, whole = (
        [*pretrain_overrides(tiny_movienet, tmp_path / name), *TWO, *steps, *often] for name in ("killed", "whole")
    )
    last = last_checkpoint(tmp_path / "killed")
    process = start(killed)
    wait_for(last, process)
    os.killpg(process.pid, signal.SIGKILL)
    end_of(process)
    assert 0 < read_checkpoint(last).global_step < 12
    for overrides in (killed, whole):
        status, err = end_of(start(overrides), 180)
        assert status == 0, err[-2000:]
    assert read_checkpoint(last).global_step == 12
    assert_same_run(tmp_path / "whole/pretrain", tmp_path / "killed/pretrain")


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_keeps_the_last_checkpoint(
    tiny_movienet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, calls = torch.save, [0]

    def fail_half_way(content: object, path: Path) -> None:
        calls[0] += 1
        whole(content, path)
        if calls[0] == 2:
            with path.open("r+b") as file:
                file.truncate(1000)
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("bassl.training.checkpointing.torch.save", fail_half_way)
    assert pretrain_main.main([*pretrain_overrides(tiny_movienet, tmp_path), *ENDLESS]) == 1
    last = last_checkpoint(tmp_path)
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"error: {last}: No space left on device; ")
    assert read_checkpoint(last).global_step == 2
    assert {path.name for path in last.parent.glob("[!.]*")} == {"config.json", "environment.json", "last.ckpt"}


# --- key-frames and features ----------------------------------------------------------------------------------------


def damaged(data: Path, folder: Path, *, broken: int = 0, missing: int = 0, whole_shot: bool = False) -> Path:
    """Copy a data set and damage its second film: truncated, missing, or a whole shot's missing key-frames."""
    shutil.copytree(data, folder)
    frames = folder / "240P_frames/tt0000002"
    for shot in range(1, 1 + broken):
        path = frames / f"shot_{shot:04d}_img_1.jpg"
        path.write_bytes(path.read_bytes()[:200])
    for shot in range(1, 1 + missing):
        (frames / f"shot_{shot:04d}_img_2.jpg").unlink()
    if whole_shot:
        for k in range(3):
            (frames / f"shot_0005_img_{k}.jpg").unlink()
    return folder


def extract(data: Path, finished: Path, features: Path, *more: str) -> int:
    overrides = [*extract_overrides(data, finished), f"config.FEATURE_PATH={features}", "config.LOAD_FROM=devel"]
    return extract_shot_repr.main([*overrides, *more])


def test_broken_key_frames_are_replaced_and_listed(tiny_movienet: Path, finished: Path, tmp_path: Path) -> None:
    data = damaged(tiny_movienet, tmp_path / "data", broken=3, missing=2)
    assert extract(data, finished, tmp_path / "features") == 0
    listed = {Path(line).name for line in (tmp_path / "features/broken_keyframes.txt").read_text().splitlines()}
    assert listed == {f"shot_{shot:04d}_img_1.jpg" for shot in (1, 2, 3)} | {
        f"shot_{shot:04d}_img_2.jpg" for shot in (1, 2)
    }
    one, two = (np.load(folder / "features/tt0000002.npy") for folder in (tmp_path, finished))
    assert np.flatnonzero((one != two).any(1)).tolist() == [1, 2, 3]


def test_too_many_broken_key_frames_end_the_run(
    tiny_movienet: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = damaged(tiny_movienet, tmp_path / "data", broken=15)
    assert extract(data, finished, tmp_path / "features") == 2
    list_file = tmp_path / "features/broken_keyframes.txt"
    assert str(list_file) in capsys.readouterr().err.splitlines()[-1]
    assert len(list_file.read_text().splitlines()) == 11
    assert extract(data, finished, tmp_path / "features", "config.DATA_FAULTS.max_share=0.5") == 0


def test_strict_mode_stops_at_the_first_broken_key_frame_also_in_a_data_worker(
    tiny_movienet: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = damaged(tiny_movienet, tmp_path / "data", broken=1)
    strict = ["config.DATA_FAULTS.strict=true", "config.TRAIN.NUM_WORKERS=1"]
    assert extract(data, finished, tmp_path / "features", *strict) == 2
    final = capsys.readouterr().err.splitlines()[-1]
    assert final.startswith("error: key-frame ") and "shot_0001_img_1.jpg cannot be decoded" in final


def test_an_extraction_that_stopped_does_only_what_is_left_and_ends_with_the_same_bytes(
    tiny_movienet: Path, finished: Path, tmp_path: Path
) -> None:
    data, features = damaged(tiny_movienet, tmp_path / "data", whole_shot=True), tmp_path / "features"
    assert extract(data, finished, features) == 2, "stops in the second film"
    first = (features / "tt0000001.npy").stat()
    assert extract(tiny_movienet, finished, features) == 0
    assert (features / "tt0000001.npy").stat().st_mtime_ns == first.st_mtime_ns
    for name in ("tt0000001.npy", "tt0000002.npy", "tt0000003.npy", "index.json"):
        assert (features / name).read_bytes() == (finished / "features" / name).read_bytes(), name


def test_an_extraction_that_cannot_write_says_so_in_one_line(
    tiny_movienet: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with files_no_larger_than(70_000):
        assert extract(tiny_movienet, finished, tmp_path / "features") == 1
    final = capsys.readouterr().err.splitlines()[-1]
    assert final.startswith(f"error: {tmp_path}/features/tt0000001.npy: File too large; ")
    assert final.endswith("run the same command to resume") or final.endswith("resumes")

"""Faults injected into real runs: what happens, what is said, and that nothing that was done is lost."""

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
from bassl.training.preemption import AGAIN
from tests.runs import ROOT, extract_overrides, files_no_larger_than, pretrain_overrides

ENDLESS = ["config.TRAINER.max_epochs=10000", "config.TEST.KNN_VALIDATION=false"]


def start(overrides: list[str]) -> subprocess.Popen[str]:
    """A run as from a terminal: a shell that puts these tests into the background lets all below ignore Ctrl-C."""
    command = [sys.executable, "-m", "bassl.pretrain.main", *overrides]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command,
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
        start_new_session=True,
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 180
    while not path.exists():
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.02)


def ends(process: subprocess.Popen[str], seconds: float = 60) -> tuple[int, str]:
    try:
        _, said = process.communicate(timeout=seconds)
    finally:
        process.kill()
    return process.returncode, said


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_saves_and_ends_with_the_documented_status(
    number: signal.Signals, tiny_movienet: Path, tmp_path: Path
) -> None:
    """Sent to data workers too, as SLURM does."""
    last = tmp_path / "pretrain" / "ckpt" / "devel" / "last.ckpt"
    process = start([*pretrain_overrides(tiny_movienet, tmp_path), *ENDLESS, "config.TRAIN.NUM_WORKERS=1"])
    wait_for(last, process)
    os.killpg(process.pid, number)
    status, said = ends(process)
    assert status == Preempted.EXIT_STATUS == 75, said
    sentence = said.strip().splitlines()[-1]
    step = read_checkpoint(last).global_step
    assert sentence == f"stopped by {number.name} after step {step}; saved, config.RESUME=true goes on from there"


@pytest.mark.slow
def test_a_signal_to_one_of_two_processes_saves_and_ends_both(tiny_movienet: Path, tmp_path: Path) -> None:
    last = tmp_path / "pretrain" / "ckpt" / "devel" / "last.ckpt"
    two = ["config.DISTRIBUTED.NUM_PROC_PER_NODE=2", "config.TRAINER.accelerator=cpu"]
    process = start(
        [*pretrain_overrides(tiny_movienet, tmp_path), *ENDLESS, *two, "config.TRAINER.limit_train_batches=20"]
    )
    wait_for(last, process)
    process.send_signal(signal.SIGTERM)
    status, said = ends(process, 120)
    assert status == 75, said[-2000:]
    assert read_checkpoint(last).global_step > 0


@pytest.mark.slow
@pytest.mark.parametrize("which", ["first", "second"])
def test_when_one_process_dies_the_others_end_within_a_minute(which: str, tiny_movienet: Path, tmp_path: Path) -> None:
    last = tmp_path / "pretrain" / "ckpt" / "devel" / "last.ckpt"
    two = ["config.DISTRIBUTED.NUM_PROC_PER_NODE=2", "config.TRAINER.accelerator=cpu"]
    process = start([*pretrain_overrides(tiny_movienet, tmp_path), *ENDLESS, *two])
    wait_for(last, process)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    (child,) = [pid for pid in children if b"bassl" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    os.kill(int(child) if which == "second" else process.pid, signal.SIGKILL)
    status, said = ends(process, 60)  # returns once both have closed their ends of the pipe
    assert status != 0
    lost = "error: another process of this run has ended, so this one ends; see what it says, and config.RESUME=true"
    noticed = {  # by the connection, or by the one of the two that looks after the other, whichever is first
        "first": (lost, "the process that started this one has ended, so this one ends"),
        "second": (lost, "Forcefully terminating all other processes"),
    }
    assert any(sentence in said for sentence in noticed[which]), said[-2000:]
    assert not Path(f"/proc/{child}").exists() or b"bassl" not in Path(f"/proc/{child}/cmdline").read_bytes()


@pytest.mark.slow
def test_two_processes_that_were_killed_end_with_the_weights_of_two_left_alone(
    tiny_movienet: Path, tmp_path: Path
) -> None:
    two = [
        "config.DISTRIBUTED.NUM_PROC_PER_NODE=2",
        "config.TRAINER.accelerator=cpu",
        "config.TEST.KNN_VALIDATION=false",
    ]
    steps = ["config.TRAINER.max_epochs=2", "config.TRAINER.limit_train_batches=6"]
    often = ["config.TRAINER.checkpoint_every_n_steps=1", "config.RESUME=true"]
    killed, alone = (
        [*pretrain_overrides(tiny_movienet, tmp_path / name), *two, *steps, *often] for name in ("killed", "alone")
    )
    last = tmp_path / "killed" / "pretrain" / "ckpt" / "devel" / "last.ckpt"
    process = start(killed)
    wait_for(last, process)
    os.killpg(process.pid, signal.SIGKILL)
    ends(process)
    assert 0 < read_checkpoint(last).global_step < 12
    for overrides in (killed, alone):
        status, said = ends(start(overrides), 180)
        assert status == 0, said[-2000:]
    resumed, unbroken = (
        read_checkpoint(tmp_path / name / "pretrain" / "ckpt" / "devel") for name in ("killed", "alone")
    )
    assert (resumed.global_step, unbroken.global_step) == (12, 12)
    assert resumed.state_dict.keys() == unbroken.state_dict.keys()
    for name, value in unbroken.state_dict.items():
        assert torch.equal(resumed.state_dict[name], value), name


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_ctrl_c_finishes_the_step_saves_and_says_so_once(processes: int, tiny_movienet: Path, tmp_path: Path) -> None:
    """A terminal sends it to every process of the run and to their data workers; the first epoch is not over yet."""
    last = tmp_path / "pretrain" / "ckpt" / "devel" / "last.ckpt"
    several = [f"config.DISTRIBUTED.NUM_PROC_PER_NODE={processes}", "config.TRAINER.accelerator=cpu"]
    long = ["config.TRAINER.limit_train_batches=1000", "config.TRAINER.checkpoint_every_n_steps=2"]
    process = start(
        [*pretrain_overrides(tiny_movienet, tmp_path), *ENDLESS, *several, *long, "config.TRAIN.NUM_WORKERS=1"]
    )
    wait_for(last, process)
    os.killpg(process.pid, signal.SIGINT)
    status, said = ends(process)
    assert status == Interrupted.EXIT_STATUS == 130, said[-2000:]
    step = read_checkpoint(last).global_step
    ending = [line for line in said.splitlines() if "interrupted" in line]
    assert ending == [
        AGAIN.decode().strip(),
        f"interrupted after step {step}; saved, config.RESUME=true goes on from there",
    ]
    assert "Traceback" not in said


@pytest.mark.slow
def test_a_full_disk_is_one_sentence_and_keeps_the_last_checkpoint(
    tiny_movienet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, calls = torch.save, [0]

    def fails_half_way(content: object, path: Path) -> None:
        calls[0] += 1
        whole(content, path)
        if calls[0] == 2:
            with path.open("r+b") as file:
                file.truncate(1000)
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("bassl.training.checkpointing.torch.save", fails_half_way)
    assert pretrain_main.main([*pretrain_overrides(tiny_movienet, tmp_path), *ENDLESS]) == 1
    folder = tmp_path / "pretrain" / "ckpt" / "devel"
    assert capsys.readouterr().err.strip().splitlines()[-1] == (
        f"error: {folder / 'last.ckpt'}: No space left on device; files written before are kept: fix this and "
        "resume with config.RESUME=true"
    )
    assert read_checkpoint(folder).global_step == 2
    assert sorted(path.name for path in folder.glob("[!.]*")) == ["config.json", "environment.json", "last.ckpt"]


def damaged(data: Path, folder: Path, *, broken: int = 0, missing: int = 0, whole_shot: bool = False) -> Path:
    """A copy of a data set with truncated, missing, or (a whole shot's) missing key-frames in its second film."""
    shutil.copytree(data, folder)
    frames = folder / "240P_frames" / "tt0000002"
    for shot in range(1, 1 + broken):
        path = frames / f"shot_{shot:04d}_img_1.jpg"
        path.write_bytes(path.read_bytes()[:200])
    for shot in range(1, 1 + missing):
        (frames / f"shot_{shot:04d}_img_2.jpg").unlink()
    if whole_shot:
        for k in range(3):
            (frames / f"shot_0005_img_{k}.jpg").unlink()
    return folder


@pytest.fixture(scope="module")
def encoder(tiny_movienet: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output folder with a pre-trained checkpoint."""
    out = tmp_path_factory.mktemp("encoder")
    assert pretrain_main.main([*pretrain_overrides(tiny_movienet, out), "config.TEST.KNN_VALIDATION=false"]) == 0
    return out


def extraction(data: Path, encoder: Path, features: Path, *more: str) -> int:
    overrides = [*extract_overrides(data, encoder), f"config.FEATURE_PATH={features}", "+config.LOAD_FROM=devel"]
    return extract_shot_repr.main([*overrides, *more])


def test_broken_key_frames_are_replaced_counted_and_listed(tiny_movienet: Path, encoder: Path, tmp_path: Path) -> None:
    data = damaged(tiny_movienet, tmp_path / "data", broken=3, missing=2)
    assert extraction(data, encoder, tmp_path / "features") == 0
    listed = (tmp_path / "features" / "broken_keyframes.txt").read_text().splitlines()
    assert sorted(Path(line).name for line in listed) == sorted(
        [f"shot_{shot:04d}_img_1.jpg" for shot in (1, 2, 3)] + [f"shot_{shot:04d}_img_2.jpg" for shot in (1, 2)]
    )
    assert extraction(tiny_movienet, encoder, tmp_path / "whole") == 0
    one, two = (np.load(tmp_path / name / "tt0000002.npy") for name in ("features", "whole"))
    changed = np.flatnonzero((one != two).any(1))
    assert changed.tolist() == [1, 2, 3]


@pytest.mark.slow
def test_data_workers_list_a_broken_key_frame_once_and_another_start_lists_its_own(
    tiny_movienet: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = damaged(tiny_movienet, tmp_path / "data", broken=9)
    more = ["config.TRAIN.NUM_WORKERS=2", "config.TRAIN.BATCH_SIZE.effective_batch_size=8"]
    starts = []
    for _ in range(2):
        assert pretrain_main.main([*pretrain_overrides(data, tmp_path), *more, "config.TEST.KNN_VALIDATION=false"]) == 0
        list_file = tmp_path / "pretrain" / "logs" / "devel" / "broken_keyframes.txt"
        starts.append(sorted(list_file.read_text().splitlines()))  # which worker comes first is chance
        said = f"{len(starts[0])} key-frames were missing or broken and were replaced; they are listed in {list_file}"
        assert capfd.readouterr().err.count(said) == 1
    assert starts[0] == starts[1], "the same seed draws the same key-frames"
    assert len(starts[0]) == len(set(starts[0])) > 1


def test_an_extraction_that_cannot_write_says_so_in_a_sentence_and_goes_on_later(
    tiny_movienet: Path, encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    features = tmp_path / "features"
    with files_no_larger_than(70_000):
        assert extraction(tiny_movienet, encoder, features) == 1
    assert capsys.readouterr().err.strip().splitlines()[-1] == (
        f"error: {features / 'tt0000001.npy'}: File too large; files written before are kept: fix this and run "
        "the same command to resume"
    )
    assert extraction(tiny_movienet, encoder, features) == 0


def test_too_many_broken_key_frames_end_the_run_with_the_list(
    tiny_movienet: Path, encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = damaged(tiny_movienet, tmp_path / "data", broken=15)
    assert extraction(data, encoder, tmp_path / "features") == 2
    sentence = capsys.readouterr().err.strip().splitlines()[-1]
    assert "11 of the first" in sentence and str(tmp_path / "features" / "broken_keyframes.txt") in sentence
    assert len((tmp_path / "features" / "broken_keyframes.txt").read_text().splitlines()) == 11
    assert extraction(data, encoder, tmp_path / "features", "config.DATA_FAULTS.max_share=0.5") == 0


@pytest.mark.parametrize("workers", [0, 1])
def test_strict_mode_stops_at_the_first_and_a_shot_without_any_always_stops(
    workers: int, tiny_movienet: Path, encoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    threads = f"config.TRAIN.NUM_WORKERS={workers}"
    one = damaged(tiny_movienet, tmp_path / "one", broken=1)
    assert extraction(one, encoder, tmp_path / "features", "config.DATA_FAULTS.strict=true", threads) == 2
    sentence = capsys.readouterr().err.strip().splitlines()[-1]
    assert sentence.startswith("error: key-frame ") and "shot_0001_img_1.jpg cannot be decoded" in sentence
    shot = damaged(tiny_movienet, tmp_path / "shot", whole_shot=True)
    assert extraction(shot, encoder, tmp_path / "features", threads) == 2
    sentence = capsys.readouterr().err.strip().splitlines()[-1]
    assert sentence.startswith("error: shot 5 of film tt0000002 has no readable key-frame")


def test_an_extraction_that_was_stopped_does_only_what_is_left_and_ends_with_the_same_bytes(
    tiny_movienet: Path, encoder: Path, tmp_path: Path
) -> None:
    data = damaged(tiny_movienet, tmp_path / "data", whole_shot=True)
    assert extraction(data, encoder, tmp_path / "features") == 2, "stops in the second film"
    first = (tmp_path / "features" / "tt0000001.npy").stat()
    shutil.rmtree(data)
    shutil.copytree(tiny_movienet, data)
    assert extraction(data, encoder, tmp_path / "features") == 0
    assert (tmp_path / "features" / "tt0000001.npy").stat().st_mtime_ns == first.st_mtime_ns
    assert extraction(tiny_movienet, encoder, tmp_path / "alone") == 0
    for name in ("tt0000001.npy", "tt0000002.npy", "tt0000003.npy", "index.json"):
        assert (tmp_path / "features" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes(), name

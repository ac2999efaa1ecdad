"""Kill and restart tiny runs at random moments; nothing may be missing in the end.

    python3 -m tests.soak --kills 300 [--jobs pretrain finetune extract prepare] [--seed 0] [--folder /dev/shm]

Every run is forked from this process, which has imported everything, so that a start takes milliseconds. One kill in
five is a SIGTERM, the others are SIGKILL. The tool compares checkpoints, scalars and files with those of an undisturbed
run, byte for byte. It prints one line per job and exits with 1 if anything differs.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import bassl.finetune.train
import bassl.pretrain.train  # noqa: F401
from bassl.errors import Preempted
from bassl.finetune import main as finetune
from bassl.model.checkpoint import read_checkpoint
from bassl.prepare import main as prepare
from bassl.pretrain import extract_shot_repr as extract
from bassl.pretrain import main as pretrain
from tests import runs
from tests.movienet import write_movienet
from tests.video.clips import write_clip

RECORDS = re.compile(r"\.?lock|\..*\.lock|(config|environment)(-\d+)?\.json|events\..*|.*\.ckpt")
"""Files that are compared otherwise, or of which a restart leaves one more."""


@dataclass(frozen=True)
class Job:
    """A command and what it needs.

    Attributes:
        arguments: from data set and output folder to the command's arguments.
        resume: what is added when the command is started again.
        needs: parts of a finished output that lie there before.
    """

    main: Callable[[list[str]], int]
    arguments: Callable[[Path, Path], list[str]]
    resume: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()


JOBS = {
    "pretrain": Job(
        pretrain.main,
        lambda data, out: [*runs.pretrain_overrides(data, out), *runs.PRETRAINING],
        ("config.RESUME=true",),
    ),
    "finetune": Job(
        finetune.main,
        lambda data, out: [*runs.finetune_overrides(data, out), *runs.FINETUNING, "config.TEST.SELECT_ON=val"],
        ("config.RESUME=true",),
        ("pretrain", "features"),
    ),
    "extract": Job(
        extract.main,
        lambda data, out: [*runs.extract_overrides(data, out), "config.LOAD_FROM=devel"],
        needs=("pretrain",),
    ),
    "prepare": Job(
        prepare.main, lambda data, out: [str(data.parent / "clips"), "--target", f"{out}/prepared", "--jobs", "2"]
    ),
}


def start(job: Job, arguments: list[str], log: Path) -> int:
    """Fork a process that runs a job; returns its pid."""
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    try:
        status = job.main(arguments)
    except BaseException:
        traceback.print_exc()
        status = 70
    sys.stderr.flush()
    os._exit(status)


def run(job: Job, arguments: list[str], log: Path, kill_after: float | None, number: int) -> int:
    """Run a job, killed after some seconds if it is not done; returns the exit code, negative for a signal."""
    pid, deadline = start(job, arguments, log), time.monotonic() + (kill_after or 600)
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.killpg(pid, number if kill_after else signal.SIGKILL)
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        time.sleep(0.002)


def results(out: Path, name: str) -> dict[str, Any]:
    """Return what a job left: tensors of checkpoints, scalars, and bytes of all other files."""
    found: dict[str, Any] = {}
    for path in sorted(out.rglob("*")):
        relative = str(path.relative_to(out))
        if path.is_file() and not RECORDS.fullmatch(path.name) and path.name != "all_score.json":  # holds its own path
            found[relative] = path.read_bytes()
        if path.suffix == ".ckpt":
            stored = read_checkpoint(path)
            found |= {f"{relative} {key}": value.numpy().tobytes() for key, value in stored.state_dict.items()}
            states = stored.metadata.get("optimizer_states", [])
            tensors = [
                torch.as_tensor(value)
                for state in states
                for entry in state["state"].values()
                for value in entry.values()
            ]
            found[f"{relative} optimiser"] = [tensor.numpy().tobytes() for tensor in tensors]
    if name in ("pretrain", "finetune"):
        found |= runs.all_scalars(out / name)
    return found


def make_inputs(folder: Path) -> tuple[Path, Path]:
    """Write data set and films, and finish one run of each training job; returns data set and output."""
    data, out = write_movienet(folder / "movienet"), folder / "finished"
    (folder / "clips").mkdir()
    for number in range(3):
        write_clip(folder / "clips" / f"film {number}.mp4", [24 + number, 40, 31, 50, 28] * 3)
    for name in ("pretrain", "extract", "finetune", "prepare"):
        status = run(JOBS[name], JOBS[name].arguments(data, out), folder / "finished.txt", None, 0)
        assert status == 0, (folder / "finished.txt").read_text()
    return data, out


def main() -> int:
    """Run the soak; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=list(JOBS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    draw, failed = random.Random(given.seed), False
    with tempfile.TemporaryDirectory(dir=given.folder) as place:
        data, finished = make_inputs(Path(place))
        for name in given.jobs:
            job, kills, rounds, different = JOBS[name], 0, 0, set[str]()
            while kills < given.kills / len(given.jobs):
                out, rounds, status = Path(place) / f"{name}{rounds}", rounds + 1, 1
                for part in job.needs:
                    shutil.copytree(finished / part, out / part)
                arguments, log = job.arguments(data, out), Path(place) / f"{name}{rounds}.txt"
                while status != 0:
                    number = signal.SIGTERM if draw.random() < 0.2 else signal.SIGKILL
                    status = run(job, arguments, log, draw.uniform(0.05, 4), number)
                    assert status in (0, -number, Preempted.EXIT_STATUS, 130, 1), (status, log.read_text()[-2000:])
                    kills += status != 0
                    arguments = [*job.arguments(data, out), *job.resume]
                expected, found = results(finished, name), results(out, name)
                folder = {"extract": "features", "prepare": "prepared"}.get(name, name)
                keys = [
                    key for key in expected.keys() | found.keys() if key.startswith((f"{folder}/", "train/", "val/"))
                ]
                different |= {key for key in keys if expected.get(key) != found.get(key)}
                shutil.rmtree(out)
            failed |= bool(different)
            print(f"{name}: {kills} kills in {rounds} runs; different: {', '.join(sorted(different)) or 'nothing'}")  # noqa: T201
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from bassl.config.load import OVERRIDE
from bassl.sweep.settings import RESERVED
from tests.runs import ROOT, extract_overrides, finetune_overrides, pretrain_overrides, typed


@dataclass(frozen=True)
class RealSweep:
    """A sweep over the tiny MovieNet that was killed during pre-training and started again."""

    data: Path
    experiment: Path
    folder: Path
    second: subprocess.CompletedProcess[str]


def tiny_experiment(path: Path, data: Path) -> Path:
    """Write an experiment of seconds: an untrained encoder, bassl, and a row that fails in its first step."""
    jobs = {"pretrain": pretrain_overrides, "extract": extract_overrides, "finetune": finetune_overrides}
    settings = []
    for job, overrides in jobs.items():
        given = [text for text in overrides(data, path.parent) if OVERRIDE.fullmatch(text)["name"] not in RESERVED]
        settings += [f"{job}:{text}" for text in given]
    rows = {
        "bassl": ["pretrain:config.TRAINER.max_epochs=3", "pretrain:config.TRAINER.checkpoint_every_n_steps=1"],
        "broken": [f"pretrain:config.IMG_PATH={path.parent / 'nowhere'}"],
        "random": ["+method=instance", "pretrain:config.TRAINER.max_epochs=0"],
    }
    OmegaConf.save({"about": "tiny", "seeds": [1], "settings": settings, "rows": rows}, path)
    return path


def kill_when(process: subprocess.Popen[bytes], path: Path) -> None:
    """Kill a process and its children as soon as a file exists, as when the machine goes down."""
    deadline = time.monotonic() + 120
    while not path.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.poll() is None, "the sweep was over before it could be killed"
    process.send_signal(signal.SIGSTOP)
    for child in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split():
        os.kill(int(child), signal.SIGKILL)
    process.kill()
    process.wait()


@pytest.fixture(scope="session")
def real_sweep(tiny_movienet: Path, tmp_path_factory: pytest.TempPathFactory) -> RealSweep:
    """Make a RealSweep once."""
    out = tmp_path_factory.mktemp("sweep")
    experiment, folder = tiny_experiment(out / "tiny.yaml", tiny_movienet), out / "results"
    command = ["-m", "bassl.sweep.main", str(experiment), "--output", str(folder), "--jobs", "2"]
    first = subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    kill_when(first, folder / "pretrain" / "ckpt" / "bassl-seed1" / "last.ckpt")
    return RealSweep(tiny_movienet, experiment, folder, typed(command))

"""The three commands: help, --cfg, and mistakes reported in one line before torch is imported."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

import bassl
from bassl.config.job import run_job
from bassl.config.load import load
from bassl.config.reference import known_keys
from bassl.config.schema import JOBS

PACKAGE = Path(bassl.__file__).parent
SCRIPTS = [
    PACKAGE / "pretrain" / "main.py",
    PACKAGE / "pretrain" / "extract_shot_repr.py",
    PACKAGE / "finetune" / "main.py",
]
FORBID_TORCH = """
import sys
class Refuse:
    def find_spec(self, name, *_):
        assert name.split(".")[0] not in ("torch", "torchvision", "pytorch_lightning"), f"imported {name}"
sys.meta_path.insert(0, Refuse())
"""
COMMANDS = f"""{FORBID_TORCH}
from bassl.pretrain import main as pretrain, extract_shot_repr as extract
from bassl.finetune import main as finetune
"""


def run(job: str, *argv: str, outputs: dict[str, Path] | None = None) -> tuple[int, list[Any]]:
    """Exit status, and the configurations that the job was called with."""
    started: list[Any] = []
    return run_job(job, started.append, outputs=lambda config: outputs or {}, about="About.", argv=argv), started


def test_a_run_gets_the_configuration_that_was_typed() -> None:
    assert run("pretrain", "config.SEED=3") == (0, [load("pretrain", ["config.SEED=3"])])


def test_a_mistake_is_one_line_on_stderr_and_status_two(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("pretrain", "config.LOSS.sampleing_method.name=shotcol") == (2, [])
    assert capsys.readouterr() == (
        "",
        "error: unknown key config.LOSS.sampleing_method.name; did you mean config.LOSS.sampling_method.name?\n",
    )


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_lists_every_key_with_value_and_meaning(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    for job in JOBS:
        assert run(job, "config.SEED=wrong", flag) == (0, [])
        printed = capsys.readouterr().out
        assert printed.startswith(f"About.\n\nusage: bassl {job} [config.KEY=VALUE ...]\n")
        for name, key in known_keys(job).items():
            assert f"  {name}={key.default}\n      {key.meaning}\n" in printed
        assert ("+method=bassl|bassl_shotcol|instance|shotcol|temporal" in printed) is (job == "pretrain")


@pytest.mark.parametrize("flags", [["--cfg"], ["--cfg", "job"]])
def test_cfg_prints_the_whole_configuration_and_stops(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    typed = ["config.DATA_PATH=/data: #1", "+method=bassl_shotcol"]
    assert run("pretrain", typed[0], *flags, typed[1]) == (0, [])
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed == {"config": asdict(load("pretrain", typed))}
    assert printed["config"]["DATA_PATH"] == "/data: #1"


def test_cfg_refuses_what_the_run_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    cases: list[tuple[str, str, dict[str, Path]]] = [
        ("config.TRAINER.precision=17", "is unknown", {}),
        ("config.TRANSFORM.test.crop=300", "must be at most", {}),
        ("config.SEED=1", "cannot be written", {"config.LOG_PATH": tmp_path / "file"}),
    ]
    for override, text, outputs in cases:
        for flags in ([], ["--cfg"]):
            assert run("pretrain", override, *flags, outputs=outputs) == (2, [])
            printed, said = capsys.readouterr()
            assert (printed, text in said) == ("", True)
    status, started = run("pretrain", "config.DRY_RUN=true", outputs=cases[-1][2])
    assert (status, len(started)) == (0, 1), "a dry run writes nothing"


def test_mistakes_help_and_cfg_are_answered_without_torch(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code = f"""{COMMANDS}
there = ["config.LOG_PATH={tmp_path}/logs", "config.CKPT_PATH={tmp_path}/ckpt"]
statuses = [
    pretrain.main(["config.EXPRNAME=x"]),
    pretrain.main([*there, "config.LOG_PATH={tmp_path}/file"]),
    extract.main(["config.LOAD_FROM=x", "config.FEATURE_PATH={tmp_path}/file"]),
    finetune.main([*there, "config.PRETRAINED_LOAD_FROM=x", "config.CKPT_PATH={tmp_path}/file"]),
    finetune.main([*there, "config.LOAD_FROM=/x/y", "config.LOG_PATH={tmp_path}/file"]),
    pretrain.main([*there, "--cfg"]), extract.main(["-h"]), finetune.main(["-h"]),
]
assert statuses == [2, 2, 2, 2, 2, 0, 0, 0], statuses
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent, check=False)
    assert done.returncode == 0, done.stderr
    keys = [line.rsplit(" ", 1)[-1] for line in done.stderr.splitlines()]
    assert keys[1:] == ["config.LOG_PATH", "config.FEATURE_PATH", "config.CKPT_PATH", "config.LOG_PATH"]


def test_scripts_start_by_path_from_anywhere(tmp_path: Path) -> None:
    assert len(SCRIPTS) == len(JOBS)
    for script in SCRIPTS:
        command = [sys.executable, str(script), "config.DRY_RUNS=x"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={"PATH": ""}, check=False)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == "error: unknown key config.DRY_RUNS; did you mean config.DRY_RUN?\n"

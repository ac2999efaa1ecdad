"""What a run writes down about itself, also in parts, and what is said about settings that changed on the way."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from bassl import __version__
from bassl.model.checkpoint import Checkpoint
from bassl.pretrain import main as pretrain_main
from bassl.training.records import PACKAGES, record_run, warn_of_changes
from tests.runs import ROOT, pretrain_overrides, typed


def test_a_run_records_code_command_packages_machine_and_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["main.py", "config.A=1"])
    record_run(tmp_path, {"SEED": None, "A": {"B": 1}}, 7, {"sha256": {"x": "y"}})
    assert json.loads((tmp_path / "config.json").read_text()) == {"SEED": 7, "A": {"B": 1}}
    found = json.loads((tmp_path / "environment.json").read_text())
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=40"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert found["bassl"] == __version__
    assert found["commit"] == (described.stdout.strip() or None)
    assert found["command"] == ["main.py", "config.A=1"]
    assert found["python"] == platform.python_version()
    assert found["packages"] == {name: importlib.metadata.version(name) for name in PACKAGES}
    assert found["data"] == {"sha256": {"x": "y"}}


def test_the_repository_around_an_installed_package_is_not_its_commit(tmp_path: Path) -> None:
    """As in a project whose environment lies in its folder."""
    installed = tmp_path / ".venv" / "site-packages"
    shutil.copytree(ROOT / "bassl", installed / "bassl", ignore=shutil.ignore_patterns("__pycache__"))
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-C", str(tmp_path)]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "theirs"]):
        subprocess.run([*git, *words], check=True)
    ask = [sys.executable, "-c", "from bassl.training.records import _commit; print(_commit())"]
    said = subprocess.run(ask, cwd=installed, env={**os.environ, "PYTHONPATH": str(installed)}, capture_output=True)
    assert said.stdout == b"None\n", said.stderr


def test_a_package_under_another_name_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """pillow-simd stands in for pillow without its name."""
    monkeypatch.setattr("bassl.training.records.PACKAGES", ("torch", "pillow-of-another-name"))
    record_run(tmp_path, {}, 7, {})
    packages = json.loads((tmp_path / "environment.json").read_text())["packages"]
    assert packages == {"torch": importlib.metadata.version("torch"), "pillow-of-another-name": None}


@pytest.mark.slow
def test_a_run_as_typed_leaves_its_records_beside_checkpoint_and_logs(tiny_movienet: Path, tmp_path: Path) -> None:
    overrides = [*pretrain_overrides(tiny_movienet, tmp_path), "config.TEST.KNN_VALIDATION=false"]
    done = typed(["-m", "bassl.pretrain.main", *overrides])
    assert done.returncode == 0, done.stderr
    for folder in ("ckpt", "logs"):
        found = json.loads((tmp_path / "pretrain" / folder / "devel" / "environment.json").read_text())
        assert found["command"][1:] == overrides
        assert set(found["data"]["sha256"]) == {"anno.pretrain.ndjson"}
        assert len(found["data"]["keyframes"]["first_of_films_sha256"]) == 64
        assert json.loads((tmp_path / "pretrain" / folder / "devel" / "config.json").read_text())["SEED"] == 1
    assert "resumable" not in done.stderr and "across ranks is zero" not in done.stderr


def test_a_resumed_part_leaves_the_records_of_the_first_and_adds_its_own(tmp_path: Path) -> None:
    for part in (1, 2, 3):
        record_run(tmp_path, {"PART": part}, 7, {})
    names = ["config.json", "config-2.json", "config-3.json"]
    assert [json.loads((tmp_path / name).read_text())["PART"] for name in names] == [1, 2, 3]
    assert len(list(tmp_path.glob("environment*.json"))) == 3


def test_changed_settings_are_named_in_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = {"A": {"B": 1, "C": [1, 2]}, "GONE": True, "RESUME": None, "SEED": None, "EXPR_NAME": "x"}
    stored = Checkpoint(tmp_path / "last.ckpt", {"w": torch.ones(1)}, metadata={"bassl": {"config": before}})
    warn_of_changes(stored, {**before, "RESUME": True, "SEED": 3, "EXPR_NAME": "y"})
    assert caplog.messages == []
    warn_of_changes(stored, {"A": {"B": 2, "C": [1, 2]}, "RESUME": True})
    assert caplog.messages == [
        f"other settings than {tmp_path}/last.ckpt was trained with: config.A.B 1 -> 2, config.GONE true -> null"
    ]
    warn_of_changes(Checkpoint(tmp_path, {}, metadata={}), {})
    assert len(caplog.messages) == 1


@pytest.mark.slow
def test_a_run_that_goes_on_keeps_its_first_records_and_names_what_changed(
    tiny_movienet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    overrides = [*pretrain_overrides(tiny_movienet, tmp_path), "config.TEST.KNN_VALIDATION=false"]
    assert pretrain_main.main(overrides) == 0
    folders = [tmp_path / "pretrain" / folder / "devel" for folder in ("ckpt", "logs")]
    before = [(folder / name).read_bytes() for folder in folders for name in ("config.json", "environment.json")]
    capsys.readouterr()
    assert pretrain_main.main([*overrides, "config.RESUME=true", "config.TRAINER.max_epochs=2"]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "other settings" in line]
    assert len(said) == 1 and said[0].endswith("last.ckpt was trained with: config.TRAINER.max_epochs 1 -> 2")
    assert before == [
        (folder / name).read_bytes() for folder in folders for name in ("config.json", "environment.json")
    ]
    assert all((folder / "environment-2.json").is_file() for folder in folders)

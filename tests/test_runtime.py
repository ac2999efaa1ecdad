"""What a run writes down about itself, so that it can be done again."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import subprocess
from pathlib import Path

import pytest

from bassl import __version__
from bassl.runtime import PACKAGES, record_run
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

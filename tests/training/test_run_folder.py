"""One run at a time in a folder, records of what it was, and nothing trained earlier is overwritten."""

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
from bassl.config.load import load
from bassl.errors import InputError
from bassl.model.checkpoint import Checkpoint
from bassl.training import run_folder as folders
from bassl.training.run_folder import (
    PACKAGES,
    RunFolder,
    archive_previous_run,
    lock_run,
    record_run,
    run_folder,
    warn_of_changes,
)
from tests.runs import ROOT


def run_in(folder: Path, dry_run: bool = False) -> RunFolder:
    return RunFolder("devel", folder / "ckpt", folder / "logs", dry_run)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = run_in(tmp_path)
    run.checkpoints.mkdir()
    run.logs.mkdir()
    return run


def leave(folder: Path, *names: str, content: str = "x") -> None:
    for name in names:
        (folder / name).write_text(content)
        os.utime(folder / name, (1e9, 1e9))


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("[!.]*")}


def test_folders_are_named_after_the_run_below_the_given_paths(tmp_path: Path) -> None:
    given = [f"config.CKPT_PATH={tmp_path}/c", f"config.LOG_PATH={tmp_path}/l", "config.EXPR_NAME=mine"]
    found = run_folder(load("pretrain", [*given, "config.DRY_RUN=true"]), job="pretrain")
    assert found == RunFolder("mine", tmp_path / "c" / "mine", tmp_path / "l" / "mine", True)
    assert run_folder(load("pretrain", given), job="pretrain", name="other").checkpoints == tmp_path / "c" / "other"


def test_a_second_run_in_a_folder_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    run = run_in(tmp_path)
    with lock_run(run, is_writer=True):
        with pytest.raises(InputError, match=f"another run is writing {run.checkpoints}; wait for it"):
            lock_run(run, is_writer=True).__enter__()
        with lock_run(run, is_writer=False), lock_run(run_in(tmp_path, dry_run=True), is_writer=True):
            pass
    with lock_run(run, is_writer=True):
        pass


def test_the_writer_removes_half_written_files_of_a_killed_run(run: RunFolder) -> None:
    half, kept = ".123-0a1b2c3d.last.ckpt", {"last.ckpt", ".hidden"}
    leave(run.checkpoints, half, *kept)
    with lock_run(run, is_writer=False):
        assert (run.checkpoints / half).exists()
    with lock_run(run, is_writer=True):
        assert set(os.listdir(run.checkpoints)) - {".lock"} == kept


def test_a_dry_run_makes_no_folder(tmp_path: Path) -> None:
    with lock_run(run_in(tmp_path, dry_run=True), is_writer=True):
        assert not os.listdir(tmp_path)


# --- earlier runs of the same name ----------------------------------------------------------------------------------


def test_checkpoints_of_earlier_runs_are_kept_also_of_the_same_second(run: RunFolder) -> None:
    for content in ("first", "second"):
        leave(run.checkpoints, "last.ckpt", "best.ckpt", content=content)
        archive_previous_run(run)
    found = {path.name: path.read_text() for path in run.checkpoints.iterdir()}
    assert sorted(found.values()) == ["first", "first", "second", "second"]
    assert all(name.startswith("earlier-2001") and name.endswith(".ckpt") for name in found)
    assert sum("-best" in name for name in found) == 2


@pytest.mark.parametrize(
    ("resume", "stay"),
    [
        ("ckpt/../ckpt/last.ckpt", {"last.ckpt", "best.ckpt"}),
        ("ckpt/best.ckpt", {"best.ckpt"}),
        ("other.ckpt", set()),
    ],
)
def test_only_a_run_resumed_from_its_own_last_checkpoint_overwrites_it(
    resume: str, stay: set[str], run: RunFolder, tmp_path: Path
) -> None:
    leave(tmp_path, "other.ckpt")
    leave(run.checkpoints, "last.ckpt", "best.ckpt")
    archive_previous_run(run, tmp_path / resume)
    found = names_in(run.checkpoints)
    assert {name for name in found if not name.startswith("earlier-")} == stay
    assert len(found) == 2


def test_a_folder_with_a_published_model_is_refused_and_unchanged(run: RunFolder) -> None:
    torch.save({"state_dict": {"shot_encoder.conv1.weight": torch.ones(1)}, "epoch": 9}, run.checkpoints / "v1.ckpt")
    leave(run.checkpoints, "config.json", "last.ckpt", content="{}")
    with pytest.raises(InputError, match=r"v1.ckpt was not saved by .* set config.EXPR_NAME to another name"):
        archive_previous_run(run)
    assert names_in(run.checkpoints) == {"v1.ckpt", "config.json", "last.ckpt"}


def test_a_copy_of_our_own_checkpoint_stays(run: RunFolder) -> None:
    torch.save({"state_dict": {"w": torch.ones(1)}, "bassl": {"seed": 1}}, run.checkpoints / "epoch9.ckpt")
    archive_previous_run(run)
    assert names_in(run.checkpoints) == {"epoch9.ckpt"}


def test_records_of_earlier_runs_are_archived_and_pictures_stay(run: RunFolder) -> None:
    records = {"config.json", "environment.json", "events.out.tfevents.1.x.2.0", "broken_keyframes.txt"}
    leave(run.logs, *records, "timeline.png")
    archive_previous_run(run)
    (kept,) = run.logs.glob("earlier-2001*")
    assert names_in(run.logs) == {"timeline.png", kept.name}
    assert names_in(kept) == records
    archive_previous_run(run)
    assert len(names_in(run.logs)) == 2, "nothing left to archive"


# --- records --------------------------------------------------------------------------------------------------------


def test_a_run_records_code_command_packages_machine_and_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["main.py", "config.A=1"])
    monkeypatch.setattr(folders, "PACKAGES", (*PACKAGES, "pillow-of-another-name"))
    record_run(tmp_path, {"SEED": None, "A": {"B": 1}}, 7, {"sha256": {"x": "y"}})
    assert json.loads((tmp_path / "config.json").read_text()) == {"SEED": 7, "A": {"B": 1}}
    found = json.loads((tmp_path / "environment.json").read_text())
    describe = ["git", "describe", "--always", "--dirty", "--abbrev=40"]
    described = subprocess.run(describe, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found["bassl"] == __version__
    assert found["commit"] == (described.stdout.strip() or None)
    assert (found["command"], found["python"]) == (["main.py", "config.A=1"], platform.python_version())
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    assert found["packages"] == {**versions, "pillow-of-another-name": None}
    assert found["data"] == {"sha256": {"x": "y"}}


@pytest.mark.slow
def test_the_repository_around_an_installed_package_is_not_its_commit(tmp_path: Path) -> None:
    installed = tmp_path / ".venv" / "site-packages"
    shutil.copytree(ROOT / "bassl", installed / "bassl", ignore=shutil.ignore_patterns("__pycache__"))
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", "-C", str(tmp_path)]
    for words in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "theirs"]):
        subprocess.run([*git, *words], check=True)
    ask = [sys.executable, "-c", "from bassl.training.run_folder import _commit; print(_commit())"]
    done = subprocess.run(ask, cwd=installed, env={**os.environ, "PYTHONPATH": str(installed)}, capture_output=True)
    assert done.stdout == b"None\n", done.stderr


def test_a_resumed_run_keeps_the_first_records_and_adds_its_own(tmp_path: Path) -> None:
    for part in (1, 2, 3):
        record_run(tmp_path, {"PART": part}, 7, {})
    names = ["config.json", "config-2.json", "config-3.json"]
    assert [json.loads((tmp_path / name).read_text())["PART"] for name in names] == [1, 2, 3]
    assert len(list(tmp_path.glob("environment*.json"))) == 3


def test_changed_settings_are_listed_in_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    before = {"A": {"B": 1, "C": [1, 2]}, "GONE": True, "RESUME": None, "SEED": None, "EXPR_NAME": "x"}
    stored = Checkpoint(tmp_path / "last.ckpt", {"w": torch.ones(1)}, metadata={"bassl": {"config": before}})
    warn_of_changes(stored, {**before, "RESUME": True, "SEED": 3, "EXPR_NAME": "y"})
    warn_of_changes(Checkpoint(tmp_path, {}, metadata={}), {})
    assert caplog.messages == []
    warn_of_changes(stored, {"A": {"B": 2, "C": [1, 2]}, "RESUME": True})
    (message,) = caplog.messages
    assert message.endswith("last.ckpt: config.A.B 1 -> 2, config.GONE true -> null")

"""A folder that an earlier run of the same name left: nothing that was trained is overwritten."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bassl.config.plan import RunPlan
from bassl.earlier import keep_earlier


@pytest.fixture
def run(tmp_path: Path) -> RunPlan:
    (tmp_path / "ckpt").mkdir()
    (tmp_path / "logs").mkdir()
    return RunPlan("devel", 1, False, None, tmp_path / "ckpt", tmp_path / "logs")


def leave(folder: Path, *names: str, content: str = "x") -> None:
    for name in names:
        (folder / name).write_text(content)
        os.utime(folder / name, (1e9, 1e9))


def test_checkpoints_of_earlier_runs_are_kept_also_of_the_same_second(run: RunPlan) -> None:
    for content in ("first", "second"):
        leave(run.checkpoint_folder, "last.ckpt", "best.ckpt", content=content)
        keep_earlier(run)
    found = {path.name: path.read_text() for path in run.checkpoint_folder.iterdir()}
    assert sorted(found.values()) == ["first", "first", "second", "second"]
    assert all(name.startswith("earlier-2001") and name.endswith(".ckpt") for name in found)
    assert sum("-best" in name for name in found) == 2


@pytest.mark.parametrize(
    ("resume", "stay"),
    [
        ("ckpt/last.ckpt", {"last.ckpt", "best.ckpt"}),
        ("ckpt/../ckpt/last.ckpt", {"last.ckpt", "best.ckpt"}),
        ("ckpt/best.ckpt", {"best.ckpt"}),
        ("other.ckpt", set()),
    ],
)
def test_only_a_run_that_goes_on_from_the_last_checkpoint_here_writes_over_it(
    resume: str, stay: set[str], run: RunPlan, tmp_path: Path
) -> None:
    leave(tmp_path, "other.ckpt")
    leave(run.checkpoint_folder, "last.ckpt", "best.ckpt")
    keep_earlier(run, tmp_path / resume)
    found = {path.name for path in run.checkpoint_folder.iterdir()}
    assert {name for name in found if not name.startswith("earlier-")} == stay
    assert len(found) == 2

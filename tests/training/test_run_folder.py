"""A folder that an earlier run of the same name left: nothing that was trained is overwritten."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from bassl.config.plan import RunPlan
from bassl.pretrain import main as pretrain_main
from bassl.training.run_folder import keep_earlier
from tests.runs import pretrain_overrides
from tests.soak_jobs import scalars


@pytest.fixture
def run(tmp_path: Path) -> RunPlan:
    (tmp_path / "ckpt").mkdir()
    (tmp_path / "logs").mkdir()
    return RunPlan("devel", 1, False, False, tmp_path / "ckpt", tmp_path / "logs")


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


@pytest.mark.parametrize("name", ["model-v1.ckpt", "last.ckpt"])
def test_a_folder_with_a_published_model_is_refused_and_left_as_it_is(
    name: str, tiny_movienet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "pretrain" / "ckpt" / "devel"
    folder.mkdir(parents=True)
    torch.save({"state_dict": {"shot_encoder.conv1.weight": torch.ones(1)}, "epoch": 9}, folder / name)
    (folder / "config.json").write_text(json.dumps({"published": True}))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert pretrain_main.main(pretrain_overrides(tiny_movienet, tmp_path)) == 2
    said = capsys.readouterr().err
    assert f"{folder / name} was not saved by a run of this program" in said
    assert "set config.EXPR_NAME to another name than devel" in said
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert not (tmp_path / "pretrain" / "logs").exists()


def test_a_copy_of_ones_own_checkpoint_is_in_nobodys_way(run: RunPlan) -> None:
    torch.save({"state_dict": {"w": torch.ones(1)}, "bassl": {"seed": 1}}, run.checkpoint_folder / "epoch9.ckpt")
    keep_earlier(run)
    assert [path.name for path in run.checkpoint_folder.iterdir()] == ["epoch9.ckpt"]


def test_what_earlier_runs_logged_is_not_mixed_with_what_this_one_logs(run: RunPlan) -> None:
    names = ["config.json", "environment.json", "events.out.tfevents.1.x.2.0", "broken_keyframes.txt"]
    leave(run.log_folder, *names, "timeline.png")
    keep_earlier(run)
    assert sorted(path.name for path in run.log_folder.iterdir())[1:] == ["timeline.png"]
    (kept,) = run.log_folder.glob("earlier-2001*")
    assert sorted(path.name for path in kept.iterdir()) == sorted(names)
    keep_earlier(run)
    assert len(list(run.log_folder.iterdir())) == 2, "nothing more to keep"


@pytest.mark.slow
def test_a_second_run_of_a_name_has_its_own_curves_and_one_that_goes_on_adds_to_them(
    tiny_movienet: Path, tmp_path: Path
) -> None:
    overrides = [*pretrain_overrides(tiny_movienet, tmp_path), "config.TEST.KNN_VALIDATION=false"]
    logs = tmp_path / "pretrain" / "logs" / "devel"
    assert pretrain_main.main(overrides) == 0
    first = scalars(logs)
    assert pretrain_main.main([*overrides, "config.SEED=2"]) == 0
    (kept,) = logs.glob("earlier-*")
    assert scalars(kept) == first != scalars(logs)
    assert len(list(logs.glob("events.out.tfevents.*"))) == 1
    assert pretrain_main.main([*overrides, "config.RESUME=true", "config.TRAINER.max_epochs=2"]) == 0
    assert len(list(logs.glob("events.out.tfevents.*"))) == 2
    assert list(logs.glob("earlier-*")) == [kept]

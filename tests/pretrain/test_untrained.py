"""Runs that measure an encoder before it is trained, through the real entry points."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from bassl.diagnostics.run import FinishedRun
from bassl.finetune import main as finetune_main
from bassl.model.checkpoint import read_checkpoint
from bassl.plots.scalars import read_scalars
from bassl.pretrain import extract_shot_repr
from bassl.pretrain import main as pretrain_main
from tests.runs import extract_overrides, finetune_overrides, pretrain_overrides

MEASURES = ["knn/precision@1", "val/pseudo_boundary_distance", "val/pseudo_boundary_distance_random"]


def pretrain(data: Path, out: Path, *more: str) -> Path:
    assert pretrain_main.main([*pretrain_overrides(data, out), *more]) == 0
    return out / "pretrain"


def weights(folder: Path, name: str) -> dict[str, torch.Tensor]:
    return dict(read_checkpoint(folder / "ckpt" / name).state_dict)


@pytest.fixture(scope="module")
def untrained(tiny_movienet: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output folder of a run of no epochs, called `untrained`."""
    out = tmp_path_factory.mktemp("untrained")
    pretrain(tiny_movienet, out, "config.EXPR_NAME=untrained", "config.TRAINER.max_epochs=0")
    return out


@pytest.fixture(scope="module")
def plain(tiny_movienet: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output folder of an ordinary run of one epoch."""
    return pretrain(tiny_movienet, tmp_path_factory.mktemp("plain"))


def test_no_epochs_leave_the_initial_weights_and_the_files_of_every_run(untrained: Path, tiny_movienet: Path) -> None:
    folder = untrained / "pretrain" / "ckpt" / "untrained"
    assert sorted(path.name for path in folder.glob("[!.]*")) == ["config.json", "environment.json", "last.ckpt"]
    slow = ["config.TRAIN.OPTIMIZER.lr.base_lr=1e-30", "config.TEST.KNN_VALIDATION=false"]
    pretrain(tiny_movienet, untrained, "config.EXPR_NAME=still", *slow)
    drawn, still = (weights(untrained / "pretrain", name) for name in ("untrained", "still"))
    trained = [name for name in drawn if "running_" not in name and "num_batches" not in name]
    assert len(trained) > 100
    for name in trained:
        torch.testing.assert_close(drawn[name], still[name], msg=name)


def test_an_untrained_encoder_is_measured_at_step_0(untrained: Path) -> None:
    scalars = read_scalars(untrained / "pretrain" / "logs" / "untrained")
    for tag in MEASURES:
        assert scalars[tag].step.tolist() == [0]
        assert 0 <= scalars[tag].value[0] <= 100
    assert not [tag for tag in scalars if tag.startswith("train/")]


@pytest.mark.slow
def test_training_can_go_on_from_untrained_weights(
    untrained: Path, plain: Path, tiny_movienet: Path, tmp_path: Path
) -> None:
    path = untrained / "pretrain" / "ckpt" / "untrained" / "last.ckpt"
    resumed = weights(pretrain(tiny_movienet, tmp_path, f"config.RESUME={path}"), "devel")
    for name, value in weights(plain, "devel").items():
        torch.testing.assert_close(resumed[name], value, rtol=0, atol=0, msg=name)


@pytest.mark.slow
def test_validating_first_adds_a_point_and_changes_nothing(plain: Path, tiny_movienet: Path, tmp_path: Path) -> None:
    first = pretrain(tiny_movienet, tmp_path, "config.TEST.VAL_FIRST=true")
    ours = weights(first, "devel")
    for name, value in weights(plain, "devel").items():
        torch.testing.assert_close(ours[name], value, rtol=0, atol=0, msg=name)
    with_first, without = (read_scalars(folder / "logs" / "devel") for folder in (first, plain))
    for tag in MEASURES:
        assert len(without[tag].step) == 1
        assert with_first[tag].step.tolist() == [0, *without[tag].step.tolist()]
        assert with_first[tag].value[1:].tolist() == without[tag].value.tolist()


def test_shot_level_methods_have_the_distance_too(tiny_movienet: Path, tmp_path: Path) -> None:
    folder = pretrain(tiny_movienet, tmp_path, "+method=instance", "config.TRAINER.max_epochs=0")
    assert set(MEASURES) <= set(read_scalars(folder / "logs" / "devel"))


def test_zero_shot_scores_come_from_the_pseudo_boundary_head(
    untrained: Path, tiny_movienet: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert extract_shot_repr.main([*extract_overrides(tiny_movienet, untrained), "config.LOAD_FROM=untrained"]) == 0
    tune = [*finetune_overrides(tiny_movienet, untrained), "config.PRETRAINED_LOAD_FROM=untrained"]
    capfd.readouterr()
    assert finetune_main.main([*tune, "config.ZERO_SHOT=true"]) == 0
    said = capfd.readouterr().err
    assert "zero-shot: the pseudo-boundary head of " in said
    assert [line.split()[0] for line in said.splitlines() if line.startswith(("zero-shot ", "training-free"))] == [
        "zero-shot",
        "training-free",
    ]
    found = json.loads((untrained / "finetune" / "logs" / "untrained_evaluation" / "all_score.json").read_text())
    weights = untrained / "pretrain" / "ckpt" / "untrained" / "last.ckpt"
    assert found["model"]["path"] == str(weights)
    assert FinishedRun(untrained / "finetune" / "logs" / "untrained_evaluation").checkpoint.path == weights
    assert (found["kind"], found["epoch"], found["val"]) == ("zero-shot", 0, None)
    assert 0 < found["test"]["AP"] <= 1
    assert found["training_free"].keys() == {"AP", "mAP", "AUC"}
    assert not (untrained / "finetune" / "ckpt").exists()
    assert (untrained / "finetune" / "logs" / "untrained_evaluation" / "predictions.csv").is_file()


def test_zero_shot_needs_a_pseudo_boundary_head(
    tiny_movienet: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pretrain(tiny_movienet, tmp_path, "+method=instance", "config.TRAINER.max_epochs=0")
    assert extract_shot_repr.main([*extract_overrides(tiny_movienet, tmp_path), "config.LOAD_FROM=devel"]) == 0
    tune = [*finetune_overrides(tiny_movienet, tmp_path), "config.PRETRAINED_LOAD_FROM=devel"]
    capfd.readouterr()
    assert finetune_main.main([*tune, "config.ZERO_SHOT=true"]) == 2
    assert "has no pseudo-boundary head to score with" in capfd.readouterr().err

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from bassl.config.load import load
from bassl.config.paths import PACKAGE, data_paths, feature_folder, output_folders, pretrained_checkpoint
from bassl.errors import InputError
from bassl.sweep.experiment import Experiment
from bassl.sweep.runs import MODULES, Run, plan_runs

TWO = Experiment(
    name="two",
    about="two rows",
    rows={
        "one": ["+method=shotcol", "pretrain:config.TRAINER.max_epochs=3"],
        "bassl+shotcol": ["+method=bassl_shotcol"],
    },
    settings=["config.TRANSFORM.test.crop=32", "pretrain:config.TRAINER.max_epochs=1"],
)
SAMPLE = Experiment(name="x", about="x", rows={"a": ["+method=bassl"]}, data="big_buck_bunny")


def configs(run: Run) -> dict[str, Any]:
    return {step.name: step.config for step in run.steps}


def test_every_row_meets_every_seed_and_each_step_finds_what_the_previous_one_left(tmp_path: Path) -> None:
    runs = plan_runs(TWO, [], tmp_path, [4, 5], list(TWO.rows))
    assert [run.name for run in runs] == ["one-seed4", "one-seed5", "bassl+shotcol-seed4", "bassl+shotcol-seed5"]
    for run in runs:
        assert [step.name for step in run.steps] == [
            step for step in MODULES if step != "zero_shot" or run.row != "one"
        ]
        pretrain, extract, finetune = (configs(run)[step] for step in ("pretrain", "extract", "finetune"))
        assert (run.seed, run.seed) == (pretrain.SEED, finetune.SEED)
        assert (pretrain.RESUME, finetune.RESUME, pretrain.TEST.VAL_FIRST) == ("true", "true", True)
        trained = output_folders(pretrain, "pretrain", pretrain.EXPR_NAME)
        assert trained[0] == pretrained_checkpoint(extract) == pretrained_checkpoint(finetune)
        assert feature_folder(extract) == feature_folder(finetune) == tmp_path / "features" / run.name
        written = [*trained, *output_folders(finetune, "finetune", finetune.EXPR_NAME)]
        assert all(path.is_relative_to(tmp_path) and path.name == run.name for path in written)
        for step in run.steps:  # what is typed is what is planned
            assert load("finetune" if step.name == "zero_shot" else step.name, step.arguments) == step.config


def test_the_boundary_head_is_scored_zero_shot_and_settings_of_training_do_not_matter_to_it(tmp_path: Path) -> None:
    typed = ["finetune:config.TRAIN.OPTIMIZER.lr.base_lr=0.004", "finetune:config.TEST.SELECT_ON=val"]
    (plain,), (other,) = (plan_runs(SAMPLE, given, tmp_path, [0], ["a"]) for given in ([], typed))
    pretrain, zero_shot = configs(plain)["pretrain"], configs(plain)["zero_shot"]
    assert zero_shot.ZERO_SHOT and not configs(plain)["finetune"].ZERO_SHOT
    assert pretrained_checkpoint(zero_shot) == output_folders(pretrain, "pretrain", plain.name)[0]
    settings = [{step.name: step.settings for step in run.steps} for run in (plain, other)]
    assert settings[0]["zero_shot"] == settings[1]["zero_shot"]
    assert settings[0]["finetune"] != settings[1]["finetune"]
    assert settings[0]["zero_shot"]["config.TEST.UNCERTAIN_LABEL"] == "positive"


def test_labelled_films_repeat_fine_tuning_from_one_pretraining(tmp_path: Path) -> None:
    experiment = Experiment(name="x", about="x", rows={"a": ["+method=shotcol"]}, labelled_films=[2, 8])
    (run,) = plan_runs(experiment, [], tmp_path, [0], ["a"])
    assert [step.name for step in run.steps] == ["pretrain", "extract", "finetune-2films", "finetune-8films"]
    few, many = run.steps[2:]
    assert (few.config.TRAIN.NUM_FILMS, many.config.TRAIN.NUM_FILMS) == (2, 8)
    assert pretrained_checkpoint(few.config) == pretrained_checkpoint(many.config)
    assert few.output == tmp_path / "finetune" / "ckpt" / "a-seed0-2films" / "last.ckpt"


def test_the_command_line_beats_the_experiment_and_a_row_beats_both(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    epochs = [f"{job}:config.TRAINER.max_epochs={number}" for job, number in (("pretrain", 2), ("finetune", 7))]
    with caplog.at_level(logging.WARNING):
        one, two = plan_runs(TWO, [*epochs, "config.TRANSFORM.test.crop=48"], tmp_path, [0], list(TWO.rows))
    assert [configs(run)["pretrain"].TRAINER.max_epochs for run in (one, two)] == [3, 2]
    for run in (one, two):
        assert configs(run)["extract"].TRANSFORM.test.crop == 48
        assert configs(run)["finetune"].TRAINER.max_epochs == 7
    assert caplog.messages == [
        "row one keeps its config.TRAINER.max_epochs=3; pretrain:config.TRAINER.max_epochs=2 has no effect on it"
    ]


def test_a_mistake_names_its_row_and_step_before_anything_is_run(tmp_path: Path) -> None:
    wrong = Experiment(name="x", about="x", rows={"fine": [], "odd": ["extract:config.TRANSFORM.test.crop=300"]})
    with pytest.raises(InputError, match=r"row odd, extract: config\.TRANSFORM\.test\.crop=300"):
        plan_runs(wrong, [], tmp_path, [0], ["fine", "odd"])
    assert list(tmp_path.iterdir()) == []


def test_the_experiments_data_is_used_unless_other_data_is_named(tmp_path: Path) -> None:
    for typed, expected in (([], PACKAGE / "data" / "big_buck_bunny"), (["config.DATA_PATH=/films"], Path("/films"))):
        (run,) = plan_runs(SAMPLE, typed, tmp_path, [0], ["a"])
        assert {data_paths(step.config).root for step in run.steps} == {expected}
        assert {path.parent for step in run.steps for path in step.annotations} == {expected / "anno"}


def test_a_step_names_the_annotations_that_it_reads(tmp_path: Path) -> None:
    typed = ["finetune:config.TEST.SELECT_ON=val", "pretrain:config.TEST.KNN_VALIDATION=false"]
    found = []
    for given in ([], typed):
        (run,) = plan_runs(SAMPLE, given, tmp_path, [0], ["a"])
        found.append({step.name: [path.name.split(".")[1] for path in step.annotations] for step in run.steps})
    assert found[0] == {
        "pretrain": ["pretrain", "test"], "extract": ["trainvaltest"], "zero_shot": ["test"],
        "finetune": ["train", "test"],
    }  # fmt: skip
    assert found[1] == found[0] | {"pretrain": ["pretrain"], "finetune": ["train", "test", "val"]}


def test_decisive_settings_are_independent_of_seed_output_and_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (first,) = plan_runs(TWO, ["config.DATA_PATH=films"], tmp_path / "a", [0], ["one"])
    (second,) = plan_runs(TWO, [f"config.DATA_PATH={tmp_path}/films"], tmp_path / "b", [1], ["one"])
    assert [step.settings for step in first.steps] == [step.settings for step in second.steps]
    settings = first.steps[0].settings
    assert (settings["config.DATA_PATH"], settings["config.TRAINER.max_epochs"]) == (str(tmp_path / "films"), 3)

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from bassl.config.locations import PACKAGE
from bassl.config.resolve import resolve_extract, resolve_finetune, resolve_pretrain

from bassl.errors import InputError
from bassl.sweep.experiment import Experiment
from bassl.sweep.runs import STEPS, plan_runs
from tests.sweep.composed import composed

TWO = Experiment(
    name="two",
    about="two rows",
    rows={
        "one": ["+method=shotcol", "pretrain:config.TRAINER.max_epochs=3"],
        "bassl+shotcol": ["+method=bassl_shotcol"],
    },
    settings=["config.TRANSFORM.test.crop=32", "pretrain:config.TRAINER.max_epochs=1"],
)


def test_every_row_meets_every_seed_and_each_step_finds_what_the_one_before_left(tmp_path: Path) -> None:
    runs = plan_runs(TWO, [], tmp_path, [4, 5], list(TWO.rows))
    assert [run.name for run in runs] == ["one-seed4", "one-seed5", "bassl+shotcol-seed4", "bassl+shotcol-seed5"]
    for run in runs:
        names = [step.name for step in run.steps]
        assert names == [step for step in STEPS if step != "zero_shot" or run.row != "one"]
        pretrain = composed(run, "pretrain", resolve_pretrain)
        extract = composed(run, "extract", resolve_extract)
        finetune = composed(run, "finetune", resolve_finetune)
        assert (pretrain.run.seed, finetune.run.seed) == (run.seed, run.seed)
        assert pretrain.run.checkpoint_folder == extract.checkpoint == finetune.pretrained
        assert extract.features == finetune.features == tmp_path / "features" / run.name
        assert (pretrain.run.resume, finetune.run.resume) == (True, True)
        assert (pretrain.validate_first, finetune.zero_shot) == (True, False)
        everything = [
            pretrain.run.checkpoint_folder, pretrain.run.log_folder, extract.features,
            finetune.run.checkpoint_folder, finetune.run.log_folder,
        ]  # fmt: skip
        assert all(path.is_relative_to(tmp_path) and run.name in path.name for path in everything)


def test_the_boundary_head_is_scored_where_there_is_one(tmp_path: Path) -> None:
    (run,) = plan_runs(TWO, [], tmp_path, [0], ["bassl+shotcol"])
    zero_shot = composed(run, "zero_shot", resolve_finetune)
    assert zero_shot.zero_shot
    assert zero_shot.pretrained == composed(run, "pretrain", resolve_pretrain).run.checkpoint_folder
    assert zero_shot.run.log_folder == tmp_path / "zero_shot" / "logs" / run.name
    _, _, zero_shot_step, finetune = run.steps
    rate = "config.TRAIN.OPTIMIZER.lr.base_lr"
    assert rate in finetune.settings
    assert rate not in zero_shot_step.settings  # another one changes nothing in it
    assert zero_shot_step.settings["config.TEST.UNCERTAIN_LABEL"] == "positive"


def test_the_command_line_beats_the_experiment_and_a_row_stays_what_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    typed = [
        "pretrain:config.TRAINER.max_epochs=2",
        "config.TRANSFORM.test.crop=48",
        "finetune:config.TRAINER.max_epochs=7",
    ]
    with caplog.at_level(logging.WARNING):
        one, two = plan_runs(TWO, typed, tmp_path, [0], list(TWO.rows))
    assert composed(one, "pretrain", resolve_pretrain).loop.max_epochs == 3
    assert composed(two, "pretrain", resolve_pretrain).loop.max_epochs == 2
    for run in (one, two):
        assert composed(run, "extract", resolve_extract).test_transform.crop == 48
        assert composed(run, "finetune", resolve_finetune).loop.max_epochs == 7
    assert [record.getMessage() for record in caplog.records] == [
        "row one keeps its own config.TRAINER.max_epochs=3 (pretrain: config.TRAINER.max_epochs=2 has no effect on it)"
    ]


def test_a_mistake_names_its_row_and_step_before_anything_is_run(tmp_path: Path) -> None:
    wrong = Experiment(name="x", about="x", rows={"fine": [], "odd": ["extract:config.TRANSFORM.test.crop=300"]})
    with pytest.raises(InputError, match=r"row odd, extract: config\.TRANSFORM\.test\.crop=300"):
        plan_runs(wrong, [], tmp_path, [0], ["fine", "odd"])
    assert list(tmp_path.iterdir()) == []


def test_the_data_of_the_experiment_is_used_unless_another_is_named(tmp_path: Path) -> None:
    experiment = Experiment(name="x", about="x", rows={"a": []}, data="big_buck_bunny")
    for typed, expected in (([], PACKAGE / "data" / "big_buck_bunny"), (["config.DATA_PATH=/films"], Path("/films"))):
        (run,) = plan_runs(experiment, typed, tmp_path, [0], ["a"])
        for job, resolve in (
            ("pretrain", resolve_pretrain),
            ("extract", resolve_extract),
            ("finetune", resolve_finetune),
        ):
            assert composed(run, job, resolve).data.root == expected
        assert {path.parent for step in run.steps for path in step.annotations} == {expected / "anno"}


def test_a_step_names_the_annotations_that_it_reads(tmp_path: Path) -> None:
    experiment = Experiment(name="x", about="x", rows={"a": ["+method=bassl"]}, data="big_buck_bunny")
    typed = ["finetune:config.TEST.SELECT_ON=val", "pretrain:config.TEST.KNN_VALIDATION=false"]
    found = []
    for given in ([], typed):
        (run,) = plan_runs(experiment, given, tmp_path, [0], ["a"])
        found.append({step.name: [path.name.split(".")[1] for path in step.annotations] for step in run.steps})
    assert found[0] == {
        "pretrain": ["pretrain", "test"], "extract": ["trainvaltest"], "zero_shot": ["test"],
        "finetune": ["train", "test"],
    }  # fmt: skip
    assert found[1] == found[0] | {"pretrain": ["pretrain"], "finetune": ["train", "test", "val"]}


def test_what_decides_a_step_leaves_the_sweeps_own_keys_out_and_anchors_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (first,) = plan_runs(TWO, ["config.DATA_PATH=films"], tmp_path / "a", [0], ["one"])
    (second,) = plan_runs(TWO, [f"config.DATA_PATH={tmp_path}/films"], tmp_path / "b", [1], ["one"])
    for one, two in zip(first.steps, second.steps, strict=True):
        assert one.settings == two.settings
    assert first.steps[0].settings["config.DATA_PATH"] == str(tmp_path / "films")
    assert first.steps[0].settings["config.TRAINER.max_epochs"] == 3
    assert "config.SEED" not in first.steps[0].settings


def test_how_fine_tuning_trains_and_chooses_decides_nothing_about_zero_shot_scores(tmp_path: Path) -> None:
    experiment = Experiment(name="x", about="x", rows={"a": ["+method=bassl"]}, data="big_buck_bunny")
    typed = ["finetune:config.TRAIN.OPTIMIZER.lr.base_lr=0.004", "finetune:config.TEST.SELECT_ON=val"]
    (plain,), (other,) = (plan_runs(experiment, given, tmp_path, [0], ["a"]) for given in ([], typed))
    settings = [{step.name: step.settings for step in run.steps} for run in (plain, other)]
    assert settings[0]["zero_shot"] == settings[1]["zero_shot"]
    assert settings[0]["finetune"] != settings[1]["finetune"]

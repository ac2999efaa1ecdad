from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from bassl.config.plan import FinetunePlan, PretrainPlan

from bassl.dataset.annotation import read_annotations
from bassl.diagnostics.run import FinishedRun, read_predictions, recorded_plan
from bassl.errors import InputError
from tests.plots.finished import NUM_LABELLED, NUM_SHOTS, TEST_FILM, write_finetuning, write_pretraining


@pytest.fixture(scope="module")
def logs(tiny_movienet: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_finetuning(tiny_movienet, tmp_path_factory.mktemp("finetuning"))


def test_the_plan_is_the_one_that_was_recorded(logs: Path, tiny_movienet: Path) -> None:
    plan = recorded_plan(logs)
    assert isinstance(plan, FinetunePlan)
    assert (plan.data.root, plan.run.seed, plan.run.name, plan.threshold) == (tiny_movienet, 3, "run", 0.5)


def test_overrides_stand_above_what_was_recorded(logs: Path, tmp_path: Path) -> None:
    plan = recorded_plan(logs, [f"config.DATA_PATH={tmp_path}", "+config.TEST.THRESHOLD=0.25"])
    assert isinstance(plan, FinetunePlan)
    assert (plan.data.root, plan.threshold, plan.run.seed) == (tmp_path, 0.25, 3)


def test_a_pretraining_run_is_told_from_a_finetuning_one(tiny_movienet: Path, tmp_path: Path) -> None:
    plan = recorded_plan(write_pretraining(tiny_movienet, tmp_path))
    assert isinstance(plan, PretrainPlan)
    assert plan.method.name == "bassl"


def test_an_unknown_override_names_the_nearest_key(logs: Path) -> None:
    with pytest.raises(InputError, match=r"did you mean config\.DATA_PATH"):
        recorded_plan(logs, ["config.DATA_PAT=x"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "does not exist; give the log folder of a run"),
        ("{", "cannot be read"),
        ('{"EXPR_NAME": "a", "UNKNOWN_KEY": 1}', "is of another version"),
        ('["EXPR_NAME"]', "is of another version"),
        ('{"TRAINER": {"max_epochs": "many"}}', "is of another version"),
    ],
)
def test_a_missing_or_foreign_configuration_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputError, match=message):
        recorded_plan(tmp_path)


def test_labels_cover_the_whole_film_and_know_what_is_unlabelled(logs: Path, tiny_movienet: Path) -> None:
    labels = FinishedRun(logs).labels(0)
    rows = [json.loads(line) for line in (tiny_movienet / "anno" / "anno.test.ndjson").read_text().splitlines()]
    assert len(rows) == NUM_LABELLED
    assert labels.shots.tolist() == list(range(NUM_LABELLED))
    assert labels.is_boundary.tolist() == [row["boundary_label"] != 0 for row in rows] + [False]
    assert labels.scene.tolist() == [row["invideo_scene_id"] for row in rows] + [-1]


def test_features_are_those_of_the_store(logs: Path) -> None:
    run = FinishedRun(logs)
    features = run.features(0)
    stored = np.load(logs.parents[1] / "features" / f"{TEST_FILM}.npy")
    assert (features.shape, features.dtype) == ((NUM_SHOTS, 12), torch.float32)
    np.testing.assert_array_equal(features.numpy(), stored)


def test_the_projection_is_the_pretrained_one(logs: Path) -> None:
    stored = torch.load(logs.parents[1] / "pretrained" / "bassl" / "last.ckpt", weights_only=True)["state_dict"]
    head = FinishedRun(logs).projection
    torch.testing.assert_close(head.model[2].weight, stored["loss.head_nce.model.2.weight"])
    assert not head.training


def test_a_checkpoint_without_projection_is_refused(logs: Path) -> None:
    run = FinishedRun(logs, (f"config.PRETRAINED_LOAD_FROM={logs.parents[1]}/ckpt/run",))
    with pytest.raises(InputError, match="holds no NCE head"):
        _ = run.projection


def test_another_store_can_be_named(logs: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no shot features in"):
        _ = FinishedRun(logs, (), tmp_path).store


def test_predictions_are_read_back(logs: Path, tiny_movienet: Path) -> None:
    predictions = FinishedRun(logs).predictions
    notes = read_annotations(tiny_movienet / "anno" / "anno.test.ndjson")
    np.testing.assert_array_equal(predictions.shot, notes.shot)
    np.testing.assert_array_equal(predictions.label, notes.label)
    np.testing.assert_allclose(predictions.probability, np.random.default_rng(0).random(len(notes)), atol=1e-6)
    assert set(predictions.film.tolist()) == {0}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (None, "does not exist; finish the fine-tuning run"),
        ("film,shot,probability,label\n", "holds no predictions"),
        ("film,shot,probability,label\na,0,0.5,1\nb,0,0.5,1\n", "line 3: .* is no prediction of 1 test films"),
        ("film,shot,probability,label\na,0,high,1\n", "line 2"),
        ("film,shot,probability,label\na,0,0.5\n", "line 2"),
        ("movie,shot,probability,label\na,0,0.5,1\n", "line 2"),
    ],
)
def test_a_malformed_table_of_predictions_is_refused(tmp_path: Path, table: str | None, message: str) -> None:
    path = tmp_path / "predictions.csv"
    if table is not None:
        path.write_text(table)
    with pytest.raises(InputError, match=message):
        read_predictions(path, ["a"])


def test_predictions_that_are_no_text_are_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    path.write_bytes(b"film,shot,probability,label\n\xff\xfe,1,0.5,1\n")
    with pytest.raises(InputError, match=r"predictions\.csv is no table \(.*\); run the evaluation again"):
        read_predictions(path, ["a"])

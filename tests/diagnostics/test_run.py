from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bassl.config.schema import Finetune, Pretrain
from bassl.dataset.annotation import read_annotations
from bassl.diagnostics.run import FinishedRun, read_predictions, recorded_config
from bassl.errors import InputError
from tests.diagnostics.finished import NUM_LABELLED, NUM_SHOTS, TEST_FILM, write_finetuning, write_pretraining


@pytest.fixture(scope="module")
def logs(tiny_movienet: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_finetuning(tiny_movienet, tmp_path_factory.mktemp("finetuning"))


def test_overrides_replace_what_was_recorded(logs: Path, tiny_movienet: Path, tmp_path: Path) -> None:
    for overrides, root, threshold in (
        ([], tiny_movienet, 0.5),
        ([f"config.DATA_PATH={tmp_path}", "+config.TEST.THRESHOLD=0.25"], tmp_path, 0.25),
    ):
        config = recorded_config(logs, overrides)
        assert isinstance(config, Finetune)
        assert (str(root), threshold, 3) == (config.DATA_PATH, config.TEST.THRESHOLD, config.SEED)


def test_a_pretraining_run_is_recognised(tiny_movienet: Path, tmp_path: Path) -> None:
    run = FinishedRun(write_pretraining(tiny_movienet, tmp_path))
    assert isinstance(run.config, Pretrain) and not run.is_finetuning
    assert run.window == (8, 1)


@pytest.mark.parametrize(("content", "message"), [
    (None, "cannot be read .*; give the log folder of a run"),
    ("{", "cannot be read"),
    ('{"EXPR_NAME": "a", "UNKNOWN_KEY": 1}', "is of another version"),
    ('["EXPR_NAME"]', "is of another version"),
    ('{"TRAINER": {"max_epochs": "many"}}', "is of another version"),
])  # fmt: skip
def test_a_missing_or_foreign_configuration_is_refused(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(InputError, match=message):
        recorded_config(tmp_path)


def test_labels_cover_the_whole_film_and_mark_unlabelled_shots(logs: Path, tiny_movienet: Path) -> None:
    labels = FinishedRun(logs).labels(0)
    rows = [json.loads(line) for line in (tiny_movienet / "anno" / "anno.test.ndjson").read_text().splitlines()]
    assert labels.shots.tolist() == list(range(NUM_LABELLED)) and len(rows) == NUM_LABELLED
    assert labels.is_boundary.tolist() == [row["boundary_label"] != 0 for row in rows] + [False]
    assert labels.scene.tolist() == [row["invideo_scene_id"] for row in rows] + [-1]


def test_features_are_those_of_the_store_and_another_store_can_be_named(logs: Path, tmp_path: Path) -> None:
    features = FinishedRun(logs).features(0)
    stored = np.load(logs.parents[1] / "features" / f"{TEST_FILM}.npy")
    assert (features.shape, features.dtype) == ((NUM_SHOTS, 12), torch.float32)
    np.testing.assert_array_equal(features.numpy(), stored)
    with pytest.raises(InputError, match="no shot features in"):
        _ = FinishedRun(logs, (), tmp_path).store


def test_the_projection_is_the_pretrained_nce_head_and_refused_where_there_is_none(logs: Path) -> None:
    stored = torch.load(logs.parents[1] / "pretrained" / "bassl" / "last.ckpt", weights_only=True)["state_dict"]
    head = FinishedRun(logs).projection
    torch.testing.assert_close(head.model[2].weight, stored["loss.head_nce.model.2.weight"])
    assert not head.training
    with pytest.raises(InputError, match="holds no NCE head"):
        _ = FinishedRun(logs, (f"config.PRETRAINED_LOAD_FROM={logs.parents[1]}/ckpt/run",)).projection


def test_a_threshold_chosen_on_val_is_read_from_the_scores(tiny_movienet: Path, tmp_path: Path) -> None:
    logs = write_finetuning(tiny_movienet, tmp_path, features=False)
    run = FinishedRun(logs, ("config.TEST.SELECT_ON=val", "config.TEST.THRESHOLD=val"))
    with pytest.raises(InputError, match=r"all_score\.json holds no threshold"):
        _ = run.threshold
    (logs / "all_score.json").write_text('{"threshold": 0.375}')
    assert run.threshold == 0.375


def test_predictions_are_read_back(logs: Path, tiny_movienet: Path) -> None:
    predictions = FinishedRun(logs).predictions
    annotations = read_annotations(tiny_movienet / "anno" / "anno.test.ndjson")
    np.testing.assert_array_equal(predictions.shot, annotations.shot)
    np.testing.assert_array_equal(predictions.label, annotations.label)
    np.testing.assert_allclose(predictions.probability, np.random.default_rng(0).random(len(annotations)), atol=1e-6)
    assert set(predictions.film.tolist()) == {0}


HEAD = b"film,shot,probability,label\n"


@pytest.mark.parametrize(("table", "message"), [
    (None, "cannot be read .*; finish the fine-tuning run"),
    (HEAD, "holds no predictions"),
    (HEAD + b"a,0,0.5,1\nb,0,0.5,1\n", "line 3 is not a prediction of the 1 test films"),
    (HEAD + b"a,0,high,1\n", "line 2"),
    (HEAD + b"a,0,0.5\n", "line 2"),
    (HEAD + b"\xff\xfe,1,0.5,1\n", "is not a prediction"),
])  # fmt: skip
def test_a_malformed_table_of_predictions_is_refused(tmp_path: Path, table: bytes | None, message: str) -> None:
    if table is not None:
        (tmp_path / "predictions.csv").write_bytes(table)
    with pytest.raises(InputError, match=message):
        read_predictions(tmp_path / "predictions.csv", ["a"])

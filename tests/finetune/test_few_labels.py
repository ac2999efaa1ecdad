"""The structure scorer of few labelled films: fitted, stored and evaluated through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from bassl.finetune.main import main
from bassl.prepare.arrays import FilmArrays, write_arrays


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six films of ten scenes of four shots; the shots of a scene look alike, and edge shots are longer."""
    folder, rng = tmp_path_factory.mktemp("arrays") / "data", np.random.default_rng(0)
    films = {}
    for number in range(6):
        features = np.repeat(rng.normal(size=(10, 16)), 4, axis=0) + 0.6 * rng.normal(size=(40, 16))
        length = np.tile([40, 20, 20, 40], 10) + rng.integers(10, size=40)
        ends = np.cumsum(length)
        labels = (np.arange(40) % 4 == 3).astype(int)
        shots = np.stack([ends - length, ends - 1], axis=1)
        films[f"film{number}"] = FilmArrays(shots, features.astype(np.float32), labels)
    names = list(films)
    write_arrays(folder, films, {"train": names[:3], "val": names[3:4], "test": names[4:]})
    return folder


def run(data: Path, out: Path, *overrides: str) -> dict[str, object]:
    """Run a command with a name of its own; return its scores."""
    (store,) = (data / "features").iterdir()
    places = [f"config.DATA_PATH={data}", f"config.FEATURE_PATH={store}", f"config.CKPT_PATH={out}/ckpt"]
    assert main([*places, f"config.LOG_PATH={out}/logs", "config.TRAINER.progress_bar=false", *overrides]) == 0
    (scores,) = (json.loads(path.read_text()) for path in (out / "logs").glob("*/all_score.json"))
    return scores


def test_small_data_is_not_below_the_training_free_scorer_and_evaluates_to_the_same_scores(
    data: Path, tmp_path: Path
) -> None:
    trained = run(data, tmp_path / "a", "+preset=small_data", "config.EXPR_NAME=few")
    assert trained["test"]["AP"] >= trained["training_free"]["AP"] - 0.02  # type: ignore[index]
    stored = torch.load(tmp_path / "a/ckpt/few/last.ckpt", weights_only=True)
    assert bool(stored["state_dict"]["structure.uses_lengths"])
    again = run(data, tmp_path / "b", f"config.LOAD_FROM={tmp_path}/a/ckpt/few/last.ckpt")
    assert again["test"] == trained["test"]
    assert (again["ap"], again["acc0"]) == (100 * again["test"]["AP"], 100 * again["test"]["Accuracy0"])  # type: ignore


def test_small_data_stores_the_threshold_that_val_chose(data: Path, tmp_path: Path) -> None:
    overrides = ["config.TEST.SELECT_ON=val", "config.TEST.THRESHOLD=val", "config.EXPR_NAME=few"]
    scores = run(data, tmp_path, "+preset=small_data", *overrides)
    assert scores["threshold"] == scores["threshold_from_val"] != 0.5


def test_features_alone_are_evaluated_by_the_posterior(data: Path, tmp_path: Path) -> None:
    scores = run(data, tmp_path, "config.ZERO_SHOT=true")
    assert scores["kind"] == "training-free" and scores["model"] is None
    assert scores["test"]["AP"] > 0.5  # type: ignore[index]
    (table,) = (tmp_path / "logs").glob("*_evaluation/predictions.csv")
    assert len(table.read_text().splitlines()) == 1 + 2 * 39  # a head, and two films without their last shots


def test_a_projected_crn_is_stored_with_its_rotations_and_evaluates_to_the_same_scores(
    data: Path, tmp_path: Path
) -> None:
    prefix = "config.MODEL.contextual_relation_network"
    small = [f"{prefix}.projection=8", f"{prefix}.params.trn.hidden_size=32", "config.TRAINER.max_steps=4"]
    small += ["config.TRAIN.BATCH_SIZE.effective_batch_size=16", "config.TEST.DECODER=posterior"]
    trained = run(data, tmp_path / "a", "+preset=crn_small_data", *small, "config.EXPR_NAME=few", "config.SEED=0")
    assert set(trained) >= {"decoder", "training_free", "similarity"}
    stored = torch.load(tmp_path / "a/ckpt/few/last.ckpt", weights_only=True)["state_dict"]
    assert stored["projection.rotations"].shape == (8, 8, 8)
    again = run(data, tmp_path / "b", f"config.LOAD_FROM={tmp_path}/a/ckpt/few/last.ckpt")
    assert again["test"] == pytest.approx(trained["test"], abs=1e-6)


def test_a_projection_does_not_start_from_a_pretrained_crn(capsys: pytest.CaptureFixture[str]) -> None:
    prefix = "config.MODEL.contextual_relation_network"
    assert main(["config.FEATURE_PATH=x", f"{prefix}.projection=8", f"{prefix}.transfer=true"]) == 2
    assert f"set {prefix}.projection=null" in capsys.readouterr().err

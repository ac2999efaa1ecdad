"""Fine-tuning runs on a small feature store: which weights are scored, and what a transferred CRN brings along."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bassl.config.plan import FinetunePlan
from bassl.config.resolve import resolve_finetune

from bassl.config.load import load
from bassl.dataset.window import clipped_window
from bassl.diagnostics.run import FinishedRun
from bassl.files import sha256_of
from bassl.finetune import main as finetune_main
from bassl.finetune.train import build_crn
from bassl.model.checkpoint import read_checkpoint
from bassl.model.crn import ContextualRelationNetwork
from bassl.model.loading import load_scorer
from tests.movienet import FILMS
from tests.runs import SMALL_CRN, finetune_overrides

DIMENSION = 48
TRN = "config.MODEL.contextual_relation_network.params.trn"


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of random features in the reference's layout."""
    folder, rng = tmp_path_factory.mktemp("store"), np.random.default_rng(0)
    for film, num_shots in FILMS.items():
        (folder / film).mkdir()
        for shot in range(num_shots):
            np.save(folder / film / f"shot_{shot:04d}.npy", rng.standard_normal(DIMENSION).astype(np.float32))
    return folder


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a pre-trained CRN of 4 heads, which its config.json alone says."""
    folder = tmp_path_factory.mktemp("pretrained") / "four_heads"
    folder.mkdir()
    torch.manual_seed(0)
    crn = ContextualRelationNetwork(DIMENSION, 32, 2, 4, 64)
    torch.save({"state_dict": {f"crn.{n}": v for n, v in crn.state_dict().items()}}, folder / "last.ckpt")
    trn = {"num_attention_heads": 4, "pooling_method": "cls"}
    tree = {"MODEL": {"contextual_relation_network": {"params": {"trn": trn}}}}
    (folder / "config.json").write_text(json.dumps(tree))
    return folder


def run(data: Path, out: Path, features: Path, *more: str) -> int:
    return finetune_main.main([*finetune_overrides(data, out), f"config.FEATURE_PATH={features}", *more])


def scores(out: Path, name: str = "devel") -> dict[str, Any]:
    return json.loads((out / "finetune" / "logs" / name / "all_score.json").read_text())


def without_sizes(overrides: list[str]) -> list[str]:
    return [override for override in overrides if override not in SMALL_CRN]


def probabilities(out: Path, name: str = "devel") -> np.ndarray:
    with (out / "finetune" / "logs" / name / "predictions.csv").open(newline="") as file:
        return np.array([float(row["probability"]) for row in csv.DictReader(file)])


@pytest.mark.parametrize(
    ("limits", "epoch"),
    [
        (["config.TEST.VAL_FREQ=2", "config.TRAINER.max_epochs=3"], 3),
        (["config.TEST.VAL_FREQ=9"], 2),
        (["config.TRAINER.max_steps=6"], 2),  # four batches an epoch
    ],
)
def test_the_last_weights_are_scored_also_where_no_evaluation_fell_on_them(
    limits: list[str], epoch: int, features: Path, tiny_movienet: Path, tmp_path: Path
) -> None:
    assert run(tiny_movienet, tmp_path, features, *limits) == 0
    assert scores(tmp_path)["epoch"] == epoch
    assert run(tiny_movienet, tmp_path, features, "+config.LOAD_FROM=devel", "config.EXPR_NAME=again") == 0
    assert scores(tmp_path, "again") == scores(tmp_path)


def test_the_scores_are_the_softmax_of_the_stored_model_on_the_clipped_windows(
    features: Path, tiny_movienet: Path, tmp_path: Path
) -> None:
    assert run(tiny_movienet, tmp_path, features) == 0
    scorer = load_scorer(read_checkpoint(tmp_path / "finetune" / "ckpt" / "devel")).eval()
    film, num_shots = list(FILMS.items())[2]
    shots = torch.from_numpy(np.stack([np.load(path) for path in sorted((features / film).iterdir())]))
    windows = torch.stack([shots[clipped_window(shot, num_shots)] for shot in range(num_shots - 1)])
    with torch.no_grad():
        expected = scorer(windows).softmax(1)[:, 1]
    assert expected.std() > 0.001
    np.testing.assert_allclose(probabilities(tmp_path), expected, atol=2e-6)


def test_a_transferred_crn_keeps_its_heads_when_the_tuned_model_is_read_again(
    features: Path, pretrained: Path, tiny_movienet: Path, tmp_path: Path
) -> None:
    typed = without_sizes(finetune_overrides(tiny_movienet, tmp_path))  # the sizes are the checkpoint's
    typed += [f"config.FEATURE_PATH={features}", f"config.PRETRAINED_CKPT_PATH={pretrained.parent}"]
    assert finetune_main.main([*typed, "+config.PRETRAINED_LOAD_FROM=four_heads"]) == 0
    stored = json.loads((tmp_path / "finetune" / "ckpt" / "devel" / "config.json").read_text())
    trn = stored["MODEL"]["contextual_relation_network"]["params"]["trn"]
    assert {name: trn[name] for name in ("hidden_size", "num_attention_heads", "intermediate_size")} == {
        "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64,
    }  # fmt: skip
    assert finetune_main.main([*typed, "+config.LOAD_FROM=devel", "config.EXPR_NAME=again"]) == 0
    assert scores(tmp_path, "again") == scores(tmp_path)
    scorer = load_scorer(read_checkpoint(tmp_path / "finetune" / "ckpt" / "devel"))
    assert scorer.crn is not None
    assert scorer.crn.num_heads == scorer.crn.encoder.layer[0].attention["self"].num_heads == 4


def test_where_no_boundary_of_val_is_scored_the_last_weights_are_scored(
    features: Path, tiny_movienet: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = tmp_path / "data"
    shutil.copytree(tiny_movienet, data)
    path = data / "anno" / "anno.val.ndjson"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    labels = [0] * (len(rows) - 1) + [1]
    lines = [json.dumps({**row, "boundary_label": label}) for row, label in zip(rows, labels, strict=True)]
    path.write_text("\n".join(lines) + "\n")
    select = ["config.TEST.SELECT_ON=val", "config.TEST.THRESHOLD=val", "config.TRAINER.limit_val_batches=1"]
    more = ["config.TEST.BATCH_SIZE.effective_batch_size=8", "config.TRAINER.max_epochs=1"]
    assert run(data, tmp_path, features, *select, *more) == 0
    assert (
        "val has no AP, as no boundary is among the scored rows; the last weights are scored instead of the best"
        in caplog.text
    )
    found = scores(tmp_path)
    assert Path(found["model"]["path"]).name == "last.ckpt"
    assert (found["threshold"], found["threshold_from_val"]) == (0.5, None)
    assert found["test"]["AP"] > 0


def test_an_evaluation_alone_records_itself_beside_the_run_and_never_over_it(
    features: Path, tiny_movienet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    window = "config.LOSS.sampling_method.params.neighbor_size=6"
    assert run(tiny_movienet, tmp_path, features, window, "config.TRAINER.max_epochs=1") == 0
    logs, weights = tmp_path / "finetune" / "logs", tmp_path / "finetune" / "ckpt" / "devel" / "last.ckpt"
    report = (logs / "devel" / "all_score.json").read_bytes()
    assert run(tiny_movienet, tmp_path, features, "+config.LOAD_FROM=devel") == 0
    assert run(tiny_movienet, tmp_path, features, "+config.LOAD_FROM=devel") == 0, "over an evaluation it may write"
    assert (logs / "devel" / "all_score.json").read_bytes() == report
    assert scores(tmp_path, "devel_evaluation") == scores(tmp_path)
    assert scores(tmp_path)["model"] == {"path": str(weights), "sha256": sha256_of(weights)}
    finished = FinishedRun(logs / "devel_evaluation")
    assert isinstance(finished.plan, FinetunePlan)
    assert (finished.plan.run.name, finished.checkpoint.path, finished.window) == ("devel_evaluation", weights, (6, 1))
    data = json.loads((logs / "devel_evaluation" / "environment.json").read_text())["data"]
    assert (list(data["sha256"]), data["features"]["folder"]) == (["anno.test.ndjson"], str(features))

    (tmp_path / "finetune" / "ckpt" / "gone").mkdir()
    shutil.copytree(logs / "devel", logs / "gone")  # its checkpoint is elsewhere, but its config.json says what it is
    shutil.copytree(weights.parent, tmp_path / "finetune" / "ckpt" / "moved")
    for name in ("gone", "moved"):
        capsys.readouterr()
        assert run(tiny_movienet, tmp_path, features, "+config.LOAD_FROM=devel", f"config.EXPR_NAME={name}") == 2
        said = capsys.readouterr().err.strip().splitlines()[-1]
        assert said == (
            f"error: {logs / name} holds the report of the training run {name}, which an evaluation alone would "
            "replace; set config.EXPR_NAME to another name"
        )


def plan_of(*overrides: str) -> FinetunePlan:
    return resolve_finetune(load("finetune", ["config.PRETRAINED_LOAD_FROM=bassl", *overrides]))


def test_dropout_and_pooling_of_a_transferred_crn_are_those_of_the_fine_tuning(pretrained: Path) -> None:
    checkpoint = read_checkpoint(pretrained)
    for typed, dropout, pooling in (
        ([], 0.1, "center"),
        ([f"{TRN}.hidden_dropout_prob=0.3", f"{TRN}.pooling_method=avg"], 0.3, "avg"),
    ):
        crn = build_crn(plan_of(*typed), checkpoint, DIMENSION, 17)
        assert crn.pooling == pooling
        dropouts = {part.p for part in crn.modules() if isinstance(part, torch.nn.Dropout)}
        assert dropouts == {dropout} == {crn.encoder.layer[0].attention["self"].dropout}


def test_transfer_may_be_forbidden_and_demanded(pretrained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint = read_checkpoint(pretrained)
    plan = plan_of(*SMALL_CRN)
    before = checkpoint.state_dict["crn.shot_embedding.shot_embedding.weight"]
    moved = build_crn(replace(plan, transfer=False), checkpoint, DIMENSION, 17)
    assert not torch.equal(moved.shot_embedding.shot_embedding.weight, before)
    kept = build_crn(replace(plan, transfer=True), checkpoint, DIMENSION, 17)
    assert torch.equal(kept.shot_embedding.shot_embedding.weight, before)
    with pytest.raises(ValueError, match="transfer=true, but the feature store has no CRN"):
        build_crn(replace(plan, transfer=True, pretrained=None), None, DIMENSION, 17)


def test_val_without_a_scene_end_is_refused_before_anything_is_trained(
    features: Path, tiny_movienet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(tiny_movienet, data, ignore=shutil.ignore_patterns("240P_frames"))
    path = data / "anno" / "anno.val.ndjson"
    rows = [json.loads(line) | {"boundary_label": 0} for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run(data, tmp_path, features, "config.TEST.SELECT_ON=val") == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert str(path) in said and "config.TEST.SELECT_ON=last" in said
    assert not (tmp_path / "finetune").exists()


def test_a_run_that_goes_on_from_elsewhere_keeps_what_lay_here_and_finds_its_own_best(
    tiny_movienet: Path, features: Path, tmp_path: Path
) -> None:
    """The weights hardly move, so that no later epoch is better than the best of the other folder."""
    still = ["config.TEST.SELECT_ON=val", "config.TRAIN.OPTIMIZER.lr.base_lr=1e-12", "config.TRAINER.max_epochs=1"]
    for name in ("first", "second"):
        assert run(tiny_movienet, tmp_path, features, *still, f"config.EXPR_NAME={name}") == 0
    first, second = (tmp_path / "finetune" / "ckpt" / name for name in ("first", "second"))
    before = {(second / name).read_bytes() for name in ("last.ckpt", "best.ckpt")}
    more = ["config.EXPR_NAME=second", f"config.RESUME={first}", "config.TRAINER.max_epochs=2"]
    assert run(tiny_movienet, tmp_path, features, *still, *more) == 0
    assert {path.read_bytes() for path in second.glob("earlier-*.ckpt")} == before
    assert read_checkpoint(second / "best.ckpt").epoch == read_checkpoint(second / "last.ckpt").epoch == 1


def test_a_shot_file_shorter_than_the_rows_is_refused_before_anything_is_trained(
    features: Path, tiny_movienet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(tiny_movienet, data, ignore=shutil.ignore_patterns("240P_frames"))
    row = json.loads((data / "anno" / "anno.test.ndjson").read_text().splitlines()[-1])
    film, last = row["video_id"], int(row["shot_id"])
    path = data / "scene318" / "shot_movie318" / f"{film}.txt"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:last]))
    assert run(data, tmp_path, features) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith(f"error: film {film} has a row for shot {last}, but the shot file {path} holds only {last} ")
    assert "config.SHOT_PATH" in said
    assert not (tmp_path / "finetune").exists()


def test_accumulation_takes_whole_optimiser_steps_and_refuses_less_than_one(
    features: Path, tiny_movienet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    size, parts = "config.TRAIN.BATCH_SIZE.effective_batch_size", "config.TRAINER.accumulate_grad_batches"
    assert run(tiny_movienet, tmp_path, features, f"{size}=24", f"{parts}=3") == 0
    stored = read_checkpoint(tmp_path / "finetune" / "ckpt" / "devel")
    assert stored.global_step == 2, "four batches an epoch of 8 samples are one step of 24; two epochs"
    assert run(tiny_movienet, tmp_path, features, f"{size}=80", f"{parts}=10", "config.EXPR_NAME=large") == 2
    assert "a batch of 80 samples does not fit" in capsys.readouterr().err.strip().splitlines()[-1]

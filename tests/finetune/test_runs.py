"""Fine-tuning and evaluation through the real entry point, on a small feature store."""

from __future__ import annotations

import csv
import json
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bassl.config.load import load
from bassl.config.paths import data_paths, feature_folder, pretrained_checkpoint
from bassl.dataset.features import FeatureStore, FeatureWriter
from bassl.dataset.window import clipped_window
from bassl.errors import InputError
from bassl.files import sha256_of
from bassl.finetune import main as finetune_main
from bassl.finetune.inputs import Window, open_store
from bassl.finetune.scorer import build_scorer, model_metadata
from bassl.model.checkpoint import Checkpoint, read_checkpoint
from bassl.model.crn import ContextualRelationNetwork
from bassl.model.heads import boundary_head
from bassl.model.loading import load_scorer
from bassl.plots.scalars import read_scalars
from tests.movienet import FILMS
from tests.runs import SMALL_CRN, finetune_overrides

DIMENSION = 48
TRN = "config.MODEL.contextual_relation_network.params.trn"
TRANSFER = "config.MODEL.contextual_relation_network.transfer"
SELECT = ["config.TEST.SELECT_ON=val", "config.TEST.THRESHOLD=val"]


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of random features."""
    folder, rng = tmp_path_factory.mktemp("store"), np.random.default_rng(0)
    writer = FeatureWriter(folder, DIMENSION, "float32", {"model": {"name": "another", "sha256": "0" * 64}})
    writer.begin()
    for film, num_shots in FILMS.items():
        writer.write(film, rng.standard_normal((num_shots, DIMENSION)).astype(np.float32))
    writer.finish(FILMS)
    writer.close()
    return folder


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a pre-trained CRN with pseudo-boundary head; its config.json alone says that it has 4 heads."""
    folder = tmp_path_factory.mktemp("pretrained") / "four_heads"
    folder.mkdir()
    torch.manual_seed(0)
    parts = torch.nn.ModuleDict({"crn": ContextualRelationNetwork(DIMENSION, 32, 2, 4, 64)})
    parts["loss"] = torch.nn.ModuleDict({"head_pp": boundary_head(32)})
    torch.save({"state_dict": parts.state_dict()}, folder / "last.ckpt")
    trn = {"num_attention_heads": 4, "pooling_method": "cls"}
    tree = {"MODEL": {"contextual_relation_network": {"params": {"trn": trn}}}}
    (folder / "config.json").write_text(json.dumps(tree))
    return folder


Run = Callable[..., int]


@pytest.fixture(scope="module")
def run(features: Path, pretrained: Path, tiny_movienet: Path) -> Run:
    """Call the command with an output folder and overrides; return its status."""
    places = [f"config.FEATURE_PATH={features}", f"config.PRETRAINED_CKPT_PATH={pretrained.parent}"]
    return lambda out, *more, data=tiny_movienet, sizes=True: finetune_main.main([
        *(key for key in finetune_overrides(data, out) if sizes or key not in SMALL_CRN), *places, *more,
    ])  # fmt: skip


@pytest.fixture(scope="module")
def selected(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output folder of a run that selects epoch and threshold on val, and whose best epoch is not its last."""
    out = tmp_path_factory.mktemp("selected")
    assert run(out, *SELECT, "config.TRAIN.OPTIMIZER.lr.base_lr=0.3", "config.TRAINER.max_epochs=5") == 0
    return out


def scores(out: Path, name: str = "devel") -> dict[str, Any]:
    return json.loads((out / "finetune" / "logs" / name / "all_score.json").read_text())


def last_error(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.strip().splitlines()[-1]


def edited(data: Path, out: Path, split: str, change: Callable[[list[dict[str, Any]]], None]) -> Path:
    """Copy a data set without its key-frames, with other rows in one split."""
    shutil.copytree(data, out, ignore=shutil.ignore_patterns("240P_frames"))
    path = out / "anno" / f"anno.{split}.ndjson"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    change(rows)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return out


def test_val_selects_the_epoch_and_its_threshold_and_test_is_scored_with_both(selected: Path, run: Run) -> None:
    folder, found = selected / "finetune" / "ckpt" / "devel", scores(selected)
    val = read_scalars(selected / "finetune" / "logs" / "devel")["val/AP"].value
    assert len(val) == 5
    best = int(val.argmax())
    assert best < 4, "the last epoch is the best, so this test sees nothing"
    assert found["epoch"] == read_checkpoint(folder / "best.ckpt").epoch + 1 == best + 1  # type: ignore[operator]
    assert found["val"]["AP"] == pytest.approx(val.max())
    stored = torch.load(folder / "best.ckpt", weights_only=True)["bassl"]
    last = torch.load(folder / "last.ckpt", weights_only=True)["bassl"]
    assert found["threshold"] == found["threshold_from_val"] == stored["threshold"] != last["threshold"]
    path = folder / "best.ckpt"
    assert found["model"] == {"path": str(path), "sha256": sha256_of(path)}
    assert run(selected, f"+config.LOAD_FROM={path}", "config.TEST.THRESHOLD=val", "config.EXPR_NAME=again") == 0
    assert scores(selected, "again") == found


@pytest.mark.parametrize("job", ["train", "evaluate"])
def test_keys_of_scoring_reach_the_module(
    job: str, run: Run, selected: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}

    def module(*parts: Any, **arguments: Any) -> None:
        given.update(arguments)
        raise InterruptedError

    monkeypatch.setattr(f"bassl.finetune.{job}.FinetuneModule", module)
    keys = [f"config.TEST.{key}" for key in ("FPS=30", "THRESHOLD=0.3", "UNCERTAIN_LABEL=masked", "SELECT_ON=val")]
    source = [f"config.LOAD_FROM={selected}/finetune/ckpt/devel/best.ckpt"] if job == "evaluate" else []
    with pytest.raises(InterruptedError):
        run(tmp_path, *keys, *source, "config.TRANSFORM.test.resize=34")
    assert (given["fps"], given["threshold"], given["uncertain"]) == (30, 0.3, "masked")
    assert (given["lr"], given["seed"]) == (pytest.approx(0.001 * 8 / 256), 1)
    assert given["validated"] == ("val" if job == "train" else "test")
    assert given["metadata"]["transform"] == {"resize": 34, "crop": 32}, "of the run: the store records none"


@pytest.mark.parametrize(("limits", "epoch"), [
    (["config.TEST.VAL_FREQ=9"], 2),
    (["config.TRAINER.max_steps=6"], 2),  # four batches per epoch
])  # fmt: skip
def test_the_last_weights_are_scored_also_if_no_evaluation_fell_on_them(
    limits: list[str], epoch: int, run: Run, tmp_path: Path
) -> None:
    assert run(tmp_path, *limits) == 0
    assert scores(tmp_path)["epoch"] == epoch
    assert run(tmp_path, "+config.LOAD_FROM=devel", "config.EXPR_NAME=again") == 0
    assert scores(tmp_path, "again") == scores(tmp_path)


def test_scores_are_the_softmax_of_the_model_on_clipped_windows(run: Run, features: Path, tmp_path: Path) -> None:
    assert run(tmp_path, "config.MODEL.scorer=crn+similarity") == 0
    checkpoint = read_checkpoint(tmp_path / "finetune" / "ckpt" / "devel")
    film, num_shots = list(FILMS.items())[2]
    shots = torch.from_numpy(np.load(features / f"{film}.npy"))
    windows = torch.stack([shots[clipped_window(shot, num_shots)] for shot in range(num_shots - 1)])
    with torch.no_grad():
        expected = load_scorer(checkpoint).eval()(windows).softmax(1)[:, 1]
    with (tmp_path / "finetune" / "logs" / "devel" / "predictions.csv").open(newline="") as file:
        np.testing.assert_allclose([float(row["probability"]) for row in csv.DictReader(file)], expected, atol=2e-6)
    # The similarity head is centred by the training film alone.
    mean = np.load(features / "tt0000001.npy").mean(0)
    np.testing.assert_allclose(checkpoint.state_dict["similarity.mean"], mean, rtol=1e-5, atol=1e-6)


def test_a_transferred_crn_keeps_its_sizes_when_the_tuned_model_is_read_again(run: Run, tmp_path: Path) -> None:
    assert run(tmp_path, "+config.PRETRAINED_LOAD_FROM=four_heads", sizes=False) == 0
    folder = tmp_path / "finetune" / "ckpt" / "devel"
    trn = json.loads((folder / "config.json").read_text())["MODEL"]["contextual_relation_network"]["params"]["trn"]
    assert (trn["hidden_size"], trn["num_attention_heads"], trn["intermediate_size"]) == (32, 4, 64)
    assert run(tmp_path, "+config.LOAD_FROM=devel", "config.EXPR_NAME=again", sizes=False) == 0
    assert scores(tmp_path, "again") == scores(tmp_path)
    crn = load_scorer(read_checkpoint(folder)).crn
    assert crn is not None
    assert crn.num_heads == crn.encoder.layer[0].attention["self"].num_heads == 4


def test_transfer_takes_the_weights_and_the_runs_own_dropout_and_pooling(pretrained: Path) -> None:
    checkpoint = read_checkpoint(pretrained)
    before = checkpoint.state_dict["crn.shot_embedding.shot_embedding.weight"]

    def crn(*overrides: str, source: Any = checkpoint) -> ContextualRelationNetwork:
        config = load("finetune", ["config.FEATURE_PATH=/f", *overrides])
        train: Any = None  # read by the similarity head alone
        scorer = build_scorer(config, source, dimension=DIMENSION, window=Window(8, 1), train=train, table=None)
        assert scorer.crn is not None
        return scorer.crn

    moved = crn(f"{TRN}.hidden_dropout_prob=0.3", f"{TRN}.pooling_method=avg")
    assert torch.equal(moved.shot_embedding.shot_embedding.weight, before)
    assert moved.pooling == "avg"
    assert {part.p for part in moved.modules() if isinstance(part, torch.nn.Dropout)} == {0.3}
    fresh = crn(*SMALL_CRN, f"{TRANSFER}=false")
    assert not torch.equal(fresh.shot_embedding.shot_embedding.weight, before)
    with pytest.raises(InputError, match="transfer=true, but the feature store has no CRN"):
        crn(f"{TRANSFER}=true", source=None)
    with pytest.raises(InputError, match="windows of 17 shots with 48 features each, the run has 9 with 48"):
        build_scorer(
            load("finetune", ["config.FEATURE_PATH=/f"]), checkpoint, dimension=DIMENSION, window=Window(4, 1),
            train=None, table=None,  # type: ignore[arg-type]
        )  # fmt: skip


def test_zero_shot_scores_the_pseudo_boundary_head_without_training(run: Run, pretrained: Path, tmp_path: Path) -> None:
    assert run(tmp_path, "config.PRETRAINED_LOAD_FROM=four_heads", "config.ZERO_SHOT=true") == 0
    found = scores(tmp_path, "four_heads_evaluation")
    assert (found["kind"], found["epoch"], found["val"]) == ("zero-shot", 0, None)
    assert found["model"]["path"] == str(pretrained / "last.ckpt")
    assert found["training_free"].keys() >= {"AP", "mAP", "AUC"}
    assert 0 < found["test"]["AP"] <= 1
    assert not (tmp_path / "finetune" / "ckpt").exists()


def test_an_evaluation_records_itself_and_never_replaces_a_training_run(
    run: Run, features: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    assert run(tmp_path, "config.LOSS.sampling_method.params.neighbor_size=6", "config.TRAINER.max_epochs=1") == 0
    logs, weights = tmp_path / "finetune" / "logs", tmp_path / "finetune" / "ckpt" / "devel" / "last.ckpt"
    report = (logs / "devel" / "all_score.json").read_bytes()
    for _ in range(2):  # the second may replace the first
        assert run(tmp_path, "+config.LOAD_FROM=devel", "config.RESUME=true") == 0
    assert "config.RESUME has no effect" in caplog.text
    assert scores(tmp_path, "devel_evaluation") == scores(tmp_path)
    recorded = json.loads((logs / "devel_evaluation" / "config.json").read_text())
    assert recorded["EXPR_NAME"] == "devel_evaluation"
    assert recorded["LOSS"]["sampling_method"]["params"]["neighbor_size"] == 6, "the window is the model's"
    shutil.copytree(logs / "devel", logs / "gone")  # its checkpoint is elsewhere, but its config.json says what it is
    shutil.copytree(weights.parent, tmp_path / "finetune" / "ckpt" / "moved")
    for name in ("gone", "moved"):
        assert run(tmp_path, "+config.LOAD_FROM=devel", f"config.EXPR_NAME={name}") == 2
        assert f"{logs / name} holds the report of the training run {name}" in last_error(capsys)
    assert run(tmp_path, "+config.LOAD_FROM=devel", "config.TEST.THRESHOLD=val") == 2
    assert "stores no threshold" in last_error(capsys)
    assert (logs / "devel" / "all_score.json").read_bytes() == report


def test_val_without_a_scored_boundary_leaves_the_last_weights(
    run: Run, tiny_movienet: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def only_the_last(rows: list[dict[str, Any]]) -> None:
        for number, row in enumerate(rows, start=1):
            row["boundary_label"] = int(number == len(rows))

    data = edited(tiny_movienet, tmp_path / "data", "val", only_the_last)
    data.joinpath("240P_frames").symlink_to(tiny_movienet / "240P_frames")
    first_rows = ["config.TRAINER.limit_val_batches=1", "config.TEST.BATCH_SIZE.effective_batch_size=8"]
    assert run(tmp_path, *SELECT, *first_rows, "config.TRAINER.max_epochs=1", data=data) == 0
    assert "the last weights are scored instead of the best" in caplog.text
    found = scores(tmp_path)
    assert Path(found["model"]["path"]).name == "last.ckpt"
    assert (found["threshold"], found["threshold_from_val"]) == (0.5, None)


def test_rows_that_cannot_be_used_are_refused_before_anything_is_trained(
    run: Run, tiny_movienet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_boundary(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            row["boundary_label"] = 0

    data = edited(tiny_movienet, tmp_path / "a", "val", no_boundary)
    assert run(tmp_path, "config.TEST.SELECT_ON=val", data=data) == 2
    assert "has no scene end" in last_error(capsys)
    data = edited(tiny_movienet, tmp_path / "b", "test", lambda rows: None)
    path = data / "scene318" / "shot_movie318" / "tt0000003.txt"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:22]))
    assert run(tmp_path, data=data) == 2
    assert f"has a row for shot 22, but the shot file {path} holds only 22 shots" in last_error(capsys)
    assert run(tmp_path, "config.TRAIN.BATCH_SIZE.effective_batch_size=80") == 2
    assert "a batch of 80 samples does not fit" in last_error(capsys)
    assert not (tmp_path / "finetune" / "ckpt").exists()


def test_accumulation_takes_whole_optimiser_steps(run: Run, tmp_path: Path) -> None:
    size, parts = "config.TRAIN.BATCH_SIZE.effective_batch_size=24", "config.TRAINER.accumulate_grad_batches=3"
    assert run(tmp_path, size, parts) == 0
    stored = read_checkpoint(tmp_path / "finetune" / "ckpt" / "devel")
    assert stored.global_step == 2, "39 rows are one step of 24 samples per epoch; two epochs"


def test_a_run_resumed_from_elsewhere_archives_what_was_here_and_finds_its_own_best(run: Run, tmp_path: Path) -> None:
    """The weights hardly move, so that no later epoch is better than the best of the other folder."""
    still = ["config.TEST.SELECT_ON=val", "config.TRAIN.OPTIMIZER.lr.base_lr=1e-12", "config.TRAINER.max_epochs=1"]
    for name in ("first", "second"):
        assert run(tmp_path, *still, f"config.EXPR_NAME={name}") == 0
    first, second = (tmp_path / "finetune" / "ckpt" / name for name in ("first", "second"))
    before = {(second / name).read_bytes() for name in ("last.ckpt", "best.ckpt")}
    more = ["config.EXPR_NAME=second", f"config.RESUME={first}", "config.TRAINER.max_epochs=2"]
    assert run(tmp_path, *still, *more) == 0
    assert {path.read_bytes() for path in second.glob("earlier-*.ckpt")} == before
    assert read_checkpoint(second / "best.ckpt").epoch == read_checkpoint(second / "last.ckpt").epoch == 1


def test_features_of_another_checkpoint_are_refused_unless_they_are_named(
    features: Path, pretrained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(features, tmp_path / "features" / "four_heads")
    typed = [f"config.PRETRAINED_LOAD_FROM={pretrained}", f"config.DATA_PATH={tmp_path}"]
    checkpoint = read_checkpoint(pretrained)
    with pytest.raises(InputError, match="were made by another checkpoint"):
        open_store(load("finetune", typed), pretrained=checkpoint)
    store = open_store(load("finetune", [*typed, f"config.FEATURE_PATH={features}"]), pretrained=checkpoint)
    assert isinstance(store, FeatureStore)
    assert "used anyway" in caplog.text


def test_the_transform_is_that_of_the_features_and_another_than_in_pretraining_is_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    writer = FeatureWriter(tmp_path, 4, "float32", {"model": None, "transform": {"resize": 96, "crop": 80}})
    writer.begin()
    writer.finish({})
    config = load("finetune", [f"config.FEATURE_PATH={tmp_path}", "config.TRANSFORM.test.resize=300"])
    path = tmp_path / "last.ckpt"
    path.touch()
    for resize, warned in ((96, 0), (128, 1)):
        about = {"config": {"TRANSFORM": {"test": {"resize": resize, "crop": 80}}}}
        store = open_store(config, pretrained=Checkpoint(path, {}, metadata={"bassl": about}))
        assert len(caplog.messages) == warned
    assert f"resized to 96 and cropped to 80 pixels, those of {path} to 128, 80" in caplog.text
    stored = model_metadata(config, None, Window(8, 1), seed=0, store=store)
    assert stored["transform"] == {"resize": 96, "crop": 80}


@pytest.mark.parametrize("more", [
    ["config.DATA_PATH={}/my films"],
    ["config.DATA_PATH={}/my", "config.IMG_PATH={}/pictures", "config.ANNO_PATH={}/notes"],
    ["config.FEATURE_PATH={}/store", "config.PRETRAINED_CKPT_PATH={}/ckpt"],
    ["config.PRETRAINED_LOAD_FROM={}/a/model-v1.ckpt"],
])  # fmt: skip
def test_missing_features_are_answered_with_the_command_that_makes_them(more: list[str], tmp_path: Path) -> None:
    tuning = load("finetune", ["config.PRETRAINED_LOAD_FROM=tiny", *(text.format(tmp_path) for text in more)])
    with pytest.raises(InputError) as refused:
        open_store(tuning, pretrained=None)
    extraction = load("extract", shlex.split(str(refused.value).split("`")[1])[2:])
    assert feature_folder(extraction) == feature_folder(tuning)
    assert pretrained_checkpoint(extraction) == pretrained_checkpoint(tuning)
    ours, theirs = data_paths(tuning), data_paths(extraction)
    assert (theirs.annotations, theirs.keyframes) == (ours.annotations, ours.keyframes)

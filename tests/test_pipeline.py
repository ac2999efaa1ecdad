"""Key-frames to scores through the real commands: what each run writes, and that the stages fit together."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from bassl.dataset.annotation import read_annotations
from bassl.dataset.features import FeatureStore
from bassl.dataset.transform import decode_keyframe, normalize, resize_and_crop, stacked
from bassl.finetune import main as finetune_main
from bassl.model.checkpoint import read_checkpoint
from bassl.model.loading import load_encoder
from bassl.pretrain import extract_shot_repr
from bassl.pretrain import main as pretrain_main
from tests.knn import same_scene_precision
from tests.runs import FINETUNING, all_scalars, extract_overrides, finetune_overrides, pretrain_overrides


def pretrain(data: Path, out: Path, *more: str) -> int:
    return pretrain_main.main([*pretrain_overrides(data, out), *more])


def extract(data: Path, out: Path, *more: str) -> int:
    return extract_shot_repr.main([*extract_overrides(data, out), *more])


def finetune(data: Path, out: Path, *more: str) -> int:
    return finetune_main.main([*finetune_overrides(data, out), *more])


def scores(out: Path, name: str = "devel") -> dict:
    return json.loads((out / "finetune" / "logs" / name / "all_score.json").read_text())


def scalars(folder: Path) -> dict[str, list[float]]:
    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [event.value for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


@pytest.fixture(scope="module")
def ran(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A writable copy of the finished run."""
    return Path(shutil.copytree(finished, tmp_path_factory.mktemp("ran"), dirs_exist_ok=True))


def test_pretraining_writes_checkpoint_config_and_environment(ran: Path) -> None:
    folder = ran / "pretrain" / "ckpt" / "devel"
    assert sorted(path.name for path in folder.glob("[!.]*")) == ["config.json", "environment.json", "last.ckpt"]
    config = json.loads((folder / "config.json").read_text())
    assert (config["SEED"], config["MODEL"]["shot_encoder"]["resnet"]["depth"]) == (1, 18)
    environment = json.loads((folder / "environment.json").read_text())
    assert environment["packages"]["torch"] == torch.__version__.split("+")[0]
    prefixes = {name.split(".")[0] for name in read_checkpoint(folder).state_dict}
    assert prefixes == {"shot_encoder", "crn", "loss"}


def test_pretraining_logs_every_term_learning_rate_throughput_and_knn(ran: Path) -> None:
    logged = scalars(ran / "pretrain" / "logs" / "devel")
    for tag in ("train/loss", "train/ssm", "train/cgm", "train/pp", "train/msm", "train/lr", "knn/precision@1"):
        assert tag in logged, sorted(logged)
    assert "throughput/samples_per_second" in logged
    total = np.sum([logged[f"train/{term}"] for term in ("ssm", "cgm", "pp", "msm")], axis=0)
    np.testing.assert_allclose(logged["train/loss"], total, rtol=1e-5)


def test_learning_rates_follow_their_schedules_step_by_step(ran: Path) -> None:
    """Pre-training took four steps (too few for a warm-up), fine-tuning two epochs of four."""
    cases = (("pretrain", 0.3 * 4 / 256, 4), ("finetune", 0.001 * 8 / 256, 8))
    for job, peak, num_steps in cases:
        expected = [peak * 0.5 * (1 + np.cos(np.pi * step / num_steps)) for step in range(num_steps)]
        logged = [value for name, value in all_scalars(ran / job).items() if name.startswith("train/lr at ")]
        np.testing.assert_allclose(logged, expected, rtol=1e-6, err_msg=job)


def test_knn_validation_measures_the_films_of_the_test_rows(ran: Path, tiny_movienet: Path) -> None:
    logged = scalars(ran / "pretrain" / "logs" / "devel")
    notes = read_annotations(tiny_movienet / "anno" / "anno.test.ndjson")
    features = torch.from_numpy(FeatureStore.open(ran / "features").film("tt0000003")[notes.shot])
    expected = same_scene_precision(features, torch.from_numpy(notes.film), torch.from_numpy(notes.scene)).tolist()
    for k, precision in zip((1, 5, 10, 15, 20), expected, strict=True):
        if precision == precision:
            # 4.3 is one of 23 neighbours: the extraction folds BatchNorm, which may turn a near tie
            assert logged[f"knn/precision@{k}"][-1] == pytest.approx(precision, abs=5)
        else:
            assert f"knn/precision@{k}" not in logged
    assert expected[0] > 30


def test_extracted_features_are_the_mean_over_key_frames(ran: Path, tiny_movienet: Path) -> None:
    store = FeatureStore.open(ran / "features")
    assert dict(store.num_shots) == {"tt0000001": 40, "tt0000002": 31, "tt0000003": 24}
    checkpoint = read_checkpoint(ran / "pretrain" / "ckpt" / "devel")
    assert store.model == {"name": "devel", "sha256": checkpoint.sha256}
    encoder = load_encoder(checkpoint).eval()
    folder = tiny_movienet / "240P_frames" / "tt0000002"
    paths = [folder / f"shot_{shot:04d}_img_{k}.jpg" for shot in (0, 30) for k in range(3)]
    with torch.no_grad():
        images = resize_and_crop(stacked([decode_keyframe(path) for path in paths]), 32, 32)
        expected = encoder(normalize(images)).view(2, 3, -1).mean(1)
    np.testing.assert_allclose(store.film("tt0000002")[[0, 30]], expected, rtol=1e-3, atol=1e-5)


def test_fine_tuning_scores_every_test_row_once(ran: Path) -> None:
    folder = ran / "finetune" / "logs" / "devel"
    with (folder / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["film"], row["shot"]) for row in rows] == [("tt0000003", f"{shot:04d}") for shot in range(23)]
    assert all(0 <= float(row["probability"]) <= 1 and row["label"] in ("-1", "0", "1") for row in rows)
    found = scores(ran)
    assert found["epoch"] == 2
    assert {"AP", "mAP", "AUC", "F1", "Recall", "Recall@3s", "mIoU", "mIoU_shots"} <= set(found["test"])
    assert {"AP", "mAP", "AUC"} <= found["training_free"].keys()


def test_the_pre_trained_crn_is_transferred_and_the_fine_tuned_file_is_a_whole_model(ran: Path) -> None:
    before = read_checkpoint(ran / "pretrain" / "ckpt" / "devel").state_dict
    after = read_checkpoint(ran / "finetune" / "ckpt" / "devel").state_dict
    assert {name.split(".")[0] for name in after} == {"shot_encoder", "crn", "head_sbd"}
    torch.testing.assert_close(before["shot_encoder.conv1.weight"], after["shot_encoder.conv1.weight"], rtol=0, atol=0)
    name = "crn.shot_embedding.shot_embedding.weight"
    change = (after[name] - before[name]).abs().max()
    assert 0 < change < 0.1, "fine-tuning starts from the pre-trained CRN and moves it a little"


def test_evaluation_alone_repeats_the_scores(ran: Path, tiny_movienet: Path) -> None:
    status = finetune(tiny_movienet, ran, "config.LOAD_FROM=devel", "config.EXPR_NAME=again")
    assert status == 0
    first, second = scores(ran), scores(ran, "again")
    assert first["model"].pop("path") and second["model"].pop("path")
    assert second == first


def test_a_run_that_is_at_its_end_says_that_nothing_was_left_to_train(
    ran: Path, tiny_movienet: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Of its folder, which holds no checkpoint, nothing is promised."""
    for job, again in (
        ("pretrain", lambda *more: pretrain(tiny_movienet, ran, *more)),
        ("finetune", lambda *more: finetune(tiny_movienet, ran, "config.PRETRAINED_LOAD_FROM=devel", *more)),
    ):
        last = ran / job / "ckpt" / "devel" / "last.ckpt"
        epochs = [] if job == "pretrain" else ["config.TRAINER.max_epochs=2"]
        caplog.clear()
        with caplog.at_level("INFO"):
            assert again(f"config.RESUME={last}", "config.EXPR_NAME=again", *epochs) == 0
        assert f"nothing was left to train: {last} is the end of its run" in caplog.messages
        assert not [message for message in caplog.messages if "checkpoint: " in message]
        assert not (ran / job / "ckpt" / "again" / "last.ckpt").exists()
    assert scores(ran, "again")["model"]["path"] == str(last)
    assert scores(ran, "again")["epoch"] == 2


def test_raw_key_frames_give_the_scores_of_extracted_features(ran: Path, tiny_movienet: Path) -> None:
    status = finetune(tiny_movienet, ran, "config.LOAD_FROM=devel", "config.EXPR_NAME=raw", "config.USE_RAW_SHOT=true")
    assert status == 0
    by_feature, raw = ((ran / "finetune" / "logs" / name / "predictions.csv") for name in ("devel", "raw"))
    columns = [[float(row["probability"]) for row in csv.DictReader(path.open())] for path in (by_feature, raw)]
    np.testing.assert_allclose(columns[1], columns[0], atol=1e-4)


def test_selection_on_val_keeps_the_best_epoch_and_stores_a_threshold(ran: Path, tiny_movienet: Path) -> None:
    more = ["config.EXPR_NAME=selected", "config.TEST.SELECT_ON=val", "config.TRAINER.max_epochs=3"]
    assert finetune(tiny_movienet, ran, "config.PRETRAINED_LOAD_FROM=devel", *more) == 0
    best = read_checkpoint(ran / "finetune" / "ckpt" / "selected" / "best.ckpt")
    logged = scalars(ran / "finetune" / "logs" / "selected")["val/AP"]
    found = scores(ran, "selected")
    assert found["epoch"] == 1 + int(np.argmax(logged)) == best.epoch + 1
    assert found["val"]["AP"] == pytest.approx(max(logged), rel=1e-6)
    assert 0 <= found["threshold_from_val"] <= 1
    assert found["threshold"] == 0.5


def test_the_threshold_that_val_chose_is_that_of_scores_and_of_an_evaluation_alone(
    ran: Path, tiny_movienet: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["config.EXPR_NAME=chosen", "config.TEST.SELECT_ON=val", "config.TEST.THRESHOLD=val"]
    more += ["config.TRAINER.max_epochs=6"]
    assert finetune(tiny_movienet, ran, "config.PRETRAINED_LOAD_FROM=devel", *more) == 0
    found = scores(ran, "chosen")
    assert found["threshold"] == found["threshold_from_val"] != 0.5
    with (ran / "finetune" / "logs" / "chosen" / "predictions.csv").open() as file:
        rows = [(float(row["probability"]) - found["threshold"], row["label"] != "0") for row in csv.DictReader(file)]
    clear = [(above > 0) == label for above, label in rows if abs(above) > 1e-6]  # the table holds six digits
    assert len(clear) > 15
    assert sum(clear) <= round(found["test"]["Accuracy"] * len(rows)) <= sum(clear) + len(rows) - len(clear)
    again = ["config.EXPR_NAME=chosen_again", "config.TEST.THRESHOLD=val"]
    assert finetune(tiny_movienet, ran, "config.LOAD_FROM=chosen", *again) == 0
    assert scores(ran, "chosen_again")["test"] == found["test"], "of the epoch that val chose, not of the last"
    status = finetune(tiny_movienet, ran, "config.LOAD_FROM=devel", *again)
    refused(status, capsys, "stores no threshold", "SELECT_ON=val")


@pytest.mark.parametrize(
    "method",
    ["bassl+shotcol", *(pytest.param(name, marks=pytest.mark.slow) for name in ("shotcol", "temporal", "instance"))],
)
def test_every_method_trains_extracts_and_fine_tunes(method: str, tiny_movienet: Path, tmp_path: Path) -> None:
    assert pretrain(tiny_movienet, tmp_path, f"config.LOSS.sampling_method.name={method}") == 0
    assert extract(tiny_movienet, tmp_path, "config.LOAD_FROM=devel") == 0
    assert finetune(tiny_movienet, tmp_path, "config.PRETRAINED_LOAD_FROM=devel", "config.TRAINER.max_epochs=1") == 0
    has_crn = any(
        name.startswith("crn.") for name in read_checkpoint(tmp_path / "pretrain" / "ckpt" / "devel").state_dict
    )
    assert has_crn == (method == "bassl+shotcol")


def test_a_published_checkpoint_is_used_by_its_name(ran: Path, tiny_movienet: Path, tmp_path: Path) -> None:
    """Weights under the reference's file name with Lightning 1.3's callback state, config.json beside it."""
    ours = torch.load(ran / "pretrain" / "ckpt" / "devel" / "last.ckpt", weights_only=True)
    folder = tmp_path / "pretrain" / "ckpt" / "bassl"
    folder.mkdir(parents=True)
    from pytorch_lightning.callbacks import ModelCheckpoint

    old = {
        "epoch": 9,
        "global_step": 62000,
        "pytorch-lightning_version": "1.3.8",
        "state_dict": {
            **ours["state_dict"],
            "crn.attention_mask": torch.ones(1, 1, 1, 18),
            "crn.shot_embedding.pos_ids": torch.arange(18),
        },
        "callbacks": {ModelCheckpoint: {"best_model_score": torch.tensor(1.0)}},
    }
    torch.save(old, folder / "model-v1.ckpt")
    trn = {"num_attention_heads": 4, "pooling_method": "center", "is_decoder": False, "unknown": [1, 2]}
    tree = {"MODEL": {"contextual_relation_network": {"params": {"trn": trn}}}, "WHATEVER": {"x": 1}}
    (folder / "config.json").write_text(json.dumps(tree))
    assert extract(tiny_movienet, tmp_path, "config.LOAD_FROM=bassl") == 0
    assert finetune(tiny_movienet, tmp_path, *FINETUNING, "config.PRETRAINED_LOAD_FROM=bassl") == 0
    assert scores(tmp_path)["test"] == scores(ran)["test"]


def test_a_dry_run_writes_nothing(ran: Path, tiny_movienet: Path, tmp_path: Path) -> None:
    assert pretrain(tiny_movienet, tmp_path, "config.DRY_RUN=true") == 0
    shutil.copytree(ran / "pretrain", tmp_path / "pretrain")
    before = sorted(tmp_path.rglob("*"))
    assert extract(tiny_movienet, tmp_path, "config.LOAD_FROM=devel", "config.DRY_RUN=true") == 0
    features = f"config.FEATURE_PATH={ran}/features"
    assert finetune(tiny_movienet, tmp_path, "config.PRETRAINED_LOAD_FROM=devel", "config.DRY_RUN=true", features) == 0
    assert sorted(tmp_path.rglob("*")) == before


def refused(status: int, capsys: pytest.CaptureFixture[str], *words: str) -> None:
    lines = capsys.readouterr().err.strip().splitlines()
    assert status == 2
    assert lines[-1].startswith("error: ")
    for word in words:
        assert word in lines[-1], lines[-1]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["config.DATA_PATH=/nowhere"], ["/nowhere/anno/anno.pretrain.ndjson", "config.DATA_PATH"]),
        (["config.IMG_PATH=/nowhere"], ["/nowhere/tt0000001/shot_0000_img_0.jpg", "config.IMG_PATH"]),
        (["config.TRAIN.BATCH_SIZE.effective_batch_size=200"], ["200", "95 samples", "effective_batch_size to 95"]),
        (["config.DISTRIBUTED.NUM_PROC_PER_NODE=2"], ["PROC_PER_NODE=2 needs", "PROC_PER_NODE=1"]),
        (["config.TRAINER.accelerator=cuda"], ["config.TRAINER.accelerator=cpu"]),
        (["config.RESUME=/nowhere/x.ckpt"], ["/nowhere/x.ckpt"]),
    ],
)  # fmt: skip
def test_pretraining_refuses_in_one_sentence(
    overrides: Sequence[str], words: Sequence[str], tiny_movienet: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    refused(pretrain(tiny_movienet, tmp_path, *overrides), capsys, *words)
    assert not list(tmp_path.iterdir()), "nothing is written before the inputs are known to be there"


def test_extraction_and_fine_tuning_say_what_is_missing(
    ran: Path, tiny_movienet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = extract(tiny_movienet, tmp_path, "config.LOAD_FROM=nobody")
    refused(status, capsys, str(tmp_path / "pretrain" / "ckpt" / "nobody"), "config.EXPR_NAME=nobody")
    shutil.copytree(ran / "pretrain", tmp_path / "pretrain")
    status = finetune(tiny_movienet, tmp_path, "config.PRETRAINED_LOAD_FROM=devel")
    refused(status, capsys, str(tmp_path / "features"), "bassl extract config.LOAD_FROM=devel")
    refused(finetune(tiny_movienet, tmp_path), capsys, str(tmp_path / "features"))


def test_features_of_another_checkpoint_are_never_mixed(
    ran: Path, tiny_movienet: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(ran / "features", tmp_path / "features")
    assert pretrain(tiny_movienet, tmp_path, "config.SEED=2", "config.TRAINER.max_epochs=0") == 0
    capsys.readouterr()
    refused(
        extract(tiny_movienet, tmp_path, "config.LOAD_FROM=devel"), capsys, "made differently", "config.FEATURE_PATH"
    )
    plain = [o for o in finetune_overrides(tiny_movienet, tmp_path) if "FEATURE_PATH" not in o]
    data = tmp_path / "data"
    shutil.copytree(tiny_movienet, data)
    shutil.copytree(ran / "features", data / "features" / "devel")
    status = finetune_main.main([*plain, f"config.DATA_PATH={data}", "config.PRETRAINED_LOAD_FROM=devel"])
    refused(status, capsys, "another checkpoint", "extract again")


def test_a_crn_of_another_window_is_refused(ran: Path, tiny_movienet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ["config.PRETRAINED_LOAD_FROM=devel", "config.LOSS.sampling_method.params.neighbor_size=4"]
    refused(
        finetune(tiny_movienet, ran, *more, "config.EXPR_NAME=other"),
        capsys,
        "17 shots",
        "neighbor_size=8",
        "transfer=false",
    )

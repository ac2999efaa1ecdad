"""Finished runs on disk, written without training."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch.utils.tensorboard import SummaryWriter

from bassl.config.load import load
from bassl.dataset.annotation import read_annotations
from bassl.dataset.features import FeatureWriter
from bassl.model.crn import ContextualRelationNetwork
from bassl.model.heads import NCEHead, boundary_head
from tests.movienet import FILMS
from tests.reference import data
from tests.runs import SMALL_CRN

TEST_FILM, NUM_SHOTS = "tt0000003", FILMS["tt0000003"]
NUM_LABELLED = NUM_SHOTS - 1


def write_finetuning(data_root: Path, out: Path, features: bool = True) -> Path:
    """Write a run on the tiny data set with its features, checkpoint and pre-trained model; return its log folder."""
    overrides = [
        f"config.DATA_PATH={data_root}",
        f"config.FEATURE_PATH={out}/features",
        f"config.CKPT_PATH={out}/ckpt",
        f"config.LOG_PATH={out}/logs",
        f"config.PRETRAINED_CKPT_PATH={out}/pretrained",
        "config.PRETRAINED_LOAD_FROM=bassl",
        "config.EXPR_NAME=run",
        *SMALL_CRN,
    ]
    config = asdict(load("finetune", overrides))
    logs = out / "logs" / "run"
    _write_config(logs, config)
    crn = ContextualRelationNetwork(12, 32, 2, 4, 64)
    parts = {"crn.": crn, "head_sbd.": boundary_head(32)}
    save(out / "ckpt" / "run" / "last.ckpt", parts, {"config": config})
    save(out / "pretrained" / "bassl" / "last.ckpt", {"loss.head_nce.": NCEHead(12, 8, 4)}, {})
    if features:
        writer = FeatureWriter(out / "features", 12, "float32", {"model": None})
        writer.begin()
        writer.write(TEST_FILM, data(0, (NUM_SHOTS, 12)).numpy())
        writer.finish({TEST_FILM: NUM_SHOTS})
    write_predictions(logs / "predictions.csv", data_root)
    log_scalars(logs, ["train/loss"])
    return logs


def write_pretraining(data_root: Path, out: Path) -> Path:
    """Write the configuration and the logged values of a pre-training run; return its log folder."""
    overrides = [f"config.DATA_PATH={data_root}", f"config.LOG_PATH={out}/logs", f"config.CKPT_PATH={out}/ckpt"]
    logs = out / "logs" / "devel"
    _write_config(logs, asdict(load("pretrain", [*overrides, "config.DISTRIBUTED.NUM_PROC_PER_NODE=1"])))
    log_scalars(logs, ["train/loss", "train/ssm", "knn/precision@1"])
    return logs


def write_predictions(path: Path, data_root: Path, seed: int = 0) -> None:
    """Write `predictions.csv` of the test rows with random probabilities."""
    annotations = read_annotations(data_root / "anno" / "anno.test.ndjson")
    probability = np.random.default_rng(seed).random(len(annotations))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("film", "shot", "probability", "label"))
        for row in range(len(annotations)):
            film, shot = int(annotations.film[row]), int(annotations.shot[row])
            name, shot_id = annotations.films[film], annotations.shot_id(film, shot)
            table.writerow((name, shot_id, f"{probability[row]:.6f}", int(annotations.label[row])))


def log_scalars(folder: Path, tags: Sequence[str], num_steps: int = 5) -> None:
    with SummaryWriter(str(folder)) as writer:
        for step in range(num_steps):
            writer.add_scalar("epoch", 0, step)
            for tag in tags:
                writer.add_scalar(tag, 1 / (1 + step), step)


def save(path: Path, parts: dict[str, torch.nn.Module], metadata: dict[str, object]) -> None:
    path.parent.mkdir(parents=True)
    weights = {prefix + name: value for prefix, part in parts.items() for name, value in part.state_dict().items()}
    torch.save({"state_dict": weights, "bassl": metadata}, path)


def _write_config(folder: Path, config: dict[str, object]) -> None:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({**config, "SEED": 3}), encoding="utf-8")

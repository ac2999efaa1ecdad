"""The whole way of own films: prepare, check, pre-train, extract and fine-tune, as users type it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.video.clips import write_clip

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    "config.TRANSFORM.test.resize=32",
    "config.TRANSFORM.test.crop=32",
    "config.TRAINER.progress_bar=false",
]
TINY_CRN = [
    f"config.MODEL.contextual_relation_network.params.trn.{setting}"
    for setting in ("hidden_size=32", "num_attention_heads=4", "intermediate_size=64", "num_hidden_layers=1")
]


def run(module: str, *arguments: object) -> str:
    command = [sys.executable, "-m", module, *map(str, arguments)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.mark.slow
def test_own_films_are_prepared_pretrained_on_extracted_and_finetuned_on(tmp_path: Path) -> None:
    scenes = ["film,start,end"]
    (tmp_path / "films").mkdir()
    for name in ("one", "two", "three"):
        write_clip(tmp_path / "films" / f"{name}.mp4", (24,) * 8)
        scenes += [f"{name},0,71", f"{name},72,119", f"{name},120,191"]
    (tmp_path / "scenes.csv").write_text("\n".join(scenes))
    data = tmp_path / "data"
    splits = ["--train", "one", "--val", "two", "--test", "three"]
    run("bassl.prepare.main", tmp_path / "films", "--output", data, "--labels", tmp_path / "scenes.csv", *splits)
    run("bassl.prepare.check", data, "--decode")

    places = [
        f"config.DATA_PATH={data}",
        f"config.CKPT_PATH={tmp_path / 'ckpt'}",
        f"config.LOG_PATH={tmp_path / 'logs'}",
    ]
    training = ["config.TRAINER.max_epochs=1", "config.TRAIN.NUM_WORKERS=0", "config.SEED=0"]
    run(
        "bassl.pretrain.main",
        *places,
        *SMALL,
        *TINY_CRN,
        *training,
        "config.EXPR_NAME=own",
        "config.TRANSFORM.size=32",
        "config.MODEL.shot_encoder.resnet.depth=18",
        "config.DISTRIBUTED.NUM_PROC_PER_NODE=1",
        "config.TRAIN.BATCH_SIZE.effective_batch_size=4",
    )
    run(
        "bassl.pretrain.extract_shot_repr",
        *places[:2],
        *SMALL[:2],
        "config.LOAD_FROM=own",
        "config.DISTRIBUTED.NUM_PROC_PER_NODE=1",
    )
    assert json.loads((data / "features" / "own" / "index.json").read_text())["films"] == {
        "one": 8,
        "three": 8,
        "two": 8,
    }
    run("bassl.prepare.check", data, "--strict")
    run(
        "bassl.finetune.main",
        *places,
        *SMALL,
        *training,
        f"config.PRETRAINED_CKPT_PATH={tmp_path / 'ckpt'}",
        "config.PRETRAINED_LOAD_FROM=own",
        "config.EXPR_NAME=tuned",
        "config.TRAIN.BATCH_SIZE.effective_batch_size=4",
    )
    scores = json.loads((tmp_path / "logs" / "tuned" / "all_score.json").read_text())
    assert scores

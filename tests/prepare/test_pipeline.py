"""The whole way of own films: prepare, check, pre-train, extract and fine-tune, as users type it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.video.clips import write_clip

ROOT = Path(__file__).resolve().parents[2]
TRANSFORM = ["config.TRANSFORM.test.resize=32", "config.TRANSFORM.test.crop=32", "config.TRAINER.progress_bar=false"]
TRAINING = ["config.TRAINER.max_epochs=1", "config.TRAIN.NUM_WORKERS=0", "config.SEED=0"]
TRAINING += ["config.TRAIN.BATCH_SIZE.effective_batch_size=4", *TRANSFORM]
CRN = "config.MODEL.contextual_relation_network.params.trn"
MODEL = ["config.TRANSFORM.size=32", "config.MODEL.shot_encoder.resnet.depth=18", f"{CRN}.hidden_size=32"]
MODEL += [f"{CRN}.num_attention_heads=4", f"{CRN}.intermediate_size=64", f"{CRN}.num_hidden_layers=1"]
ONE_PROCESS = "config.DISTRIBUTED.NUM_PROC_PER_NODE=1"


def bassl(*arguments: object) -> None:
    command = [sys.executable, "-m", "bassl.cli", *map(str, arguments)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"


@pytest.mark.slow
def test_own_films_are_prepared_pretrained_on_extracted_and_finetuned_on(tmp_path: Path) -> None:
    data, scenes = tmp_path / "data", tmp_path / "scenes.csv"
    (tmp_path / "films").mkdir()
    for name in ("one", "two", "three"):
        write_clip(tmp_path / "films" / f"{name}.mp4", (24,) * 8)
    names = ("one", "two", "three")
    scenes.write_text("".join(f"{name},0,71\n{name},72,119\n{name},120,191\n" for name in names))
    splits = ("--train", "one", "--val", "two", "--test", "three")
    bassl("prepare", tmp_path / "films", "--output", data, "--labels", scenes, *splits)
    bassl("check-data", data, "--decode")
    logs, checkpoints = tmp_path / "logs", tmp_path / "ckpt"
    places = [f"config.DATA_PATH={data}", f"config.CKPT_PATH={checkpoints}", f"config.LOG_PATH={logs}"]
    bassl("pretrain", *places, *TRAINING, *MODEL, "config.EXPR_NAME=own", ONE_PROCESS)
    bassl("extract", *places[:2], *TRANSFORM[:2], "config.LOAD_FROM=own", ONE_PROCESS)
    index = json.loads((data / "features" / "own" / "index.json").read_text())
    assert index["films"] == {"one": 8, "three": 8, "two": 8}
    bassl("check-data", data, "--strict")
    model = [f"config.PRETRAINED_CKPT_PATH={checkpoints}", "config.PRETRAINED_LOAD_FROM=own"]
    bassl("finetune", *places, *TRAINING, *model, "config.EXPR_NAME=tuned")
    assert json.loads((logs / "tuned" / "all_score.json").read_text())

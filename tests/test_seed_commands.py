"""The commands that the project was created from, word for word (apart from one typo), with tiny settings appended."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path

import pytest

from bassl.config.load import load
from tests.runs import ROOT, extract_overrides, finetune_overrides, pretrain_overrides, typed

PRETRAIN_BASSL = r"""
EXPR_NAME=bassl
WORK_DIR=$(pwd)
PYTHONPATH=${WORK_DIR} python3 ${WORK_DIR}/pretrain/main.py \
    config.EXPR_NAME=${EXPR_NAME} \
    config.DISTRIBUTED.NUM_NODES=1 \
    config.DISTRIBUTED.NUM_PROC_PER_NODE=8 \
    config.TRAIN.BATCH_SIZE.effective_batch_size=256 \
"""
PRETRAIN_LOSSES = r"""
EXPR_NAME=bassl_all_pretext_tasks
WORK_DIR=$(pwd)
PYTHONPATH=${WORK_DIR} python3 ${WORK_DIR}/pretrain/main.py \
    config.EXPR_NAME=${EXPR_NAME} \
    config.LOSS.shot_scene_matching.enabled=true \
    config.LOSS.contextual_group_matching.enabled=true \
    config.LOSS.pseudo_boundary_prediction.enabled=true \
    config.LOSS.masked_shot_modeling.enabled=true \
"""
PRETRAIN_SHOTCOL = r"""
EXPR_NAME=Simclr_NN
WORK_DIR=$(pwd)
PYTHONPATH=${WORK_DIR} python3 ${WORK_DIR}/pretrain/main.py \
    config.EXPR_NAME=${EXPR_NAME} \
    config.LOSS.sampling_method.name=shotcol \
"""
EXTRACT = r"""
LOAD_FROM=bassl
WORK_DIR=$(pwd)
PYTHONPATH=${WORK_DIR} python3 ${WORK_DIR}/pretrain/extract_shot_repr.py \
	config.DISTRIBUTED.NUM_NODES=1 \
	config.DISTRIBUTED.NUM_PROC_PER_NODE=1 \
	+config.LOAD_FROM=${LOAD_FROM} \
"""
FINETUNE_BASSL = r"""
WORK_DIR=$(pwd)
LOAD_FROM=bassl
EXPR_NAME=transfer_finetune_${LOAD_FROM}
PYTHONPATH=${WORK_DIR} python3 ${WORK_DIR}/finetune/main.py \
	config.TRAIN.BATCH_SIZE.effective_batch_size=1024 \
	config.EXPR_NAME=${EXPR_NAME} \
	config.DISTRIBUTED.NUM_NODES=1 \
	config.DISTRIBUTED.NUM_PROC_PER_NODE=1 \
	config.TRAIN.OPTIMIZER.lr.base_lr=0.0000025 \
	+config.PRETRAINED_LOAD_FROM=${LOAD_FROM} \
"""
FINETUNE_SHOT_LEVEL = r"""
WORK_DIR=$(pwd)
LOAD_FROM=shotcol_pretrain
EXPR_NAME=finetune_scratch_${LOAD_FROM}
PYTHONPATH=${WORK_DIR} python3 ${WORK_DIR}/finetune/main.py \
	config.TRAIN.BATCH_SIZE.effective_batch_size=1024 \
	config.EXPR_NAME=${EXPR_NAME} \
	config.DISTRIBUTED.NUM_NODES=1 \
	config.DISTRIBUTED.NUM_PROC_PER_NODE=1 \
	config.TRAIN.OPTIMIZER.lr.base_lr=0.000025 \
	+config.PRETRAINED_LOAD_FROM=${LOAD_FROM} \
"""


COMMANDS = [PRETRAIN_BASSL, PRETRAIN_LOSSES, PRETRAIN_SHOTCOL, EXTRACT, FINETUNE_BASSL, FINETUNE_SHOT_LEVEL]


def as_in_the_document(command: str, overrides: list[str], env: dict[str, str]) -> str:
    done = typed(command.rstrip("\n") + "\n    " + " ".join(overrides), cwd=ROOT / "bassl", env=env)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stderr


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """`python3` is the interpreter of the tests."""
    folder = tmp_path_factory.mktemp("bin")
    (folder / "python3").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (folder / "python3").chmod(0o755)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


def settings_of(command: str) -> tuple[str, list[str]]:
    """Return job and overrides of a command, with its shell variables filled in."""
    variables = dict(re.findall(r"^(\w+)=(.*)$", command, re.MULTILINE))
    for _ in range(2):  # a variable may hold another
        command = re.sub(r"\$\{(\w+)\}", lambda match: variables[match[1]], command)
    words = command.replace("\\\n", " ").split()
    script = next(word for word in words if word.endswith(".py"))
    job = {"main.py": Path(script).parent.name, "extract_shot_repr.py": "extract"}[Path(script).name]
    return job, [word for word in words if word.startswith(("config.", "+config."))]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_of_the_document_has_a_valid_configuration(command: str) -> None:
    job, overrides = settings_of(command)
    assert len(overrides) >= 2
    config = load(job, overrides)
    assert config.DISTRIBUTED.NUM_PROC_PER_NODE in (1, 8)


@pytest.mark.slow
def test_the_documents_pipeline_runs_from_where_it_says(
    tiny_movienet: Path, tmp_path: Path, env: dict[str, str]
) -> None:
    pretrain = [*pretrain_overrides(tiny_movienet, tmp_path), "config.TEST.KNN_VALIDATION=false"]
    tune = [*finetune_overrides(tiny_movienet, tmp_path), "config.TRAINER.max_epochs=1"]
    assert "ssm + cgm + pp + msm" in as_in_the_document(PRETRAIN_BASSL, pretrain, env)
    as_in_the_document(EXTRACT, extract_overrides(tiny_movienet, tmp_path), env)
    assert "CRN: from /" in as_in_the_document(FINETUNE_BASSL, tune, env)
    scores = json.loads((tmp_path / "finetune/logs/transfer_finetune_bassl/all_score.json").read_text())
    assert "AP" in scores["test"]


def test_the_documents_one_typo_is_answered_with_the_right_key(env: dict[str, str]) -> None:
    command = PRETRAIN_SHOTCOL.replace("sampling_method", "sampleing_method").rstrip("\\\n ")
    done = typed(command, cwd=ROOT / "bassl", env=env)
    assert done.returncode == 2
    assert done.stderr.strip() == (
        "error: unknown key config.LOSS.sampleing_method.name; did you mean config.LOSS.sampling_method.name?"
    )

"""The commands of the document that the project was created from, word for word (its one typo aside), as typed.

Overrides that make a run tiny are appended behind each command. Each is typed in `bassl/` with PYTHONPATH set, as the
document says, and from another folder without it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

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


def as_in_the_document(command: str, overrides: list[str], env: dict[str, str]) -> str:
    done = typed(command.rstrip("\n") + "\n    " + " ".join(overrides), cwd=ROOT / "bassl", env=env)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stderr


def from_elsewhere(command: str, overrides: list[str], env: dict[str, str], cwd: Path) -> str:
    plain = command.replace("PYTHONPATH=${WORK_DIR} ", "").replace("WORK_DIR=$(pwd)", f"WORK_DIR={ROOT}/bassl")
    assert "PYTHONPATH" not in plain and "$(pwd)" not in plain
    done = typed(plain.rstrip("\n") + "\n    " + " ".join(overrides), cwd=cwd, env=env)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stderr


def side_by_side(*jobs: Callable[[], None]) -> None:
    """Run two jobs at a time, which is what two cores hold: a command waits for nothing but its own core."""
    with ThreadPoolExecutor(2) as pool:
        for job in [pool.submit(job) for job in jobs]:
            job.result()


@pytest.fixture(scope="module")
def env(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """`python3` is the interpreter of the tests."""
    import sys

    folder = tmp_path_factory.mktemp("bin")
    (folder / "python3").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (folder / "python3").chmod(0o755)
    import os

    return {"PATH": f"{folder}:{os.environ['PATH']}"}


@pytest.mark.slow
def test_every_command_of_the_document_runs_from_where_it_says(
    tiny_movienet: Path, tmp_path: Path, env: dict[str, str]
) -> None:
    pretrain = [*pretrain_overrides(tiny_movienet, tmp_path), "config.TEST.KNN_VALIDATION=false"]
    tune = [*finetune_overrides(tiny_movienet, tmp_path), "config.TRAINER.max_epochs=1"]
    said = {
        PRETRAIN_BASSL: "ssm + cgm + pp + msm",
        PRETRAIN_LOSSES: "ssm + cgm + pp + msm",
        PRETRAIN_SHOTCOL: "pre-training shotcol: shotcol",
    }

    def check(command: str) -> None:
        assert said[command] in as_in_the_document(command, pretrain, env)

    side_by_side(*(partial(check, command) for command in said))
    made = sorted(path.name for path in (tmp_path / "pretrain" / "ckpt").iterdir())
    assert made == ["Simclr_NN", "bassl", "bassl_all_pretext_tasks"]
    (tmp_path / "pretrain" / "ckpt" / "Simclr_NN").rename(tmp_path / "pretrain" / "ckpt" / "shotcol_pretrain")
    own = [override.replace("/features", "/shotcol_features") for override in tune]
    make = [
        override.replace("/features", "/shotcol_features") for override in extract_overrides(tiny_movienet, tmp_path)
    ]

    def bassl() -> None:
        as_in_the_document(EXTRACT, extract_overrides(tiny_movienet, tmp_path), env)
        assert "CRN: from /" in as_in_the_document(FINETUNE_BASSL, tune, env)

    def shot_level() -> None:
        as_in_the_document(EXTRACT.replace("LOAD_FROM=bassl", "LOAD_FROM=shotcol_pretrain"), make, env)
        assert "CRN: from scratch" in as_in_the_document(FINETUNE_SHOT_LEVEL, own, env)

    side_by_side(bassl, shot_level)
    for name in ("transfer_finetune_bassl", "finetune_scratch_shotcol_pretrain"):
        assert "AP" in json.loads((tmp_path / "finetune" / "logs" / name / "all_score.json").read_text())["test"]


@pytest.mark.slow
def test_every_command_runs_from_elsewhere_without_pythonpath(
    tiny_movienet: Path, tmp_path: Path, env: dict[str, str]
) -> None:
    pretrain = [*pretrain_overrides(tiny_movienet, tmp_path), "config.DRY_RUN=true"]
    for command in (PRETRAIN_BASSL, PRETRAIN_LOSSES, PRETRAIN_SHOTCOL):
        assert "dry run: two steps" in from_elsewhere(command, pretrain, env, tmp_path)
    assert not list(tmp_path.iterdir())
    from_elsewhere(PRETRAIN_BASSL, pretrain[:-1], env, tmp_path)
    from_elsewhere(EXTRACT, extract_overrides(tiny_movienet, tmp_path), env, tmp_path)
    from_elsewhere(FINETUNE_BASSL, finetune_overrides(tiny_movienet, tmp_path), env, tmp_path)
    assert (tmp_path / "finetune" / "logs" / "transfer_finetune_bassl" / "predictions.csv").is_file()
    checkpoints = tmp_path / "pretrain" / "ckpt"
    shutil.copytree(checkpoints / "bassl", checkpoints / "shotcol_pretrain")
    dry = [*finetune_overrides(tiny_movienet, tmp_path), "config.DRY_RUN=true"]
    assert "dry run: it works" in from_elsewhere(FINETUNE_SHOT_LEVEL, dry, env, tmp_path)


def test_the_documents_one_typo_is_answered_with_the_right_key(env: dict[str, str]) -> None:
    command = PRETRAIN_SHOTCOL.replace("sampling_method", "sampleing_method").rstrip("\\\n ")
    done = typed(command, cwd=ROOT / "bassl", env=env)
    assert done.returncode == 2
    assert done.stderr.strip() == (
        "error: unknown key config.LOSS.sampleing_method.name; did you mean config.LOSS.sampling_method.name?"
    )


@pytest.mark.slow
def test_eight_processes_on_a_machine_without_gpus_are_one_error_that_names_the_override(
    env: dict[str, str], tiny_movienet: Path
) -> None:
    command = PRETRAIN_BASSL.rstrip("\\\n ") + f" config.DATA_PATH={tiny_movienet}"
    done = typed(command, cwd=ROOT / "bassl", env={**env, "CUDA_VISIBLE_DEVICES": ""})
    assert done.returncode == 2
    assert "8 processes" in done.stderr and "config.DISTRIBUTED.NUM_PROC_PER_NODE=1" in done.stderr
    assert "Traceback" not in done.stderr

"""What a run is told where its features are missing."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from bassl.config.resolve import resolve_extract, resolve_finetune

from bassl.config.load import load
from bassl.errors import InputError
from bassl.finetune.inputs import open_store


def refusal(*overrides: str) -> str:
    with pytest.raises(InputError) as refused:
        open_store(resolve_finetune(load("finetune", overrides)), None, None)
    return str(refused.value)


@pytest.mark.parametrize(
    "more",
    [
        [],
        ["config.DATA_PATH={}/my films"],
        ["config.DATA_PATH={}/my", "config.IMG_PATH={}/pictures", "config.ANNO_PATH={}/notes"],
        ["config.DATA_PATH={}/my", "config.PRETRAINED_CKPT_PATH={}/ckpt"],
        ["config.FEATURE_PATH={}/store"],
        ["config.DATA_PATH={}/my", "config.PRETRAINED_LOAD_FROM={}/a/model-v1.ckpt"],
    ],
)
def test_missing_features_are_answered_with_the_very_command_that_makes_them(more: list[str], tmp_path: Path) -> None:
    overrides = ["config.PRETRAINED_LOAD_FROM=tiny", *(text.format(tmp_path) for text in more)]
    tuning = resolve_finetune(load("finetune", overrides))
    said = refusal(*overrides)
    assert said.startswith(f"no shot features in {tuning.features}; make them with `bassl extract ")
    plan = resolve_extract(load("extract", shlex.split(said.split("`")[1])[2:]))
    assert (plan.features, plan.checkpoint) == (tuning.features, tuning.pretrained)
    assert (plan.data.annotations, plan.data.keyframes) == (tuning.data.annotations, tuning.data.keyframes)


def test_a_store_without_a_model_leaves_its_name_open(tmp_path: Path) -> None:
    said = refusal(f"config.FEATURE_PATH={tmp_path}/nope")
    assert "config.LOAD_FROM=<EXPR_NAME of the pre-training run>" in said
    assert f"config.FEATURE_PATH={tmp_path}/nope" in said

"""Ranges of single keys, rules between keys, and the values that follow from them."""

from __future__ import annotations

from typing import Any

import pytest

from bassl.config.batches import eval_batch_size, num_processes, scaled_lr, train_batch_size
from bassl.config.load import load
from bassl.config.methods import Method, method_of
from tests.config.test_load import loaded, refusal

BATCH = "config.TRAIN.BATCH_SIZE.effective_batch_size"
PROCESSES = "config.DISTRIBUTED.NUM_PROC_PER_NODE"
ACCUMULATE = "config.TRAINER.accumulate_grad_batches"
CRN = "config.MODEL.contextual_relation_network.enabled"
HIDDEN = "config.MODEL.contextual_relation_network.params.trn.hidden_size=100"
LIMIT = "config.TRAINER.limit_train_batches=3"
PROJECTION = "config.MODEL.contextual_relation_network.projection=64"
NAME = "config.LOSS.sampling_method.name"
LOSSES = [
    f"config.LOSS.{loss}.enabled"
    for loss in (
        "shot_scene_matching",
        "contextual_group_matching",
        "pseudo_boundary_prediction",
        "masked_shot_modeling",
    )
]


@pytest.mark.parametrize(("job", "override", "text"), [
    ("pretrain", "config.TRAINER.max_epochs=-1", "=-1 must be at least 0"),
    ("pretrain", "config.TRAINER.max_steps=0", "=0 must be at least 1"),  # null is allowed, 0 is not
    ("pretrain", "config.TRAIN.OPTIMIZER.weight_decay=inf", "=inf must be at least 0"),
    ("pretrain", "config.TRAIN.OPTIMIZER.lr.base_lr=0", "=0.0 must be a number above 0"),
    ("pretrain", "config.TRAINER.gradient_clip_val=nan", "=nan must be a number above 0"),
    ("pretrain", "config.TRAIN.OPTIMIZER.momentum=1.5", "=1.5 must be at least 0 and at most 1"),
    ("pretrain", "config.TRANSFORM.train.color_jitter.hue=0.6", "=0.6 must be at least 0 and at most 0.5"),
    ("pretrain", "config.SEED=4294967296", "=4294967296 must be at least -1 and at most 4294967295"),
    ("pretrain", "config.MODEL.shot_encoder.resnet.depth=42", "=42 is unknown; choose one of 18, 34, 50, 101, 152"),
    ("pretrain", "config.TRAINER.precision=17", "=17 is unknown; choose one of auto, 32, bf16, fp16"),
    ("pretrain", "config.TRANSFORM.train.scale=[1,0.5]", "=[1.0, 0.5] must be two numbers above 0, the smaller first"),
    ("pretrain", "config.TRANSFORM.train.ratio=[1]", "=[1.0] must be two numbers above 0, the smaller first"),
    ("pretrain", "config.TRANSFORM.train.blur_sigma=[0.1,inf]", "must be two numbers above 0"),
    ("pretrain", "config.LOSS.sampling_method.params.shotcol.neighbor_size=0", "=0 must be at least 1"),
    ("pretrain", "config.EXPR_NAME=../x", "='../x' cannot name a folder"),
    ("finetune", "config.PRETRAINED_LOAD_FROM=..", "='..' cannot name a folder"),
    ("finetune", "config.TRAINER.max_epochs=0", "=0 must be at least 1"),
    ("finetune", "config.TEST.THRESHOLD=2", "=2 must be at least 0 and at most 1"),
    ("finetune", "config.TEST.THRESHOLD=nan", "=nan must be at least 0 and at most 1"),
    ("finetune", "config.TEST.THRESHOLD=best", "=best is neither a number from 0 to 1 nor val"),
])  # fmt: skip
def test_a_value_out_of_range_is_refused_by_its_key(job: str, override: str, text: str) -> None:
    assert refusal(job, override).startswith(override.split("=")[0])
    assert text in refusal(job, override)


def test_ends_of_a_range_are_inside() -> None:
    config = loaded(
        "pretrain", "config.TRAIN.OPTIMIZER.momentum=0", "config.SEED=4294967295", "config.TRAIN.NUM_WORKERS=0"
    )
    assert (config.TRAIN.OPTIMIZER.momentum, config.SEED, config.TRAIN.NUM_WORKERS) == (0, 2**32 - 1, 0)
    assert loaded("finetune", "config.TEST.THRESHOLD=1").TEST.THRESHOLD == 1


@pytest.mark.parametrize(("job", "overrides", "text"), [
    ("pretrain", [f"{BATCH}=1", f"{PROCESSES}=1"], "no negatives"),
    ("pretrain", [f"{BATCH}=4", f"{PROCESSES}=1", f"{ACCUMULATE}=4", "+method=instance"], "no negatives"),
    ("pretrain", ["config.TRANSFORM.test.crop=300"], "crop=300 must be at most config.TRANSFORM.test.resize=256"),
    ("extract", ["config.TRANSFORM.test.crop=300"], "crop=300 must be at most"),
    ("finetune", ["config.TRANSFORM.test.crop=300"], "crop=300 must be at most"),
    ("pretrain", [HIDDEN], "100 is not divisible by 8 h"),
    ("finetune", [HIDDEN], "100 is not divisible by 8 h"),
    ("pretrain", [f"{ACCUMULATE}=2", LIMIT], "limit_train_batches=3 cuts off a step of 2"),
    ("finetune", [f"{ACCUMULATE}=2", LIMIT], "try 4"),
    ("extract", ["config.LOAD_FROM=null"], "config.LOAD_FROM is missing"),
    ("extract", ["config.LOAD_FROM=no/such/run"], "neither the name of a run nor an existing path"),
    ("finetune", ["config.PRETRAINED_LOAD_FROM=null"], "nothing to fine-tune: set config.PRETRAINED_LOAD_FROM="),
    ("finetune", ["config.PRETRAINED_LOAD_FROM=null", "config.FEATURE_PATH=/f", "config.USE_RAW_SHOT=true"], "encoder"),
    ("finetune", ["config.ZERO_SHOT=true", "config.LOAD_FROM=tuned"], "config.ZERO_SHOT=true evaluates"),
    ("finetune", ["config.USE_RAW_SHOT=true", "config.MODEL.scorer=structure"], "cannot score whole films"),
    ("finetune", [PROJECTION, "config.MODEL.contextual_relation_network.transfer=true"], "reads features as they are"),
    ("finetune", ["config.TEST.THRESHOLD=val"], "=val needs config.TEST.SELECT_ON=val"),
    ("finetune", ["config.TEST.THRESHOLD=val", "config.ZERO_SHOT=true"], "reads no val"),
    ("finetune", ["config.TEST.SELECT_ON=val", "config.TEST.VAL_FREQ=5", "config.TRAINER.max_epochs=4"], "VAL_FREQ=5"),
])  # fmt: skip
def test_values_that_contradict_each_other_are_refused(job: str, overrides: list[str], text: str) -> None:
    assert text in refusal(job, *overrides)


def test_what_looks_like_a_contradiction_and_is_none_is_accepted() -> None:
    alone = [f"{BATCH}=1", f"{PROCESSES}=1", f"{LOSSES[0]}=false"]  # no contrastive loss, so no negatives
    assert train_batch_size(loaded("pretrain", *alone)) == 1
    assert train_batch_size(loaded("pretrain", f"{BATCH}=2", f"{PROCESSES}=2")) == 1  # negatives of the other process
    loaded("finetune", "config.TEST.THRESHOLD=val", "config.TEST.SELECT_ON=val")
    loaded("finetune", "config.TEST.THRESHOLD=val", "config.LOAD_FROM=tuned")
    loaded("finetune", "config.TEST.VAL_FREQ=5", "config.TRAINER.max_epochs=4")
    load("finetune", ["config.FEATURE_PATH=/f"])


@pytest.mark.parametrize("kind", ["config.LOAD_FROM=tuned", "config.ZERO_SHOT=true"])
def test_an_evaluation_is_not_refused_for_a_key_of_training(kind: str) -> None:
    for training in (
        [f"{PROCESSES}=3"],
        ["config.TRAINER.max_epochs=0"],
        [LIMIT, f"{ACCUMULATE}=2"],
    ):
        refusal("finetune", *training)
        assert loaded("finetune", *training, kind).evaluates


@pytest.mark.parametrize(("effective", "nodes", "processes", "accumulate", "expected"), [
    (256, 1, 8, 1, 32), (256, 2, 8, 1, 16), (240, 1, 4, 3, 20), (8, 1, 8, 1, 1),
])  # fmt: skip
def test_the_effective_batch_is_divided_and_scales_the_learning_rate(
    effective: int, nodes: int, processes: int, accumulate: int, expected: int
) -> None:
    overrides = [f"{BATCH}={effective}", f"config.DISTRIBUTED.NUM_NODES={nodes}", f"{PROCESSES}={processes}"]
    config = loaded("pretrain", *overrides, f"{ACCUMULATE}={accumulate}")
    assert (train_batch_size(config), num_processes(config)) == (expected, nodes * processes)
    assert scaled_lr(config) == pytest.approx(0.3 * effective / 256)


@pytest.mark.parametrize(("effective", "processes", "accumulate", "nearest"), [
    (250, 8, 1, 248), (255, 8, 1, 256), (252, 8, 1, 248), (3, 8, 1, 8), (256, 8, 3, 264),
])  # fmt: skip
def test_an_indivisible_batch_names_the_nearest_divisible_one(
    effective: int, processes: int, accumulate: int, nearest: int
) -> None:
    shares = [f"{PROCESSES}={processes}", f"{ACCUMULATE}={accumulate}"]
    text = refusal("pretrain", f"{BATCH}={effective}", *shares)
    assert text.startswith(f"{BATCH} {effective} is not divisible by {processes} processes")
    assert text.endswith(f"try {nearest}")
    assert train_batch_size(loaded("pretrain", f"{BATCH}={nearest}", *shares)) * processes * accumulate == nearest


def test_an_evaluation_batch_need_not_be_divisible() -> None:
    sizes = ("100", "3", "1024")
    keys = [f"config.TEST.BATCH_SIZE.effective_batch_size={size}" for size in sizes]
    assert [eval_batch_size(loaded("pretrain", key)) for key in keys] == [12, 1, 128]


def method(*overrides: str) -> Method:
    return method_of(loaded("pretrain", *overrides))


def test_a_method_decides_samples_terms_and_crn() -> None:
    found: dict[str, Any] = {
        name: (plan.sampling, plan.sparse, " ".join(plan.terms), plan.uses_crn)
        for name in ("bassl", "bassl+shotcol", "shotcol", "temporal", "instance")
        for plan in [method(f"{NAME}={name}")]
    }
    assert found == {
        "bassl": ("window", (0, 16), "ssm cgm pp msm", True),
        "bassl+shotcol": ("window", (0, 16, 8), "ssm shotcol cgm pp msm", True),
        "shotcol": ("window", (0, 16, 8), "shotcol", False),
        "temporal": ("temporal", (), "simclr", False),
        "instance": ("instance", (), "simclr", False),
    }


def test_losses_can_be_switched_off_one_by_one() -> None:
    assert method(f"{LOSSES[1]}=false", f"{LOSSES[3]}=false").terms == ("ssm", "pp")
    assert method("+method=bassl_shotcol", f"{LOSSES[0]}=false").terms == ("cgm", "pp", "msm")
    assert not method(*(f"{loss}=false" for loss in LOSSES[1:])).uses_crn
    assert method(f"{CRN}=true", *(f"{loss}=true" for loss in LOSSES)) == method()


@pytest.mark.parametrize(("overrides", "text"), [
    ([f"{loss}=false" for loss in LOSSES], "all four losses of bassl are off"),
    (["+method=shotcol", f"{LOSSES[2]}=true"], "does not go with the shot-level method shotcol"),
    (["+method=instance", "config.LOSS.simclr.enabled=false"], "leaves instance without a loss"),
    (["config.LOSS.simclr.enabled=true"], "does not go with bassl"),
    ([f"{CRN}=false", f"{LOSSES[1]}=false"], "read by pseudo_boundary_prediction and masked_shot_modeling;"),
    (["+method=temporal", f"{CRN}=true"], "no loss of this run reads the CRN (temporal with simclr)"),
    (["config.LOSS.pseudo_boundary_prediction.num_neg_sample=17"], "must be at most 16"),
])  # fmt: skip
def test_a_loss_or_crn_against_the_method_is_refused(overrides: list[str], text: str) -> None:
    assert text in refusal("pretrain", *overrides)


def test_window_and_temperature_are_those_of_the_method() -> None:
    params = "config.LOSS.sampling_method.params"
    small = method("+method=bassl_shotcol", f"{params}.bassl+shotcol.neighbor_size=3")
    assert (small.num_shots, small.center, small.sparse) == (7, 3, (0, 6, 3))
    assert method(f"{params}.bassl.neighbor_interval=2").neighbor_interval == 2
    both = ["config.LOSS.shot_scene_matching.temperature=0.2", "config.LOSS.simclr.temperature=0.3"]
    assert [method(f"{NAME}={name}", *both).temperature for name in ("bassl", "bassl+shotcol")] == [0.2, 0.2]
    assert [method(f"{NAME}={name}", *both).temperature for name in ("shotcol", "temporal", "instance")] == [0.3] * 3

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from bassl.config.compute import _shared_out
from bassl.config.plan import CrnPlan, EncoderPlan, ExtractPlan, FinetunePlan, PretrainPlan
from bassl.config.resolve import resolve_extract, resolve_finetune, resolve_pretrain

import bassl
from bassl.config import plan as plans
from bassl.config.load import load
from bassl.dataset.augmentation import AugmentationSettings
from bassl.errors import InputError

PACKAGE = Path(bassl.__file__).parent
BATCH = "config.TRAIN.BATCH_SIZE.effective_batch_size"
PROCESSES = "config.DISTRIBUTED.NUM_PROC_PER_NODE"
TRN = "config.MODEL.contextual_relation_network.params.trn"
ACCUMULATE = "config.TRAINER.accumulate_grad_batches"

INDIVISIBLE = [
    # effective batch, processes, micro-batches, the nearest batch that is divisible (of two the smaller)
    (250, 8, 1, 248),
    (255, 8, 1, 256),
    (252, 8, 1, 248),
    (3, 8, 1, 8),
    (0, 1, 1, 1),
    (-7, 8, 1, 8),
    (100, 3, 1, 99),
    (256, 8, 3, 264),
    (1025, 2, 1, 1024),
]

REFUSED = [
    # job, override, what the message says behind the key
    ("pretrain", "config.DISTRIBUTED.NUM_NODES=0", "=0 must be at least 1"),
    ("pretrain", "config.DISTRIBUTED.NUM_PROC_PER_NODE=-1", "=-1 must be at least 1"),
    ("pretrain", "config.TRAINER.accumulate_grad_batches=0", "=0 must be at least 1"),
    ("pretrain", "config.TRAINER.max_epochs=-1", "=-1 must be at least 0"),
    ("finetune", "config.TRAINER.max_epochs=0", "=0 must be at least 1"),
    ("pretrain", "config.TRAINER.log_every_n_steps=0", "=0 must be at least 1"),
    ("pretrain", "config.TRAINER.max_steps=0", "=0 must be a number above 0; leave it out for none"),
    ("pretrain", "config.TRAINER.limit_train_batches=-1", "=-1 must be a number above 0"),
    ("pretrain", "config.TRAINER.limit_val_batches=0", "=0 must be a number above 0"),
    ("pretrain", "config.TRAINER.gradient_clip_val=nan", "=nan must be a number above 0"),
    ("pretrain", "config.TRAINER.checkpoint_every_n_steps=0", "=0 must be a number above 0"),
    ("pretrain", "config.TRAINER.checkpoint_every_n_minutes=inf", "=inf must be a number above 0"),
    ("pretrain", "config.TRAINER.accelerator=tpu", "=tpu is unknown; choose one of auto, cuda, cpu"),
    ("pretrain", "config.TRAINER.precision=16", "=16 is unknown; choose one of auto, 32, bf16, fp16"),
    ("pretrain", "config.TRAIN.NUM_WORKERS=-1", "=-1 must be at least 0"),
    ("pretrain", "config.TRAIN.OPTIMIZER.name=adam", "=adam is unknown; choose one of lars, sgd"),
    ("pretrain", "config.TRAIN.OPTIMIZER.lr.base_lr=0", "=0.0 must be a number above 0"),
    ("pretrain", "config.TRAIN.OPTIMIZER.lr.base_lr=nan", "=nan must be a number above 0"),
    ("pretrain", "config.TRAIN.OPTIMIZER.weight_decay=-1", "=-1.0 must be at least 0"),
    ("pretrain", "config.TRAIN.OPTIMIZER.momentum=1.5", "=1.5 must lie between 0 and 1"),
    ("pretrain", "config.TRAIN.OPTIMIZER.scheduler.warmup=nan", "=nan must lie between 0 and 1"),
    ("pretrain", "config.TRAIN.OPTIMIZER.trust_coefficient=0", "=0.0 must be a number above 0"),
    ("pretrain", "config.TRAIN.OPTIMIZER.eps=-1", "=-1.0 must be at least 0"),
    ("pretrain", "config.TEST.VAL_FREQ=0", "=0 must be at least 1 epoch"),
    ("pretrain", "config.TEST.BATCH_SIZE.effective_batch_size=0", "=0 must be at least 1"),
    ("pretrain", "config.MODEL.shot_encoder.resnet.depth=42", "=42 is unknown; choose one of 18, 34, 50"),
    ("pretrain", "config.MODEL.contextual_relation_network.name=lstm", "=lstm is unknown"),
    ("pretrain", f"{TRN}.pooling_method=sum", "=sum is unknown"),
    ("pretrain", f"{TRN}.hidden_size=0", "=0 must be at least 1"),
    ("pretrain", f"{TRN}.hidden_size=100", "is not divisible by 8 heads"),
    ("pretrain", f"{TRN}.num_hidden_layers=0", "=0 must be at least 1"),
    ("pretrain", f"{TRN}.intermediate_size=0", "=0 must be at least 1"),
    ("pretrain", "config.TRANSFORM.size=0", "=0 must be at least 1 pixel"),
    ("pretrain", "config.TRANSFORM.test.crop=300", "=300 must lie between 1 and config.TRANSFORM.test.resize"),
    ("pretrain", "config.TRANSFORM.train.scale=[1,0.5]", "must be two numbers above 0, the smaller first"),
    ("pretrain", "config.TRANSFORM.train.ratio=[1]", "must be two numbers above 0, the smaller first"),
    ("pretrain", "config.TRANSFORM.train.blur_sigma=[0.1,inf]", "must be two numbers above 0"),
    ("pretrain", "config.TRANSFORM.train.color_jitter.hue=0.6", "=0.6 must lie between 0 and 0.5"),
    ("pretrain", "config.SEED=-1", "=-1 must lie between 0 and 4294967295"),
    ("pretrain", "config.SEED=4294967296", "=4294967296 must lie between 0 and 4294967295"),
    ("pretrain", "config.EXPR_NAME=../x", "='../x' cannot name a folder"),
    ("pretrain", "config.EXPR_NAME=a/b", "='a/b' cannot name a folder"),
    ("pretrain", "config.EXPR_NAME=.hidden", "='.hidden' cannot name a folder"),
    ("pretrain", f"config.EXPR_NAME={'a' * 201}", "cannot name a folder"),
    ("extract", "config.SPLIT=all", "=all is unknown; choose one of pretrain, trainvaltest, train, val, test"),
    ("extract", "config.FEATURE_DTYPE=float64", "=float64 is unknown; choose one of float32, float16"),
    ("extract", "config.LOAD_FROM=no/such/run", "='no/such/run' is neither the name of a run nor a path"),
    ("finetune", "config.TRAIN.OPTIMIZER.name=lars", "=lars is unknown; choose one of adam, adamw"),
    ("finetune", "config.TEST.SELECT_ON=test", "=test is unknown; choose one of last, val"),
    ("finetune", "config.TEST.UNCERTAIN_LABEL=negative", "=negative is unknown; choose one of positive, masked"),
    ("finetune", "config.TEST.THRESHOLD=2", "=2 must lie between 0 and 1"),
    ("finetune", "config.TEST.THRESHOLD=best", "=best is neither a number from 0 to 1 nor val"),
    ("finetune", "config.TEST.THRESHOLD=true", "=True is neither a number from 0 to 1 nor val"),
    ("finetune", "config.TEST.THRESHOLD=null", "=None is neither a number from 0 to 1 nor val"),
    ("finetune", "config.TEST.THRESHOLD=val", "=val needs config.TEST.SELECT_ON=val"),
    ("finetune", "config.TEST.FPS=0", "=0.0 must be a number above 0"),
    ("finetune", "config.LOSS.sampling_method.params.neighbor_size=0", "must be at least 1"),
    ("finetune", "config.PRETRAINED_LOAD_FROM=..", "='..' cannot name a folder"),
]  # fmt: skip


def pretrain_plan(*overrides: str) -> PretrainPlan:
    return resolve_pretrain(load("pretrain", overrides))


def extract_plan(*overrides: str) -> ExtractPlan:
    return resolve_extract(load("extract", ["config.LOAD_FROM=bassl", *overrides]))


def finetune_plan(*overrides: str) -> FinetunePlan:
    return resolve_finetune(load("finetune", ["config.PRETRAINED_LOAD_FROM=bassl", *overrides]))


PLANS = {"pretrain": pretrain_plan, "extract": extract_plan, "finetune": finetune_plan}


def test_pre_training_is_by_default_that_of_the_paper() -> None:
    plan = pretrain_plan()
    assert (plan.compute.num_nodes, plan.compute.num_processes, plan.compute.world_size) == (1, 8, 8)
    assert (plan.compute.batch_size, plan.compute.eval_batch_size, plan.compute.accumulate) == (32, 32, 1)
    assert plan.optimizer.name == "lars"
    assert (plan.optimizer.lr, plan.optimizer.momentum) == (0.3, 0.9)
    assert (plan.optimizer.weight_decay, plan.optimizer.warmup) == (1e-6, 0.1)
    assert (plan.optimizer.trust_coefficient, plan.optimizer.eps) == (0.001, 1e-8)
    assert (plan.loop.max_epochs, plan.loop.max_steps, plan.loop.eval_every_epochs) == (10, None, 1)
    assert plan.encoder == EncoderPlan(depth=50, zero_init_residual=True, imagenet_pretrained=False)
    assert plan.crn == CrnPlan(768, 2, 8, 3072, 0.1, "center")
    assert plan.test_transform == plans.TestTransformPlan(resize=256, crop=224)
    assert (plan.knn_validation, plan.sync_bn) == (True, True)
    assert (plan.run.seed, plan.run.dry_run, plan.run.resume) == (None, False, False)
    assert AugmentationSettings(**plan.augmentation) == AugmentationSettings()


def test_fine_tuning_is_by_default_that_of_the_paper() -> None:
    plan = finetune_plan()
    assert (plan.compute.world_size, plan.compute.batch_size, plan.compute.eval_batch_size) == (1, 1024, 1024)
    assert plan.optimizer.name == "adam"
    assert plan.optimizer.lr == pytest.approx(2.5e-6 * 1024 / 256)
    assert (plan.optimizer.weight_decay, plan.optimizer.warmup) == (0, 0)
    assert plan.loop.max_epochs == 20
    assert (plan.neighbor_size, plan.neighbor_interval) == (8, 1)
    assert (plan.select_on, plan.threshold, plan.uncertain, plan.fps) == ("last", 0.5, "positive", 24)
    assert (plan.raw, plan.transfer, plan.own_features, plan.evaluate) == (False, None, False, None)
    assert plan.crn == CrnPlan(768, 2, 8, 3072, 0.1, "center")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["config.FEATURE_PATH=/store"], r"set config.PRETRAINED_LOAD_FROM=<its EXPR_NAME>$"),
        (["config.LOAD_FROM=x", "config.PRETRAINED_LOAD_FROM=y"], r"and leave config.LOAD_FROM out$"),
    ],
)
def test_zero_shot_is_of_a_pre_trained_run_alone(typed: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        resolve_finetune(load("finetune", [*typed, "config.ZERO_SHOT=true"]))
    assert finetune_plan("config.ZERO_SHOT=true").zero_shot
    assert not finetune_plan().zero_shot


def test_pre_training_may_take_no_epoch_and_may_validate_first() -> None:
    plan = pretrain_plan("config.TRAINER.max_epochs=0", "config.TEST.VAL_FIRST=true")
    assert (plan.loop.max_epochs, plan.validate_first) == (0, True)
    assert not pretrain_plan().validate_first


def test_everything_lies_where_the_seed_put_it() -> None:
    data = PACKAGE / "data" / "movienet"
    pretrain = pretrain_plan("config.EXPR_NAME=bassl")
    assert pretrain.run.checkpoint_folder == PACKAGE / "pretrain" / "ckpt" / "bassl"
    assert pretrain.run.log_folder == PACKAGE / "pretrain" / "logs" / "bassl"
    assert (pretrain.data.root, pretrain.data.annotations) == (data, data / "anno")
    assert pretrain.data.keyframes == data / "240P_frames"
    extract = extract_plan()
    assert extract.checkpoint == PACKAGE / "pretrain" / "ckpt" / "bassl"
    assert extract.features == data / "features" / "bassl"
    assert extract.shots == data / "scene318" / "shot_movie318"
    finetune = finetune_plan("config.EXPR_NAME=tuned")
    assert finetune.run.checkpoint_folder == PACKAGE / "finetune" / "ckpt" / "tuned"
    assert finetune.run.log_folder == PACKAGE / "finetune" / "logs" / "tuned"
    assert finetune.pretrained == PACKAGE / "pretrain" / "ckpt" / "bassl"
    assert finetune.features == data / "features" / "bassl"


def test_every_root_can_be_set(tmp_path: Path) -> None:
    roots = {name: tmp_path / name for name in ("DATA", "ANNO", "IMG", "CKPT", "LOG", "FEATURE", "SHOT")}
    typed = {f"config.{name}_PATH={path}" for name, path in roots.items()}
    plan = finetune_plan(*typed, "config.PRETRAINED_CKPT_PATH=/pretrained")
    assert (plan.data.root, plan.data.annotations, plan.data.keyframes) == (
        roots["DATA"], roots["ANNO"], roots["IMG"],
    )  # fmt: skip
    assert plan.run.checkpoint_folder == roots["CKPT"] / "devel"
    assert plan.run.log_folder == roots["LOG"] / "devel"
    assert (plan.features, plan.own_features, plan.shots) == (roots["FEATURE"], True, roots["SHOT"])
    assert plan.pretrained == Path("/pretrained/bassl")
    data = pretrain_plan(f"config.DATA_PATH={tmp_path}").data
    assert (data.annotations, data.keyframes) == (tmp_path / "anno", tmp_path / "240P_frames")


def test_paths_are_absolute_and_know_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert pretrain_plan("config.DATA_PATH=~/movienet").data.root == tmp_path / "movienet"
    assert pretrain_plan("config.DATA_PATH=data/movienet").data.root == tmp_path / "data" / "movienet"
    with pytest.raises(InputError, match=r"the path '~nobody-by-this-name/x' cannot be read"):
        pretrain_plan("config.DATA_PATH=~nobody-by-this-name/x")


def test_a_model_is_found_by_name_and_by_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run = tmp_path / "elsewhere" / "my_run"
    run.mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    found = {
        "my_run": (PACKAGE / "pretrain" / "ckpt" / "my_run", "my_run"),
        str(run): (run, "my_run"),
        "elsewhere/my_run": (run, "my_run"),
        f"{run}/": (run, "my_run"),
        f"{run}/epoch=9-step=100.ckpt": (run / "epoch=9-step=100.ckpt", "my_run"),
        "elsewhere/my_run/last.ckpt": (run / "last.ckpt", "my_run"),
        "elsewhere/../elsewhere/my_run": (run, "my_run"),
    }
    for typed, (checkpoint, store) in found.items():
        plan = extract_plan(f"config.LOAD_FROM={typed}")
        assert plan.checkpoint == checkpoint
        assert plan.features == PACKAGE / "data" / "movienet" / "features" / store
        assert finetune_plan(f"config.PRETRAINED_LOAD_FROM={typed}").features == plan.features
    monkeypatch.chdir(run)
    assert extract_plan("config.LOAD_FROM=last.ckpt").features.name == "my_run"


def test_a_fine_tuned_model_is_found_below_its_own_folder() -> None:
    plan = resolve_finetune(load("finetune", ["+config.LOAD_FROM=tuned", "config.CKPT_PATH=/ckpt"]))
    assert plan.evaluate == Path("/ckpt/tuned")
    assert (plan.pretrained, plan.features) == (None, None)


@pytest.mark.parametrize(("overrides", "name"), [
    (["config.LOAD_FROM=tuned"], "tuned_evaluation"),
    (["config.LOAD_FROM=/ckpt/tuned/best.ckpt"], "tuned_evaluation"),
    (["config.PRETRAINED_LOAD_FROM=bassl", "config.LOAD_FROM=tuned"], "tuned_evaluation"),
    (["config.PRETRAINED_LOAD_FROM=bassl", "config.ZERO_SHOT=true"], "bassl_evaluation"),
    (["config.LOAD_FROM=tuned", "config.EXPR_NAME=mine"], "mine"),
    (["config.PRETRAINED_LOAD_FROM=bassl"], "devel"),
])  # fmt: skip
def test_an_evaluation_alone_is_named_after_what_it_evaluates_unless_it_has_a_name(
    overrides: list[str], name: str
) -> None:
    run = resolve_finetune(load("finetune", [*overrides, "config.LOG_PATH=/logs"])).run
    assert (run.name, run.log_folder) == (name, Path("/logs") / name)


@pytest.mark.parametrize(("overrides", "said"), [
    ([], "nothing to fine-tune: set config.PRETRAINED_LOAD_FROM="),
    (["config.USE_RAW_SHOT=true"], "nothing to fine-tune"),
    (["config.USE_RAW_SHOT=true", "config.FEATURE_PATH=/f"], "config.USE_RAW_SHOT=true needs the encoder of a run"),
])  # fmt: skip
def test_fine_tuning_says_what_it_lacks(overrides: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        resolve_finetune(load("finetune", overrides))


def test_val_may_choose_the_threshold_of_a_run_that_scores_it_or_of_one_that_did() -> None:
    chosen = "config.TEST.THRESHOLD=val"
    assert finetune_plan(chosen, "config.TEST.SELECT_ON=val").threshold is None
    assert finetune_plan(chosen, "config.LOAD_FROM=tuned").threshold is None
    with pytest.raises(InputError, match="reads no val: give a number"):
        finetune_plan(chosen, "config.TEST.SELECT_ON=val", "config.ZERO_SHOT=true")


def test_an_evaluation_that_never_comes_cannot_select_on_val() -> None:
    rare = ["config.TEST.VAL_FREQ=5", "config.TRAINER.max_epochs=4"]
    with pytest.raises(InputError, match=r"config\.TEST\.VAL_FREQ=5 is more than the 4 epochs"):
        finetune_plan(*rare, "config.TEST.SELECT_ON=val")
    assert finetune_plan(*rare).loop.eval_every_epochs == 5
    assert finetune_plan("config.TEST.VAL_FREQ=4", rare[1], "config.TEST.SELECT_ON=val").select_on == "val"


@pytest.mark.parametrize("what", ["config.LOAD_FROM=tuned", "config.ZERO_SHOT=true"])
@pytest.mark.parametrize(
    "key",
    [
        "DISTRIBUTED.NUM_PROC_PER_NODE=3",
        "TEST.SELECT_ON=val config.TEST.VAL_FREQ=30",
        "TRAIN.OPTIMIZER.lr.base_lr=0",
        "TRAINER.max_epochs=0",
        "TRAINER.accumulate_grad_batches=5",
        "TRAINER.limit_train_batches=3 config.TRAINER.accumulate_grad_batches=2",
    ],
)
def test_an_evaluation_is_not_refused_for_a_key_of_training(what: str, key: str) -> None:
    overrides = f"config.PRETRAINED_LOAD_FROM=bassl config.{key} config.TRAINER.limit_val_batches=7".split()
    with pytest.raises(InputError):
        resolve_finetune(load("finetune", overrides))
    plan = resolve_finetune(load("finetune", [*overrides, what]))
    assert plan.loop.limit_eval_batches == 7
    with pytest.raises(InputError, match="limit_val_batches"):
        resolve_finetune(load("finetune", [*overrides, what, "config.TRAINER.limit_val_batches=0"]))


def test_extraction_asks_for_a_model() -> None:
    with pytest.raises(InputError, match=r"Set config\.LOAD_FROM="):
        resolve_extract(load("extract"))


@pytest.mark.parametrize(("effective", "nodes", "processes", "accumulate", "share"), [
    (256, 1, 8, 1, 32), (256, 2, 8, 1, 16), (256, 1, 1, 1, 256), (240, 1, 4, 3, 20), (8, 1, 8, 1, 1),
])  # fmt: skip
def test_the_effective_batch_is_shared_out_and_scales_the_learning_rate(
    effective: int, nodes: int, processes: int, accumulate: int, share: int
) -> None:
    overrides = [f"{BATCH}={effective}", f"config.DISTRIBUTED.NUM_NODES={nodes}"]
    plan = pretrain_plan(*overrides, f"{PROCESSES}={processes}", f"{ACCUMULATE}={accumulate}")
    assert plan.compute.batch_size == share
    assert plan.compute.world_size == nodes * processes
    assert plan.optimizer.lr == pytest.approx(0.3 * effective / 256)


@pytest.mark.parametrize("limit", [1, 4, 5])
def test_a_limit_of_batches_that_cuts_off_a_step_is_refused_with_the_next_that_does_not(limit: int) -> None:
    given, accumulate = f"config.TRAINER.limit_train_batches={limit}", f"{ACCUMULATE}=3"
    with pytest.raises(InputError) as refused:
        pretrain_plan(f"{BATCH}=24", PROCESSES + "=1", accumulate, given)
    assert str(refused.value).startswith(f"{given} cuts off a step of 3 accumulated micro-batches; try ")
    proposed = int(str(refused.value).rsplit(" ", 1)[1])
    assert proposed - limit < 3
    plan = pretrain_plan(f"{BATCH}=24", PROCESSES + "=1", accumulate, f"config.TRAINER.limit_train_batches={proposed}")
    assert plan.loop.limit_train_batches == proposed


@pytest.mark.parametrize(("effective", "processes", "accumulate", "nearest"), INDIVISIBLE)
def test_a_batch_that_cannot_be_shared_out_is_answered_with_the_nearest_that_can(
    effective: int, processes: int, accumulate: int, nearest: int
) -> None:
    overrides = [
        f"{PROCESSES}={processes}",
        f"{ACCUMULATE}={accumulate}",
        "config.LOSS.shot_scene_matching.enabled=false",
    ]
    with pytest.raises(InputError) as refusal:
        pretrain_plan(f"{BATCH}={effective}", *overrides)
    by = "1 process" if processes == 1 else f"{processes} processes"
    by += f" x {accumulate} micro-batches" if accumulate > 1 else ""
    wrong = f" {effective} is not divisible by {by}" if effective > 0 else f"={effective} must be at least 1"
    assert str(refusal.value) == f"{BATCH}{wrong}; try {nearest}"
    assert pretrain_plan(f"{BATCH}={nearest}", *overrides).compute.batch_size * processes * accumulate == nearest


def test_the_proposed_batch_is_the_nearest_of_all() -> None:
    for effective in range(1, 60):
        for processes in (1, 2, 7, 8):
            multiples = [processes * factor for factor in range(1, 70)]
            nearest = min(multiples, key=lambda batch: abs(batch - effective))
            if effective % processes:
                with pytest.raises(InputError, match=f"try {nearest}$"):
                    _shared_out(effective, processes, 1)
            else:
                assert _shared_out(effective, processes, 1) == effective // processes


def test_a_single_sample_has_no_negatives() -> None:
    alone = [f"{BATCH}=1", f"{PROCESSES}=1"]
    for method in ("bassl", "bassl_shotcol", "shotcol", "temporal", "instance"):
        with pytest.raises(InputError, match=f"no negatives for the contrastive loss; set {BATCH} to 2 or more"):
            pretrain_plan(f"+method={method}", *alone)
    assert pretrain_plan(*alone, "config.LOSS.shot_scene_matching.enabled=false").compute.batch_size == 1
    assert pretrain_plan(f"{BATCH}=2", f"{PROCESSES}=2").compute.batch_size == 1


@pytest.mark.parametrize(("typed", "evaluation"), [("100", 12), ("3", 1), ("1024", 128)])
def test_an_evaluation_batch_need_not_be_divisible(typed: str, evaluation: int) -> None:
    overrides = [f"config.TEST.BATCH_SIZE.effective_batch_size={typed}", f"{PROCESSES}=8"]
    assert pretrain_plan(*overrides).compute.eval_batch_size == evaluation
    assert extract_plan(*overrides).compute.batch_size == evaluation


@pytest.mark.parametrize(("typed", "resume"), [
    ("true", True), ("True", True), ("false", False), ("null", False), ("/ckpt/a=1.ckpt", Path("/ckpt/a=1.ckpt")),
    ("auto", Path("auto")),
])  # fmt: skip
def test_resume_is_a_switch_or_a_path(typed: str, resume: Path | bool) -> None:
    assert pretrain_plan(f"config.RESUME={typed}").run.resume == resume


def test_zero_is_a_seed() -> None:
    assert pretrain_plan("config.SEED=0").run.seed == 0
    assert pretrain_plan("config.SEED=4294967295").run.seed == 2**32 - 1


def test_one_process_needs_no_synchronised_statistics() -> None:
    assert not pretrain_plan(f"{PROCESSES}=1").sync_bn
    assert pretrain_plan(f"{PROCESSES}=1", "config.DISTRIBUTED.NUM_NODES=2").sync_bn
    assert not pretrain_plan("config.MODEL.use_sync_bn=false").sync_bn


@pytest.mark.parametrize(("job", "override", "said"), REFUSED)
def test_a_value_that_cannot_work_is_refused_by_its_key(job: str, override: str, said: str) -> None:
    with pytest.raises(InputError) as refusal:
        PLANS[job](override)
    message, key = str(refusal.value), override.split("=")[0]
    assert key in message
    assert said in message
    assert "\n" not in message


def test_the_table_of_refusals_is_whole() -> None:
    assert len(REFUSED) == 58
    assert len(INDIVISIBLE) == 9


def test_a_plan_is_frozen_and_holds_no_infinities() -> None:
    for plan in (pretrain_plan(), extract_plan(), finetune_plan()):
        with pytest.raises(AttributeError):
            plan.run = None  # type: ignore[misc, union-attr, assignment]
        assert all(math.isfinite(number) for number in _numbers(plan))


def _numbers(value: Any) -> list[float]:
    if isinstance(value, int | float):
        return [float(value)]
    parts = vars(value).values() if hasattr(value, "__dataclass_fields__") else []
    return [number for part in parts for number in _numbers(part)]

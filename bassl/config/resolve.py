"""From a composed configuration to the frozen plan of a job: defaults that depend on others, and cross-field checks."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from bassl.config import plan as plans
from bassl.config.method import resolve_method
from bassl.errors import InputError

PACKAGE = Path(__file__).resolve().parents[1]
DATA = PACKAGE / "data" / "movienet"
LR_REFERENCE_BATCH = 256


def resolve_pretrain(config: DictConfig) -> plans.PretrainPlan:
    """The plan of a pre-training run."""
    method = resolve_method(config.LOSS, config.MODEL.contextual_relation_network.enabled)
    compute = _compute(config, config.TRAIN.BATCH_SIZE.effective_batch_size, config.TRAIN.NUM_WORKERS)
    if compute.batch_size * compute.world_size < 2 and set(method.terms) & {"ssm", "shotcol", "simclr"}:
        raise InputError(
            "a batch of 1 sample has no negatives for the contrastive loss; set "
            "config.TRAIN.BATCH_SIZE.effective_batch_size to 2 or more per accumulated micro-batch"
        )
    encoder, crn = config.MODEL.shot_encoder.resnet, config.MODEL.contextual_relation_network
    _one_of("config.MODEL.contextual_relation_network.name", crn.name, ("trn",))
    _one_of("config.MODEL.shot_encoder.resnet.depth", encoder.depth, (18, 34, 50, 101, 152))
    _one_of("config.TRAIN.OPTIMIZER.name", config.TRAIN.OPTIMIZER.name, ("lars", "sgd"))
    optimizer = config.TRAIN.OPTIMIZER
    return plans.PretrainPlan(
        run=_run(config, "pretrain"),
        data=_data(config),
        compute=compute,
        loop=_loop(config),
        optimizer=plans.OptimizerPlan(
            name=optimizer.name,
            lr=_scaled_lr(config),
            weight_decay=_not_negative("config.TRAIN.OPTIMIZER.weight_decay", optimizer.weight_decay),
            warmup=_share("config.TRAIN.OPTIMIZER.scheduler.warmup", optimizer.scheduler.warmup),
            momentum=_share("config.TRAIN.OPTIMIZER.momentum", optimizer.momentum),
            trust_coefficient=optimizer.trust_coefficient,
            eps=optimizer.eps,
        ),
        method=method,
        encoder=plans.EncoderPlan(encoder.depth, encoder.params.zero_init_residual, encoder.use_imagenet_pretrained),
        crn=_crn(crn.params.trn) if method.uses_crn else None,
        augmentation=_augmentation(config.TRANSFORM),
        test_transform=_test_transform(config.TRANSFORM.test),
        knn_validation=config.TEST.KNN_VALIDATION,
        sync_bn=config.MODEL.use_sync_bn and compute.world_size > 1,
        compile=config.TRAINER.compile,
    )


def resolve_extract(config: DictConfig) -> plans.ExtractPlan:
    """The plan of an extraction."""
    if not config.LOAD_FROM:
        raise InputError("which model is to extract the features? Set config.LOAD_FROM=<EXPR_NAME of the pre-training run>")
    _one_of("config.SPLIT", config.SPLIT, ("pretrain", "trainvaltest", "train", "val", "test"))
    _one_of("config.FEATURE_DTYPE", config.FEATURE_DTYPE, ("float32", "float16"))
    data = _data(config)
    checkpoint = located(config.LOAD_FROM, _path(config.CKPT_PATH, PACKAGE / "pretrain" / "ckpt"))
    compute = _compute(config, config.TEST.BATCH_SIZE.effective_batch_size, config.TRAIN.NUM_WORKERS, train=False)
    return plans.ExtractPlan(
        checkpoint=checkpoint,
        features=_path(config.FEATURE_PATH, data.root / "features" / store_name(config.LOAD_FROM)),
        shots=_path(config.SHOT_PATH, data.root / "scene318" / "shot_movie318"),
        data=data,
        compute=compute,
        split=config.SPLIT,
        dtype=config.FEATURE_DTYPE,
        test_transform=_test_transform(config.TRANSFORM.test),
        dry_run=config.DRY_RUN,
        progress_bar=config.TRAINER.progress_bar,
    )


def resolve_finetune(config: DictConfig) -> plans.FinetunePlan:
    """The plan of a fine-tuning run or of an evaluation alone."""
    data = _data(config)
    optimizer = config.TRAIN.OPTIMIZER
    _one_of("config.TRAIN.OPTIMIZER.name", optimizer.name, ("adam", "adamw"))
    _one_of("config.TEST.SELECT_ON", config.TEST.SELECT_ON, ("last", "val"))
    _one_of("config.TEST.UNCERTAIN_LABEL", config.TEST.UNCERTAIN_LABEL, ("positive", "masked"))
    neighbors = config.LOSS.sampling_method.params
    if neighbors.neighbor_size < 1 or neighbors.neighbor_interval < 1:
        raise InputError("config.LOSS.sampling_method.params.neighbor_size and neighbor_interval must be at least 1")
    named = config.PRETRAINED_LOAD_FROM
    if not (named or config.LOAD_FROM or config.FEATURE_PATH):
        raise InputError(
            "nothing to fine-tune: set config.PRETRAINED_LOAD_FROM=<EXPR_NAME of the pre-training run>, or "
            "config.FEATURE_PATH=<feature store> to train a CRN from scratch, or config.LOAD_FROM=<run> to evaluate"
        )
    if config.USE_RAW_SHOT and not (named or config.LOAD_FROM):
        raise InputError("config.USE_RAW_SHOT=true needs the encoder of a run: set config.PRETRAINED_LOAD_FROM=<EXPR_NAME>")
    run = _run(config, "finetune")
    default_store = data.root / "features" / store_name(named) if named else None
    return plans.FinetunePlan(
        run=run,
        data=data,
        compute=_compute(config, config.TRAIN.BATCH_SIZE.effective_batch_size, config.TRAIN.NUM_WORKERS),
        loop=_loop(config),
        optimizer=plans.OptimizerPlan(
            name=optimizer.name,
            lr=_scaled_lr(config),
            weight_decay=_not_negative("config.TRAIN.OPTIMIZER.weight_decay", optimizer.weight_decay),
            warmup=_share("config.TRAIN.OPTIMIZER.scheduler.warmup", optimizer.scheduler.warmup),
        ),
        crn=_crn(config.MODEL.contextual_relation_network.params.trn),
        pretrained=located(named, _path(config.PRETRAINED_CKPT_PATH, PACKAGE / "pretrain" / "ckpt")) if named else None,
        evaluate=located(config.LOAD_FROM, run.checkpoint_folder.parent) if config.LOAD_FROM else None,
        raw=config.USE_RAW_SHOT,
        features=_optional_path(config.FEATURE_PATH) or default_store,
        own_features=config.FEATURE_PATH is not None,
        shots=_path(config.SHOT_PATH, data.root / "scene318" / "shot_movie318"),
        transfer=config.MODEL.contextual_relation_network.transfer,
        neighbor_size=neighbors.neighbor_size,
        neighbor_interval=neighbors.neighbor_interval,
        select_on=config.TEST.SELECT_ON,
        threshold=_share("config.TEST.THRESHOLD", config.TEST.THRESHOLD),
        uncertain=config.TEST.UNCERTAIN_LABEL,
        fps=_positive("config.TEST.FPS", config.TEST.FPS),
        test_transform=_test_transform(config.TRANSFORM.test),
    )


def located(name_or_path: str, root: Path) -> Path:
    """A run's folder below `root`, or the path itself where the value looks like one and exists."""
    given = Path(name_or_path).expanduser()
    if given.is_absolute() or given.suffix == ".ckpt" or (given.exists() and len(given.parts) > 1):
        return given.resolve()
    return root / _safe_name("LOAD_FROM", name_or_path)


def store_name(name_or_path: str) -> str:
    """Name of the feature store of a model given by name or by path: the run's name."""
    given = Path(name_or_path)
    return given.parent.name if given.suffix == ".ckpt" else given.name


def _run(config: DictConfig, job: str) -> plans.RunPlan:
    name = _safe_name("config.EXPR_NAME", config.EXPR_NAME)
    resume = None if config.RESUME is None or str(config.RESUME).lower() == "false" else str(config.RESUME)
    if resume is not None and resume.lower() == "true":
        resume = "auto"
    if config.SEED is not None and not 0 <= config.SEED < 2**32:
        raise InputError(f"config.SEED={config.SEED} must lie between 0 and {2**32 - 1}")
    return plans.RunPlan(
        name=name,
        seed=config.SEED,
        dry_run=config.DRY_RUN,
        resume=resume,
        checkpoint_folder=_path(config.CKPT_PATH, PACKAGE / job / "ckpt") / name,
        log_folder=_path(config.LOG_PATH, PACKAGE / job / "logs") / name,
    )


def _data(config: DictConfig) -> plans.DataPlan:
    root = _path(config.DATA_PATH, DATA)
    return plans.DataPlan(root, _path(config.ANNO_PATH, root / "anno"), _path(config.IMG_PATH, root / "240P_frames"))


def _compute(config: DictConfig, effective: int, num_workers: int, train: bool = True) -> plans.ComputePlan:
    nodes, processes = config.DISTRIBUTED.NUM_NODES, config.DISTRIBUTED.NUM_PROC_PER_NODE
    for key, value in (("NUM_NODES", nodes), ("NUM_PROC_PER_NODE", processes)):
        if value < 1:
            raise InputError(f"config.DISTRIBUTED.{key}={value} must be at least 1")
    accumulate = config.TRAINER.accumulate_grad_batches if train else 1
    if accumulate < 1:
        raise InputError(f"config.TRAINER.accumulate_grad_batches={accumulate} must be at least 1")
    _one_of("config.TRAINER.accelerator", config.TRAINER.accelerator, ("auto", "cuda", "cpu"))
    _one_of("config.TRAINER.precision", config.TRAINER.precision, ("auto", "32", "bf16", "fp16"))
    if num_workers < 0:
        raise InputError(f"config.TRAIN.NUM_WORKERS={num_workers} must be 0 or more")
    evaluation = config.TEST.BATCH_SIZE.effective_batch_size
    return plans.ComputePlan(
        num_nodes=nodes,
        num_processes=processes,
        accelerator=config.TRAINER.accelerator,
        precision=config.TRAINER.precision,
        batch_size=_shared_out(effective, nodes * processes, accumulate) if train else evaluation // (nodes * processes),
        eval_batch_size=max(1, evaluation // (nodes * processes)),
        accumulate=accumulate,
        num_workers=num_workers,
    )


def _shared_out(effective: int, processes: int, accumulate: int) -> int:
    parts = processes * accumulate
    by = f"{processes} process{'es' if processes != 1 else ''}"
    if accumulate > 1:
        by += f" x {accumulate} micro-batches"
    if effective < 1 or effective % parts:
        nearest = max(parts, effective // parts * parts)
        raise InputError(
            f"config.TRAIN.BATCH_SIZE.effective_batch_size {effective} is not divisible by {by}; try {nearest}"
        )
    return effective // parts


def _loop(config: DictConfig) -> plans.LoopPlan:
    trainer = config.TRAINER
    for name in ("max_epochs", "log_every_n_steps"):
        if trainer[name] < 1:
            raise InputError(f"config.TRAINER.{name}={trainer[name]} must be at least 1")
    optional = ("max_steps", "limit_train_batches", "limit_val_batches", "gradient_clip_val")
    for name in (*optional, "checkpoint_every_n_steps", "checkpoint_every_n_minutes"):
        if trainer[name] is not None and trainer[name] <= 0:
            raise InputError(f"config.TRAINER.{name}={trainer[name]} must be above 0; leave it out for none")
    if config.TEST.VAL_FREQ < 1:
        raise InputError(f"config.TEST.VAL_FREQ={config.TEST.VAL_FREQ} must be at least 1 epoch")
    return plans.LoopPlan(
        max_epochs=trainer.max_epochs,
        max_steps=trainer.max_steps,
        gradient_clip=trainer.gradient_clip_val,
        log_every_steps=trainer.log_every_n_steps,
        limit_train_batches=trainer.limit_train_batches,
        limit_eval_batches=trainer.limit_val_batches,
        eval_every_epochs=config.TEST.VAL_FREQ,
        checkpoint_every_steps=trainer.checkpoint_every_n_steps,
        checkpoint_every_minutes=trainer.checkpoint_every_n_minutes,
        progress_bar=trainer.progress_bar,
    )


def _scaled_lr(config: DictConfig) -> float:
    base = _positive("config.TRAIN.OPTIMIZER.lr.base_lr", config.TRAIN.OPTIMIZER.lr.base_lr)
    return base * config.TRAIN.BATCH_SIZE.effective_batch_size / LR_REFERENCE_BATCH


def _crn(trn: DictConfig) -> plans.CrnPlan:
    prefix = "config.MODEL.contextual_relation_network.params.trn"
    _one_of(f"{prefix}.pooling_method", trn.pooling_method, ("center", "cls", "avg", "max"))
    if trn.num_attention_heads < 1 or trn.hidden_size % trn.num_attention_heads:
        raise InputError(f"{prefix}.hidden_size {trn.hidden_size} is not divisible by {trn.num_attention_heads} heads")
    if trn.num_hidden_layers < 1:
        raise InputError(f"{prefix}.num_hidden_layers={trn.num_hidden_layers} must be at least 1")
    return plans.CrnPlan(
        hidden_dim=trn.hidden_size,
        num_layers=trn.num_hidden_layers,
        num_heads=trn.num_attention_heads,
        intermediate_dim=trn.intermediate_size,
        dropout=_share(f"{prefix}.hidden_dropout_prob", trn.hidden_dropout_prob),
        pooling=trn.pooling_method,
    )


def _augmentation(transform: DictConfig) -> dict[str, Any]:
    train, jitter = transform.train, transform.train.color_jitter
    for name in ("scale", "ratio", "blur_sigma"):
        low_high = list(train[name])
        if len(low_high) != 2 or not 0 < low_high[0] <= low_high[1]:
            raise InputError(f"config.TRANSFORM.train.{name}={low_high} must be two numbers above 0, the smaller first")
    if transform.size < 1:
        raise InputError(f"config.TRANSFORM.size={transform.size} must be at least 1 pixel")
    return {
        "size": transform.size,
        "scale": tuple(train.scale),
        "ratio": tuple(train.ratio),
        "flip_probability": _share("config.TRANSFORM.train.flip", train.flip),
        "jitter_probability": _share("config.TRANSFORM.train.color_jitter.p", jitter.p),
        "brightness": _share("config.TRANSFORM.train.color_jitter.brightness", jitter.brightness),
        "contrast": _share("config.TRANSFORM.train.color_jitter.contrast", jitter.contrast),
        "saturation": _share("config.TRANSFORM.train.color_jitter.saturation", jitter.saturation),
        "hue": _share("config.TRANSFORM.train.color_jitter.hue", jitter.hue, high=0.5),
        "jitter_consistent": jitter.consistent,
        "blur_probability": _share("config.TRANSFORM.train.blur", train.blur),
        "blur_sigma": tuple(train.blur_sigma),
    }


def _test_transform(test: DictConfig) -> plans.TestTransformPlan:
    if not 1 <= test.crop <= test.resize:
        raise InputError(
            f"config.TRANSFORM.test.crop={test.crop} must lie between 1 and config.TRANSFORM.test.resize={test.resize}"
        )
    return plans.TestTransformPlan(test.resize, test.crop)


def _path(given: str | None, default: Path) -> Path:
    return default if given is None else Path(given).expanduser().resolve()


def _optional_path(given: str | None) -> Path | None:
    return None if given is None else Path(given).expanduser().resolve()


def _safe_name(key: str, name: str) -> str:
    if not re.fullmatch(r"[\w][\w.+=@ -]*", name) or ".." in name:
        raise InputError(f"{key}={name!r} cannot name a folder; use letters, digits and . _ + - only")
    return name


def _one_of(key: str, value: Any, choices: tuple[Any, ...]) -> None:
    if value not in choices:
        raise InputError(f"{key}={value} is unknown; choose one of {', '.join(map(str, choices))}")


def _share(key: str, value: float, high: float = 1.0) -> float:
    if not 0 <= value <= high:
        raise InputError(f"{key}={value} must lie between 0 and {high:g}")
    return float(value)


def _not_negative(key: str, value: float) -> float:
    if value < 0:
        raise InputError(f"{key}={value} must be 0 or more")
    return float(value)


def _positive(key: str, value: float) -> float:
    if value <= 0:
        raise InputError(f"{key}={value} must be above 0")
    return float(value)

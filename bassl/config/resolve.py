"""From a composed configuration to the frozen plan of a job: defaults that depend on others, and cross-field checks."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from bassl.config import plan as plans
from bassl.config.checks import at_least, one_of, positive, share
from bassl.config.compute import check_limit, compute_plan, loop_plan, scaled_lr
from bassl.config.locations import DATA, PACKAGE, PRETRAINED, checked_path, folder_name, located, store_name
from bassl.config.method import resolve_method
from bassl.config.schema import Finetune
from bassl.errors import InputError


def resolve_pretrain(config: DictConfig) -> plans.PretrainPlan:
    """The plan of a pre-training run."""
    method = resolve_method(config.LOSS, config.MODEL.contextual_relation_network.enabled)
    compute = compute_plan(config, config.TRAIN.BATCH_SIZE.effective_batch_size, config.TRAIN.NUM_WORKERS)
    if compute.batch_size * compute.world_size < 2 and set(method.terms) & {"ssm", "shotcol", "simclr"}:
        raise InputError(
            "a batch of 1 sample has no negatives for the contrastive loss; set "
            "config.TRAIN.BATCH_SIZE.effective_batch_size to 2 or more per accumulated micro-batch"
        )
    encoder, crn = config.MODEL.shot_encoder.resnet, config.MODEL.contextual_relation_network
    one_of("config.MODEL.contextual_relation_network.name", crn.name, ("trn",))
    one_of("config.MODEL.shot_encoder.resnet.depth", encoder.depth, (18, 34, 50, 101, 152))
    one_of("config.TRAIN.OPTIMIZER.name", config.TRAIN.OPTIMIZER.name, ("lars", "sgd"))
    optimizer = config.TRAIN.OPTIMIZER
    return plans.PretrainPlan(
        run=_run(config, "pretrain", config.EXPR_NAME),
        data=_data(config),
        compute=compute,
        loop=loop_plan(config, least_epochs=0),
        optimizer=plans.OptimizerPlan(
            name=optimizer.name,
            lr=scaled_lr(config),
            weight_decay=at_least("config.TRAIN.OPTIMIZER.weight_decay", optimizer.weight_decay, 0.0),
            warmup=share("config.TRAIN.OPTIMIZER.scheduler.warmup", optimizer.scheduler.warmup),
            momentum=share("config.TRAIN.OPTIMIZER.momentum", optimizer.momentum),
            trust_coefficient=positive("config.TRAIN.OPTIMIZER.trust_coefficient", optimizer.trust_coefficient),
            eps=at_least("config.TRAIN.OPTIMIZER.eps", optimizer.eps, 0.0),
        ),
        method=method,
        encoder=plans.EncoderPlan(encoder.depth, encoder.params.zero_init_residual, encoder.use_imagenet_pretrained),
        crn=_crn(crn.params.trn) if method.uses_crn else None,
        augmentation=_augmentation(config.TRANSFORM),
        test_transform=_test_transform(config.TRANSFORM.test),
        knn_validation=config.TEST.KNN_VALIDATION,
        validate_first=config.TEST.VAL_FIRST,
        sync_bn=config.MODEL.use_sync_bn and compute.world_size > 1,
        compile=config.TRAINER.compile,
    )


def resolve_extract(config: DictConfig) -> plans.ExtractPlan:
    """The plan of an extraction."""
    if not config.LOAD_FROM:
        raise InputError(
            "which model is to extract the features? Set config.LOAD_FROM=<EXPR_NAME of the pre-training run>"
        )
    one_of("config.SPLIT", config.SPLIT, ("pretrain", "trainvaltest", "train", "val", "test"))
    one_of("config.FEATURE_DTYPE", config.FEATURE_DTYPE, ("float32", "float16"))
    data = _data(config)
    checkpoint = located("config.LOAD_FROM", config.LOAD_FROM, checked_path(config.CKPT_PATH, PRETRAINED))
    compute = compute_plan(config, config.TEST.BATCH_SIZE.effective_batch_size, config.TRAIN.NUM_WORKERS, train=False)
    return plans.ExtractPlan(
        checkpoint=checkpoint,
        features=checked_path(config.FEATURE_PATH, data.root / "features" / store_name(checkpoint)),
        shots=checked_path(config.SHOT_PATH, data.root / "scene318" / "shot_movie318"),
        data=data,
        compute=compute,
        split=config.SPLIT,
        dtype=config.FEATURE_DTYPE,
        test_transform=_test_transform(config.TRANSFORM.test),
        dry_run=config.DRY_RUN,
        progress_bar=config.TRAINER.progress_bar,
    )


def resolve_finetune(config: DictConfig) -> plans.FinetunePlan:
    """The plan of a fine-tuning run or of an evaluation alone, which reads no key of training."""
    data = _data(config)
    evaluates = bool(config.LOAD_FROM) or config.ZERO_SHOT
    training = OmegaConf.structured(Finetune) if evaluates else config
    optimizer = training.TRAIN.OPTIMIZER
    one_of("config.TRAIN.OPTIMIZER.name", optimizer.name, ("adam", "adamw"))
    one_of("config.MODEL.scorer", config.MODEL.scorer, ("crn", "similarity", "crn+similarity"))
    at_least("config.MODEL.similarity.hidden_size", config.MODEL.similarity.hidden_size, 1)
    one_of("config.TEST.SELECT_ON", config.TEST.SELECT_ON, ("last", "val"))
    if not evaluates and config.TEST.SELECT_ON == "val" and config.TRAINER.max_epochs < config.TEST.VAL_FREQ:
        raise InputError(
            f"config.TEST.VAL_FREQ={config.TEST.VAL_FREQ} is more than the {config.TRAINER.max_epochs} epochs of "
            "config.TRAINER.max_epochs, so val could choose none; set it to 1"
        )
    one_of("config.TEST.UNCERTAIN_LABEL", config.TEST.UNCERTAIN_LABEL, ("positive", "masked"))
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
        raise InputError(
            "config.USE_RAW_SHOT=true needs the encoder of a run: set config.PRETRAINED_LOAD_FROM=<EXPR_NAME>"
        )
    if config.ZERO_SHOT and (not named or config.LOAD_FROM):
        raise InputError(
            "config.ZERO_SHOT=true evaluates a run that is only pre-trained: set config.PRETRAINED_LOAD_FROM=<its "
            f"EXPR_NAME>{' and leave config.LOAD_FROM out' if config.LOAD_FROM else ''}"
        )
    pretrained, default_store = None, None
    if named:
        pretrained = located(
            "config.PRETRAINED_LOAD_FROM", named, checked_path(config.PRETRAINED_CKPT_PATH, PRETRAINED)
        )
        default_store = data.root / "features" / store_name(pretrained)
    checkpoints = checked_path(config.CKPT_PATH, PACKAGE / "finetune" / "ckpt")
    evaluate = config.LOAD_FROM and located("config.LOAD_FROM", config.LOAD_FROM, checkpoints)
    evaluated = evaluate or (pretrained if config.ZERO_SHOT else None)
    is_unnamed = config.EXPR_NAME == Finetune.EXPR_NAME
    name = f"{store_name(evaluated)}_evaluation" if evaluated and is_unnamed else config.EXPR_NAME
    loop = loop_plan(training)
    if evaluates:
        check_limit(config, "limit_val_batches")
        loop = replace(
            loop, limit_eval_batches=config.TRAINER.limit_val_batches, progress_bar=config.TRAINER.progress_bar
        )
    batch = config.TRAIN.BATCH_SIZE.effective_batch_size
    return plans.FinetunePlan(
        run=_run(config, "finetune", name),
        data=data,
        compute=compute_plan(config, batch, config.TRAIN.NUM_WORKERS, train=not evaluates),
        loop=loop,
        optimizer=plans.OptimizerPlan(
            name=optimizer.name,
            lr=scaled_lr(training),
            weight_decay=at_least("config.TRAIN.OPTIMIZER.weight_decay", optimizer.weight_decay, 0.0),
            warmup=share("config.TRAIN.OPTIMIZER.scheduler.warmup", optimizer.scheduler.warmup),
        ),
        crn=_crn(config.MODEL.contextual_relation_network.params.trn),
        pretrained=pretrained,
        evaluate=evaluate,
        zero_shot=config.ZERO_SHOT,
        scorer=config.MODEL.scorer,
        similarity_hidden_dim=config.MODEL.similarity.hidden_size,
        similarity_dropout=share("config.MODEL.similarity.dropout", config.MODEL.similarity.dropout),
        raw=config.USE_RAW_SHOT,
        features=checked_path(config.FEATURE_PATH, default_store),
        own_features=config.FEATURE_PATH is not None,
        shots=checked_path(config.SHOT_PATH, data.root / "scene318" / "shot_movie318"),
        transfer=config.MODEL.contextual_relation_network.transfer,
        neighbor_size=neighbors.neighbor_size,
        neighbor_interval=neighbors.neighbor_interval,
        select_on=config.TEST.SELECT_ON,
        threshold=_threshold(config),
        uncertain=config.TEST.UNCERTAIN_LABEL,
        fps=positive("config.TEST.FPS", config.TEST.FPS),
        test_transform=_test_transform(config.TRANSFORM.test),
    )


def _threshold(config: DictConfig) -> float | None:
    """The probability from which a shot counts as a boundary; None for the one that val chooses."""
    key, value = "config.TEST.THRESHOLD", config.TEST.THRESHOLD
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return share(key, value)
    if value != "val":
        raise InputError(f"{key}={value} is neither a number from 0 to 1 nor val")
    if config.ZERO_SHOT:
        raise InputError(f"{key}=val, but a zero-shot evaluation reads no val: give a number, or leave it at 0.5")
    if config.TEST.SELECT_ON != "val" and not config.LOAD_FROM:
        raise InputError(f"{key}=val needs config.TEST.SELECT_ON=val, which scores val after each epoch")
    return None


def _run(config: DictConfig, job: str, name: str) -> plans.RunPlan:
    name = folder_name("config.EXPR_NAME", name)
    if config.SEED is not None and not 0 <= config.SEED < 2**32:
        raise InputError(f"config.SEED={config.SEED} must lie between 0 and {2**32 - 1}")
    return plans.RunPlan(
        name=name,
        seed=config.SEED,
        dry_run=config.DRY_RUN,
        resume=_resume(config.RESUME),
        checkpoint_folder=checked_path(config.CKPT_PATH, PACKAGE / job / "ckpt") / name,
        log_folder=checked_path(config.LOG_PATH, PACKAGE / job / "logs") / name,
    )


def _resume(given: str | None) -> Path | bool:
    switch = {"none": False, "false": False, "true": True}.get(str(given).lower())
    return Path(str(given)) if switch is None else switch


def _data(config: DictConfig) -> plans.DataPlan:
    root = checked_path(config.DATA_PATH, DATA)
    return plans.DataPlan(
        root,
        checked_path(config.ANNO_PATH, root / "anno"),
        checked_path(config.IMG_PATH, root / "240P_frames"),
        config.DATA_FAULTS.strict,
        share("config.DATA_FAULTS.max_share", config.DATA_FAULTS.max_share),
    )


def _crn(trn: DictConfig) -> plans.CrnPlan:
    prefix = "config.MODEL.contextual_relation_network.params.trn"
    one_of(f"{prefix}.pooling_method", trn.pooling_method, ("center", "cls", "avg", "max"))
    if trn.num_attention_heads < 1 or trn.hidden_size % trn.num_attention_heads:
        raise InputError(f"{prefix}.hidden_size {trn.hidden_size} is not divisible by {trn.num_attention_heads} heads")
    for name in ("hidden_size", "intermediate_size", "num_hidden_layers"):
        at_least(f"{prefix}.{name}", trn[name], 1)
    return plans.CrnPlan(
        hidden_dim=trn.hidden_size,
        num_layers=trn.num_hidden_layers,
        num_heads=trn.num_attention_heads,
        intermediate_dim=trn.intermediate_size,
        dropout=share(f"{prefix}.hidden_dropout_prob", trn.hidden_dropout_prob),
        pooling=trn.pooling_method,
    )


def _augmentation(transform: DictConfig) -> dict[str, Any]:
    train, jitter = transform.train, transform.train.color_jitter
    for name in ("scale", "ratio", "blur_sigma"):
        low_high = list(train[name])
        if len(low_high) != 2 or not 0 < low_high[0] <= low_high[1] < math.inf:
            raise InputError(f"config.TRANSFORM.train.{name}={low_high} must be two numbers above 0, the smaller first")
    return {
        "size": at_least("config.TRANSFORM.size", transform.size, 1, " pixel"),
        "scale": tuple(train.scale),
        "ratio": tuple(train.ratio),
        "flip_probability": share("config.TRANSFORM.train.flip", train.flip),
        "jitter_probability": share("config.TRANSFORM.train.color_jitter.p", jitter.p),
        "brightness": share("config.TRANSFORM.train.color_jitter.brightness", jitter.brightness),
        "contrast": share("config.TRANSFORM.train.color_jitter.contrast", jitter.contrast),
        "saturation": share("config.TRANSFORM.train.color_jitter.saturation", jitter.saturation),
        "hue": share("config.TRANSFORM.train.color_jitter.hue", jitter.hue, high=0.5),
        "jitter_consistent": jitter.consistent,
        "blur_probability": share("config.TRANSFORM.train.blur", train.blur),
        "blur_sigma": tuple(train.blur_sigma),
    }


def _test_transform(test: DictConfig) -> plans.TestTransformPlan:
    if not 1 <= test.crop <= test.resize:
        raise InputError(
            f"config.TRANSFORM.test.crop={test.crop} must lie between 1 and config.TRANSFORM.test.resize={test.resize}"
        )
    return plans.TestTransformPlan(test.resize, test.crop)

"""Rules between keys: combinations that no job could run with. Ranges of single keys stand in the schema."""

from __future__ import annotations

from bassl.config.batches import num_processes, train_batch_size
from bassl.config.methods import CONTRASTIVE_TERMS, method_of
from bassl.config.paths import (
    check_name,
    evaluated_checkpoint,
    feature_folder,
    pretrained_checkpoint,
    run_name,
)
from bassl.config.schema import Extract, Finetune, Pretrain, TestSize, Trainer, Trn
from bassl.errors import InputError


def check_pretrain(config: Pretrain) -> None:
    """Raise InputError for a pre-training configuration that cannot run."""
    method = method_of(config)
    samples = train_batch_size(config) * num_processes(config)
    if samples < 2 and not CONTRASTIVE_TERMS.isdisjoint(method.terms):
        raise InputError(
            "a batch of 1 sample has no negatives for the contrastive loss; set "
            "config.TRAIN.BATCH_SIZE.effective_batch_size to at least 2 per accumulated micro-batch"
        )
    check_name("config.EXPR_NAME", config.EXPR_NAME)
    _check_trainer(config.TRAINER)
    _check_heads(config.MODEL.contextual_relation_network.params.trn)
    _check_crop(config.TRANSFORM.test)


def check_extract(config: Extract) -> None:
    """Raise InputError for an extraction that cannot run."""
    if not config.LOAD_FROM:
        raise InputError(
            "config.LOAD_FROM is missing: set it to the EXPR_NAME of the pre-training run that extracts the features"
        )
    feature_folder(config)  # refuses a name or path that cannot be
    _check_crop(config.TRANSFORM.test)


def check_finetune(config: Finetune) -> None:
    """Raise InputError for a fine-tuning run or an evaluation that cannot run."""
    _check_source(config)
    if not config.evaluates:  # an evaluation reads no key of training
        train_batch_size(config)
        _check_trainer(config.TRAINER)
        if config.TRAINER.max_epochs < 1:
            raise InputError(f"config.TRAINER.max_epochs={config.TRAINER.max_epochs} must be at least 1")
        if config.TEST.SELECT_ON == "val" and config.TRAINER.max_epochs < config.TEST.VAL_FREQ:
            raise InputError(
                f"config.TEST.VAL_FREQ={config.TEST.VAL_FREQ} exceeds config.TRAINER.max_epochs="
                f"{config.TRAINER.max_epochs}, so no epoch would be scored on val; set it to 1"
            )
    check_name("config.EXPR_NAME", run_name(config))
    _check_threshold(config)
    _check_few_labels(config)
    _check_heads(config.MODEL.contextual_relation_network.params.trn)
    _check_crop(config.TRANSFORM.test)


def _check_source(config: Finetune) -> None:
    for find in (pretrained_checkpoint, evaluated_checkpoint, feature_folder):
        find(config)  # refuses a name or path that cannot be
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
    if config.ZERO_SHOT and config.LOAD_FROM:
        raise InputError(
            "config.ZERO_SHOT=true evaluates config.PRETRAINED_LOAD_FROM or config.FEATURE_PATH: leave "
            "config.LOAD_FROM out"
        )


def _check_few_labels(config: Finetune) -> None:
    crn, scorer = config.MODEL.contextual_relation_network, config.MODEL.scorer
    if crn.projection is not None and crn.transfer:
        raise InputError(
            "config.MODEL.contextual_relation_network.transfer=true starts from a CRN that reads features as they are; "
            "leave it out, or set config.MODEL.contextual_relation_network.projection=null"
        )
    if config.USE_RAW_SHOT and not config.evaluates and (scorer == "structure" or crn.projection is not None):
        raise InputError("config.USE_RAW_SHOT=true cannot score whole films; extract features and leave it out")


def _check_threshold(config: Finetune) -> None:
    key, value = "config.TEST.THRESHOLD", config.TEST.THRESHOLD
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if not 0 <= value <= 1:
            raise InputError(f"{key}={value} must be at least 0 and at most 1")
    elif value != "val":
        raise InputError(f"{key}={value} is neither a number from 0 to 1 nor val")
    elif config.ZERO_SHOT:
        raise InputError(f"{key}=val, but a zero-shot evaluation reads no val: set a number")
    elif config.TEST.SELECT_ON != "val" and not config.LOAD_FROM:
        raise InputError(f"{key}=val needs config.TEST.SELECT_ON=val, which scores val after each epoch")


def _check_trainer(trainer: Trainer) -> None:
    limit, accumulate = trainer.limit_train_batches, trainer.accumulate_grad_batches
    if limit is not None and limit % accumulate:
        raise InputError(
            f"config.TRAINER.limit_train_batches={limit} cuts off a step of {accumulate} accumulated micro-batches; "
            f"try {-(-limit // accumulate) * accumulate}"
        )


def _check_heads(trn: Trn) -> None:
    if trn.hidden_size % trn.num_attention_heads:
        raise InputError(
            f"config.MODEL.contextual_relation_network.params.trn.hidden_size {trn.hidden_size} is not divisible by "
            f"{trn.num_attention_heads} heads"
        )


def _check_crop(test: TestSize) -> None:
    if test.crop > test.resize:
        raise InputError(
            f"config.TRANSFORM.test.crop={test.crop} must be at most config.TRANSFORM.test.resize={test.resize}"
        )

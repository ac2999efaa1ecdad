"""Processes, batches, length and learning rate of a run, from a composed configuration."""

from __future__ import annotations

from omegaconf import DictConfig

from bassl.config import plan as plans
from bassl.config.checks import at_least, one_of, positive
from bassl.errors import InputError

LR_REFERENCE_BATCH = 256


def compute_plan(config: DictConfig, effective: int, num_workers: int, train: bool = True) -> plans.ComputePlan:
    """Processes and what each computes at a time. effective: samples of a step over all; train False: evaluation."""
    nodes, processes = config.DISTRIBUTED.NUM_NODES, config.DISTRIBUTED.NUM_PROC_PER_NODE
    at_least("config.DISTRIBUTED.NUM_NODES", nodes, 1)
    at_least("config.DISTRIBUTED.NUM_PROC_PER_NODE", processes, 1)
    accumulate = config.TRAINER.accumulate_grad_batches if train else 1
    at_least("config.TRAINER.accumulate_grad_batches", accumulate, 1)
    one_of("config.TRAINER.accelerator", config.TRAINER.accelerator, ("auto", "cuda", "cpu"))
    one_of("config.TRAINER.precision", config.TRAINER.precision, ("auto", "32", "bf16", "fp16"))
    evaluation = config.TEST.BATCH_SIZE.effective_batch_size
    at_least("config.TEST.BATCH_SIZE.effective_batch_size", evaluation, 1)
    eval_batch = max(1, evaluation // (nodes * processes))
    return plans.ComputePlan(
        num_nodes=nodes,
        num_processes=processes,
        accelerator=config.TRAINER.accelerator,
        precision=config.TRAINER.precision,
        batch_size=_shared_out(effective, nodes * processes, accumulate) if train else eval_batch,
        eval_batch_size=eval_batch,
        accumulate=accumulate,
        num_workers=at_least("config.TRAIN.NUM_WORKERS", num_workers, 0),
    )


def _shared_out(effective: int, processes: int, accumulate: int) -> int:
    parts = processes * accumulate
    by = f"{processes} process{'es' if processes != 1 else ''}"
    if accumulate > 1:
        by += f" x {accumulate} micro-batches"
    key = "config.TRAIN.BATCH_SIZE.effective_batch_size"
    at_least(key, effective, 1, f"; try {parts}")
    if effective % parts:
        nearest = max(parts, (effective + (parts - 1) // 2) // parts * parts)
        raise InputError(f"{key} {effective} is not divisible by {by}; try {nearest}")
    return effective // parts


def loop_plan(config: DictConfig, least_epochs: int = 1) -> plans.LoopPlan:
    """How long a run trains, and what it does on the way."""
    trainer = config.TRAINER
    for name, least in (("max_epochs", least_epochs), ("log_every_n_steps", 1)):
        at_least(f"config.TRAINER.{name}", trainer[name], least)
    optional = ("max_steps", "limit_train_batches", "limit_val_batches", "gradient_clip_val")
    for name in (*optional, "checkpoint_every_n_steps", "checkpoint_every_n_minutes"):
        check_limit(config, name)
    limit, accumulate = trainer.limit_train_batches, trainer.accumulate_grad_batches
    if limit is not None and limit % accumulate:
        raise InputError(
            f"config.TRAINER.limit_train_batches={limit} cuts off a step of {accumulate} accumulated micro-batches; "
            f"try {-(-limit // accumulate) * accumulate}"
        )
    return plans.LoopPlan(
        max_epochs=trainer.max_epochs,
        max_steps=trainer.max_steps,
        gradient_clip=trainer.gradient_clip_val,
        log_every_steps=trainer.log_every_n_steps,
        limit_train_batches=trainer.limit_train_batches,
        limit_eval_batches=trainer.limit_val_batches,
        eval_every_epochs=at_least("config.TEST.VAL_FREQ", config.TEST.VAL_FREQ, 1, " epoch"),
        checkpoint_every_steps=trainer.checkpoint_every_n_steps,
        checkpoint_every_minutes=trainer.checkpoint_every_n_minutes,
        progress_bar=trainer.progress_bar,
    )


def check_limit(config: DictConfig, name: str) -> None:
    """Raise InputError for a limit of config.TRAINER that is set and not above 0."""
    if config.TRAINER[name] is not None:
        positive(f"config.TRAINER.{name}", config.TRAINER[name], "; leave it out for none")


def scaled_lr(config: DictConfig) -> float:
    """The learning rate for the effective batch; base_lr is that for 256 samples."""
    base = positive("config.TRAIN.OPTIMIZER.lr.base_lr", config.TRAIN.OPTIMIZER.lr.base_lr)
    return base * config.TRAIN.BATCH_SIZE.effective_batch_size / LR_REFERENCE_BATCH

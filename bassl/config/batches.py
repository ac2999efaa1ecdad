"""Batch sizes and learning rate that follow from a configuration."""

from __future__ import annotations

from bassl.config.schema import Config, Finetune, Pretrain
from bassl.errors import InputError

LR_REFERENCE_BATCH = 256


def num_processes(config: Config) -> int:
    """Return the number of processes over all machines."""
    return config.DISTRIBUTED.NUM_NODES * config.DISTRIBUTED.NUM_PROC_PER_NODE


def train_batch_size(config: Pretrain | Finetune) -> int:
    """Return the samples per process and micro-batch.

    Raises:
        InputError: The effective batch cannot be divided evenly.
    """
    effective, accumulate = config.TRAIN.BATCH_SIZE.effective_batch_size, config.TRAINER.accumulate_grad_batches
    processes = num_processes(config)
    parts = processes * accumulate
    if effective % parts:
        by = f"{processes} process{'es' if processes != 1 else ''}"
        by += f" x {accumulate} micro-batches" if accumulate > 1 else ""
        nearest = max(parts, (effective + (parts - 1) // 2) // parts * parts)
        key = "config.TRAIN.BATCH_SIZE.effective_batch_size"
        raise InputError(f"{key} {effective} is not divisible by {by}; try {nearest}")
    return effective // parts


def eval_batch_size(config: Config) -> int:
    """Return the key-frames or windows that one process evaluates at a time."""
    return max(1, config.TEST.BATCH_SIZE.effective_batch_size // num_processes(config))


def scaled_lr(config: Pretrain | Finetune) -> float:
    """Return the learning rate of the effective batch; `base_lr` is that of 256 samples."""
    return config.TRAIN.OPTIMIZER.lr.base_lr * config.TRAIN.BATCH_SIZE.effective_batch_size / LR_REFERENCE_BATCH

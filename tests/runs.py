"""Tiny runs of the real entry points, in this process or as a user would type them."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
SMALL_IMAGES = ["config.TRANSFORM.test.resize=32", "config.TRANSFORM.test.crop=32", "config.TRAIN.NUM_WORKERS=0"]
QUIET = ["config.TRAINER.progress_bar=false"]
SMALL_CRN = [
    f"config.MODEL.contextual_relation_network.params.trn.{key}"
    for key in ("hidden_size=32", "num_attention_heads=4", "intermediate_size=64", "num_hidden_layers=2")
]


def pretrain_overrides(data: Path, out: Path) -> list[str]:
    """A pre-training run of seconds: ResNet-18, 32 pixels, batch 2, two steps an epoch."""
    return [
        *SMALL_IMAGES,
        *QUIET,
        *SMALL_CRN,
        f"config.DATA_PATH={data}",
        f"config.CKPT_PATH={out}/pretrain/ckpt",
        f"config.LOG_PATH={out}/pretrain/logs",
        "config.TRANSFORM.size=32",
        "config.MODEL.shot_encoder.resnet.depth=18",
        "config.DISTRIBUTED.NUM_PROC_PER_NODE=1",
        "config.TRAIN.BATCH_SIZE.effective_batch_size=2",
        "config.TRAINER.precision=32",
        "config.TRAINER.limit_train_batches=2",
        "config.TRAINER.max_epochs=1",
        "config.TRAINER.log_every_n_steps=1",
        "config.SEED=1",
    ]


def extract_overrides(data: Path, out: Path) -> list[str]:
    """The extraction that belongs to it."""
    return [
        *SMALL_IMAGES,
        *QUIET,
        f"config.DATA_PATH={data}",
        f"config.CKPT_PATH={out}/pretrain/ckpt",
        f"config.FEATURE_PATH={out}/features",
        "config.TRAINER.precision=32",
    ]


def finetune_overrides(data: Path, out: Path) -> list[str]:
    """The fine-tuning that belongs to it."""
    return [
        *SMALL_IMAGES,
        *QUIET,
        *SMALL_CRN,
        f"config.DATA_PATH={data}",
        f"config.PRETRAINED_CKPT_PATH={out}/pretrain/ckpt",
        f"config.FEATURE_PATH={out}/features",
        f"config.CKPT_PATH={out}/finetune/ckpt",
        f"config.LOG_PATH={out}/finetune/logs",
        "config.TRAIN.BATCH_SIZE.effective_batch_size=8",
        "config.TRAIN.OPTIMIZER.lr.base_lr=0.001",
        "config.TRAINER.max_epochs=2",
        "config.TRAINER.log_every_n_steps=1",
        "config.SEED=1",
    ]


@contextmanager
def files_no_larger_than(num_bytes: int) -> Iterator[None]:
    """Let the system refuse this process to write more than that into one file, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def typed(
    command: Sequence[str] | str, *, cwd: Path | None = None, env: dict[str, str] | None = None, timeout: float = 240
) -> subprocess.CompletedProcess[str]:
    """Run a command as a user would: a list after the interpreter, or a line of shell; output is kept."""
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "BASSL_SEED")}
    environment |= {"OMP_NUM_THREADS": "1", **(env or {})}
    shell = isinstance(command, str)
    return subprocess.run(
        command if shell else [sys.executable, *command],
        shell=shell,
        executable="/bin/bash" if shell else None,
        cwd=cwd or ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )

"""Tiny runs of the real commands, in this process or as typed, and comparisons of what they leave."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from bassl.model.checkpoint import read_checkpoint

ROOT = Path(__file__).parents[1]
SMALL_IMAGES = ["config.TRANSFORM.test.resize=32", "config.TRANSFORM.test.crop=32", "config.TRAIN.NUM_WORKERS=0"]
QUIET = ["config.TRAINER.progress_bar=false"]
SMALL_CRN = [
    f"config.MODEL.contextual_relation_network.params.trn.{key}"
    for key in ("hidden_size=32", "num_attention_heads=4", "intermediate_size=64", "num_hidden_layers=2")
]


TWO_EPOCHS = ["config.TRAINER.max_epochs=2", "config.TRAINER.limit_train_batches=4"]
SAVE_OFTEN = ["config.TRAINER.checkpoint_every_n_steps=1"]
PRETRAINING = [
    *(*TWO_EPOCHS, *SAVE_OFTEN, "config.TRAINER.accumulate_grad_batches=2"),
    "config.TRAIN.BATCH_SIZE.effective_batch_size=4",
]
"""Pre-training of the `finished` run: two epochs of two steps of two micro-batches; saves after every step."""
FINETUNING = [*TWO_EPOCHS, *SAVE_OFTEN, "config.PRETRAINED_LOAD_FROM=devel"]
"""Fine-tuning of the `finished` run: two epochs of four steps."""


def pretrain_overrides(data: Path, out: Path) -> list[str]:
    """Settings of a pre-training run of seconds: ResNet-18, 32 pixels, batch 2, two steps per epoch."""
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
    """Settings of the extraction from that run."""
    return [
        *SMALL_IMAGES,
        *QUIET,
        f"config.DATA_PATH={data}",
        f"config.CKPT_PATH={out}/pretrain/ckpt",
        f"config.FEATURE_PATH={out}/features",
        "config.TRAINER.precision=32",
    ]


def finetune_overrides(data: Path, out: Path) -> list[str]:
    """Settings of the fine-tuning on those features."""
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


def assert_same_run(first: Path, second: Path, name: str = "devel") -> None:
    """Assert that two outputs of a job hold the same last checkpoint, optimiser state included, bit for bit."""
    one, two = (read_checkpoint(folder / "ckpt" / name) for folder in (first, second))
    assert (one.epoch, one.global_step) == (two.epoch, two.global_step)
    assert one.state_dict.keys() == two.state_dict.keys()
    for key, value in one.state_dict.items():
        assert torch.equal(two.state_dict[key], value), key
    for states in zip(one.metadata["optimizer_states"], two.metadata["optimizer_states"], strict=True):
        assert states[0]["state"].keys() == states[1]["state"].keys()
        for index, entry in states[0]["state"].items():
            for field, value in entry.items():
                assert torch.equal(torch.as_tensor(states[1]["state"][index][field]), torch.as_tensor(value)), field


def all_scalars(folder: Path, name: str = "devel") -> dict[str, float]:
    """Return `<tag> at <step>` and value of every scalar that a job logged, speeds left out.

    Of a step that was repeated after a restart, the last value counts.
    """
    events = EventAccumulator(str(folder / "logs" / name), size_guidance={"scalars": 0}, purge_orphaned_data=False)
    events.Reload()
    tags = [tag for tag in events.Tags()["scalars"] if not tag.startswith("throughput")]
    return {f"{tag} at {event.step}": event.value for tag in tags for event in events.Scalars(tag)}


@contextmanager
def files_no_larger_than(num_bytes: int) -> Iterator[None]:
    """Limit the size of each file that this process writes, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def typed(
    command: Sequence[str] | str, *, cwd: Path | None = None, env: dict[str, str] | None = None, timeout: float = 240
) -> subprocess.CompletedProcess[str]:
    """Run a command as typed: a list after the interpreter, or a line of shell; output is captured."""
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

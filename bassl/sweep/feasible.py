"""Whether the steps of a sweep can start on this machine and data: asked once, not by every run in vain."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from bassl.config.batches import num_processes, train_batch_size
from bassl.config.paths import data_paths
from bassl.config.schema import Config, Finetune, Pretrain
from bassl.errors import InputError
from bassl.sweep.runs import Run

TRAINED_ON = {"pretrain": "anno.pretrain.ndjson", "finetune": "anno.train.ndjson"}


def check_feasible(runs: Sequence[Run], devices: Sequence[str] = ()) -> None:
    """Raise InputError, with row and step, for processes without GPUs and for a batch larger than the data.

    devices: CUDA devices of which each run gets one; none where all have all.
    """
    for run in runs:
        for step, config in run.configs.items():
            try:
                _check_devices(config, bool(devices))
                if step in TRAINED_ON:
                    _check_batch(config, data_paths(config).annotations / TRAINED_ON[step])
            except InputError as error:
                raise InputError(f"row {run.row}, {step}: {error}") from error


def _check_devices(config: Config, has_one: bool) -> None:
    asked, processes = config.TRAINER.accelerator, config.DISTRIBUTED.NUM_PROC_PER_NODE
    if asked == "cpu" or (asked == "auto" and processes == 1):
        return  # always works, and torch is left alone
    import torch

    from bassl.training.device import choose_kind

    choose_kind(config, min(torch.cuda.device_count(), 1) if has_one else torch.cuda.device_count())


def _check_batch(config: Pretrain | Finetune, annotations: Path) -> None:
    batch = config.TRAIN.BATCH_SIZE.effective_batch_size
    if annotations.stat().st_size < 1 << 20 and (rows := _num_rows(annotations)) < batch:  # larger files hold enough
        from bassl.dataset.sampler import EpochSampler

        EpochSampler(
            rows, train_batch_size(config), 0, num_processes(config), 0, config.TRAINER.accumulate_grad_batches
        )  # says what would do


@cache
def _num_rows(annotations: Path) -> int:
    with annotations.open("rb") as file:
        return sum(bool(line.strip()) for line in file)

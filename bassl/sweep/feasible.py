"""Whether the steps of a sweep can start on this machine and data: asked once, not by every run in vain."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from bassl.config.plan import ComputePlan
from bassl.errors import InputError
from bassl.sweep.runs import Run

TRAINED_ON = {"pretrain": "anno.pretrain.ndjson", "finetune": "anno.train.ndjson"}


def check_feasible(runs: Sequence[Run], devices: Sequence[str] = ()) -> None:
    """Raise InputError, with row and step, for processes without GPUs and for a batch larger than the data.

    devices: CUDA devices of which each run gets one; none where all have all.
    """
    for run in runs:
        for step, plan in run.plans.items():
            try:
                _check_devices(plan.compute, bool(devices))
                if step in TRAINED_ON:
                    _check_batch(plan.compute, plan.data.annotations / TRAINED_ON[step])
            except InputError as error:
                raise InputError(f"row {run.row}, {step}: {error}") from error


def _check_devices(compute: ComputePlan, has_one: bool) -> None:
    if compute.accelerator == "cpu" or (compute.accelerator == "auto" and compute.num_processes == 1):
        return  # always works, and torch is left alone
    import torch

    from bassl.training.trainer import device_kind

    device_kind(compute, min(torch.cuda.device_count(), 1) if has_one else torch.cuda.device_count())


def _check_batch(compute: ComputePlan, annotations: Path) -> None:
    batch = compute.batch_size * compute.world_size * compute.accumulate
    if annotations.stat().st_size < 1 << 20 and (rows := _num_rows(annotations)) < batch:  # larger files hold enough
        from bassl.dataset.sampler import EpochSampler

        EpochSampler(rows, compute.batch_size, 0, compute.world_size, 0, compute.accumulate)  # says what would do


@cache
def _num_rows(annotations: Path) -> int:
    with annotations.open("rb") as file:
        return sum(bool(line.strip()) for line in file)

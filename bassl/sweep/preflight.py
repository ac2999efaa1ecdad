"""Check that the steps of a sweep can start on this machine and data, once instead of in every run."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from bassl.config.batches import num_processes, train_batch_size
from bassl.config.paths import data_paths
from bassl.config.schema import Config, Extract, Finetune, Pretrain
from bassl.errors import InputError
from bassl.sweep.runs import Run

LARGE = 1 << 20  # bytes; such an annotation file holds more rows than any batch


def check_runs(runs: Sequence[Run], devices: Sequence[str] = ()) -> None:
    """Raise InputError, with row and step, for missing annotations or GPUs and a batch larger than the data.

    Args:
        devices: CUDA devices, one for each run; without any, every run has all.
    """
    for run in runs:
        for step in run.steps:
            try:
                for path in step.annotations:
                    if not path.is_file():
                        raise InputError(f"there is no {path}; set config.DATA_PATH, or see bassl check-data")
                _check_devices(step.config, bool(devices))
                if not isinstance(step.config, Extract) and step.name != "zero_shot":
                    _check_batch(step.config)
            except InputError as error:
                raise InputError(f"row {run.row}, {step.name}: {error}") from error


def _check_devices(config: Config, has_one: bool) -> None:
    accelerator, processes = config.TRAINER.accelerator, config.DISTRIBUTED.NUM_PROC_PER_NODE
    if accelerator == "cpu" or (accelerator == "auto" and processes == 1):
        return  # always works, without importing torch
    import torch

    from bassl.training.device import choose_kind

    choose_kind(config, min(torch.cuda.device_count(), 1) if has_one else torch.cuda.device_count())


def _check_batch(config: Pretrain | Finetune) -> None:
    split, num_films = ("train", config.TRAIN.NUM_FILMS) if isinstance(config, Finetune) else ("pretrain", None)
    path = data_paths(config).annotations / f"anno.{split}.ndjson"
    if num_films is None and path.stat().st_size >= LARGE:
        return
    rows = _rows_of_films(path)
    if num_films is not None and num_films > len(rows):
        raise InputError(f"{path} has {len(rows)} films, not {num_films}; give at most {len(rows)} labelled films")
    num_rows = sum(rows[:num_films])
    if num_rows < config.TRAIN.BATCH_SIZE.effective_batch_size:
        from bassl.dataset.sampler import EpochSampler

        accumulate = config.TRAINER.accumulate_grad_batches
        EpochSampler(num_rows, train_batch_size(config), 0, num_processes(config), 0, accumulate)  # says what fits


@cache
def _rows_of_films(annotations: Path) -> list[int]:
    """Count the rows of each film of an annotation file, in order of appearance."""
    lines = [line for line in annotations.read_bytes().splitlines() if line.strip()]
    return list(Counter(json.loads(line).get("video_id") for line in lines).values())

"""The numbers that a run logged, read back from its TensorBoard files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bassl.errors import InputError


class Series(NamedTuple):
    """A logged number over time. step: (N,) optimiser steps, ascending; value: (N,)."""

    step: NDArray[np.int64]
    value: NDArray[np.float64]


def read_scalars(folder: Path) -> dict[str, Series]:
    """Read every scalar that was logged straight into `folder`, by tag, such as `train/loss`.

    A resumed run has several files: of a step that was logged twice the later value counts. Raises InputError
    where the folder holds no TensorBoard file.
    """
    if not any(folder.glob("events.out.tfevents.*")):
        raise InputError(f"{folder} holds no TensorBoard file; give the log folder of a run (<logs>/<EXPR_NAME>)")
    from tensorboard.backend.event_processing.event_accumulator import DEFAULT_SIZE_GUIDANCE, EventAccumulator

    keep_every_scalar = dict.fromkeys(DEFAULT_SIZE_GUIDANCE, 1) | {"scalars": 0}
    events = EventAccumulator(str(folder), size_guidance=keep_every_scalar).Reload()
    return {tag: _series(events.Scalars(tag)) for tag in events.Tags()["scalars"]}


def _series(events: list[Any]) -> Series:
    latest = {event.step: event.value for event in sorted(events, key=lambda event: event.wall_time)}
    step = np.array(sorted(latest), dtype=np.int64)
    return Series(step, np.array([latest[number] for number in step.tolist()], dtype=np.float64))


def over_epochs(series: Series, scalars: Mapping[str, Series]) -> Series:
    """Count a series in finished epochs, by the `epoch` that Lightning logs beside it.

    A point at step 0 was logged before training: 0 epochs. Without logged epochs, points are numbered from 1.
    """
    if "epoch" not in scalars:
        return Series(np.arange(1, len(series.step) + 1), series.value)
    steps, epochs = scalars["epoch"]
    position = np.searchsorted(steps, series.step, side="right") - 1
    done = epochs[position.clip(min=0)].astype(np.int64) + 1
    return Series(np.where(series.step > 0, done, 0), series.value)

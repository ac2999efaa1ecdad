"""The profile of the pre-training step: its parts are those of the step, and its shares have their hand values."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch.autograd import DeviceType

from benchmarks import pretrain_step, profile_step
from benchmarks.measure import Settings
from benchmarks.profile_step import IDLE, LOSSES, OPTIMISER, PARTS, REST


def host(name: str, cpu: float = 0.0, device: float = 0.0) -> Any:
    """An event of the host; times in seconds."""
    return SimpleNamespace(
        name=name, device_type=DeviceType.CPU, cpu_time_total=1e6 * cpu, device_time_total=1e6 * device
    )


def kernel(start: float, end: float, is_user_annotation: bool = False) -> Any:
    """An event of a GPU, from second to second."""
    span = SimpleNamespace(start=1e6 * start, end=1e6 * end)
    return SimpleNamespace(
        name=LOSSES, device_type=DeviceType.CUDA, time_range=span, is_user_annotation=is_user_annotation
    )


def test_what_is_in_no_part_is_the_rest() -> None:
    events = [host(LOSSES, 2.0), host(LOSSES, 4.0), host(OPTIMISER, 1.0), host("aten::mm", 3.0)]
    found = profile_step.host_seconds(events, num_steps=2, whole=4.0)
    assert list(found) == [*PARTS, REST]
    assert {name: seconds for name, seconds in found.items() if seconds} == {LOSSES: 3.0, OPTIMISER: 0.5, REST: 0.5}
    assert profile_step.limit(found) == "losses and CRN limits it with 75 % of it"


def test_a_gpu_that_runs_no_kernel_is_idle() -> None:
    events = [host(LOSSES, device=2.0), host(OPTIMISER, device=1.0), kernel(0, 3), kernel(2, 4), kernel(9, 10)]
    events.append(kernel(0, 20, is_user_annotation=True))
    found = profile_step.device_seconds(events, num_steps=2, whole=5.0)
    busy = (4 + 1) / 2
    assert found == {**dict.fromkeys(PARTS, 0.0), LOSSES: 1.0, OPTIMISER: 0.5, REST: busy - 1.5, IDLE: 5.0 - busy}
    assert profile_step.limit(found) == "the host limits it: the device is idle for 50 % of it"


def test_overlapping_spans_count_once() -> None:
    assert profile_step.covered([]) == 0
    assert profile_step.covered([(5, 7), (0, 4), (1, 2), (3, 5)]) == 7


@pytest.mark.slow
def test_the_profiled_step_is_the_step(tmp_path: Path) -> None:
    settings = Settings(tmp_path, quick=True)
    _, _, plan = pretrain_step.case(settings)
    batch = pretrain_step.first_batch(plan, settings)
    steps = [replace(pretrain_step.our_step(plan, settings), precision=torch.float32) for _ in range(2)]
    for step in steps:
        step.module.eval()  # without dropout
    mine, whole = profile_step.profiled_step(steps[0], batch), pretrain_step.take_step(steps[1], batch)
    torch.testing.assert_close(mine, whole)
    pairs = list(zip(*(step.module.parameters() for step in steps), strict=True))
    assert len(pairs) > 60
    for weight, expected in pairs:
        torch.testing.assert_close(weight, expected, rtol=1e-4, atol=1e-6)

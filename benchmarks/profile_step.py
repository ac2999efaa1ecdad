"""The limit of the pre-training step: shares of its parts and of its largest operators, from torch's profiler.

The step is that of `pretrain_step`. Its backward pass runs in two parts, first to the encoder's features and then
through the encoder, and on the calling thread, so that the profiler can assign every event to a part.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile, record_function

from bassl.dataset.device_augmentation import augment
from bassl.dataset.movienet import PretrainBatch
from benchmarks.measure import Row, Settings, in_turns, timed
from benchmarks.pretrain_step import (
    Step,
    autocast,
    default_case,
    encode,
    first_batch,
    our_step,
    sum_of_losses,
    take_step,
)

VIEWS, FORWARD, LOSSES, BACKWARD, OPTIMISER = PARTS = (
    "augmentation",
    "encoder, forward",
    "losses and CRN",
    "encoder, backward",
    "optimiser",
)
REST, IDLE = "rest", "device idle"
NUM_OPERATORS = 10


def run(settings: Settings) -> list[Row]:
    """Return the step, its parts and its largest operators in ms; the ratio is the share of the step."""
    case = default_case(settings)
    step, batch = our_step(settings, case), first_batch(settings, case)
    num_steps = settings.pick(quick=1, full=3)
    alone = statistics.median(in_turns({"step": lambda: take_step(step, batch)}, settings, num_steps)["step"])
    profiled_step(step, batch)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if settings.on_gpu else [])]
    with profile(activities=activities) as profiler:
        profiled = timed(lambda: [profiled_step(step, batch) for _ in range(num_steps)], settings) / num_steps
    events: Any = profiler.events()
    whole = alone if settings.on_gpu else profiled
    parts = (device_seconds if settings.on_gpu else host_seconds)(events, num_steps, whole)
    note = f"{case}; {limit(parts)}; the profiler makes it {profiled / alone:.2f} x as long"
    times = {f"step: {name}": seconds for name, seconds in parts.items()}
    times |= {f"operator {name}": seconds for name, seconds in _operators(profiler, num_steps, settings).items()}
    return [
        Row("step, profiled", "ms", 1e3 * whole, note=note),
        *(Row(work, "ms", 1e3 * took, ratio=took / whole if took else None) for work, took in times.items()),
    ]


def profiled_step(step: Step, batch: PretrainBatch) -> Tensor:
    """Take the step in parts that the profiler can tell apart; return the sum of the losses."""
    module = step.module
    with record_function(VIEWS), autocast(step, batch.mask):
        images = augment(batch.keyframes, batch.draws)
        flat = images.flatten(0, 1).contiguous(memory_format=torch.channels_last)
    with record_function(FORWARD), autocast(step, batch.mask):
        features = encode(module, flat, len(images))
    step.optimizer.zero_grad()
    with torch.autograd.set_multithreading_enabled(False):
        with record_function(LOSSES):
            cut = features.detach().requires_grad_()
            with autocast(step, batch.mask):
                total = sum_of_losses(module, cut, batch.mask)
            total.backward()
        with record_function(BACKWARD):
            features.backward(cut.grad)
    with record_function(OPTIMISER):
        step.optimizer.step()
    return total.detach()


def host_seconds(events: Iterable[Any], num_steps: int, whole: float) -> dict[str, float]:
    """Return the seconds of each part in a step of `whole` seconds, on a CPU."""
    parts = dict.fromkeys(PARTS, 0.0)
    for event in events:
        if event.name in parts:
            parts[event.name] += 1e-6 * event.cpu_time_total / num_steps
    return {**parts, REST: max(0.0, whole - sum(parts.values()))}


def device_seconds(events: Iterable[Any], num_steps: int, whole: float) -> dict[str, float]:
    """Return the seconds of a GPU's kernels for each part, and idle, in a step of `whole` seconds without profiler.

    Kernels take as long under the profiler as without. The time that it adds on the host would look like waiting.
    """
    parts = dict.fromkeys(PARTS, 0.0)
    spans = []
    for event in events:
        if event.device_type == DeviceType.CUDA:
            if not event.is_user_annotation:
                spans.append((1e-6 * event.time_range.start, 1e-6 * event.time_range.end))
        elif event.name in parts:
            parts[event.name] += 1e-6 * event.device_time_total / num_steps
    busy = covered(spans) / num_steps
    return {**parts, REST: max(0.0, busy - sum(parts.values())), IDLE: max(0.0, whole - busy)}


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """Return the length of the union of spans (start, end)."""
    length, reached = 0.0, float("-inf")
    for start, end in sorted(spans):
        length += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return length


def limit(parts: Mapping[str, float]) -> str:
    """Say which part takes longest."""
    name = max(parts, key=lambda part: parts[part])
    share = f"{100 * parts[name] / sum(parts.values()):.0f} %"
    if name == IDLE:
        return f"the host limits it: the device is idle for {share} of it"
    return f"{name} limits it with {share} of it"


def _operators(profiler: profile, num_steps: int, settings: Settings) -> dict[str, float]:
    """Return the seconds per step of the operators that take longest themselves, on the device if there is one."""
    seconds = {}
    for event in profiler.key_averages():
        if event.device_type == DeviceType.CPU and event.key.startswith("aten::"):
            microseconds = event.self_device_time_total if settings.on_gpu else event.self_cpu_time_total
            seconds[event.key] = 1e-6 * microseconds / num_steps
    return dict(sorted(seconds.items(), key=lambda item: -item[1])[:NUM_OPERATORS])

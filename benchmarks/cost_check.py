"""The inputs of the cost model, and how far off it is: predicted against measured seconds of real runs."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from bassl.config.plan import PretrainPlan

from bassl.dataset.keyframes import NUM_KEYFRAMES
from bassl.dataset.sampler import SampleKey
from bassl.dataset.transform import normalize
from bassl.files import write_json
from bassl.model.shot_encoder import for_inference
from benchmarks import processes
from benchmarks.cost import RESULTS, VIEWS, Inputs, Run, predict
from benchmarks.material import sample_film
from benchmarks.measure import Row, Settings, in_turns, machine, timed
from benchmarks.pretrain_step import command, first_batch, our_step, plan_of, run_seconds, take_step
from benchmarks.processes import Exchange, exchange, in_processes, num_processes
from benchmarks.samples import dataset
from benchmarks.storage import Reading, read_rate

OFF = 1.25
"""A prediction counts as good within this factor."""
STEPS, FEW_STEPS = (2, 8), (1, 3)
"""Of a short and a long run; the few are for steps of half a minute."""


def run(settings: Settings) -> list[Row]:
    """Inputs of the full size are stored; each prediction is of a batch that its inputs were not fitted to."""
    on_gpu = settings.device.type == "cuda"
    points = settings.pick(quick=[(18, 32, 3)], full=[(18, 64, 12), (18, 112, 6)])
    rows = [check(settings, fitted(settings, *point), *point) for point in points]
    own = settings.pick(quick=2, full=32 if on_gpu else 6)
    rows += check_together(settings, 18, settings.pick(quick=32, full=64), own * num_processes(settings))
    depth, side = settings.pick(quick=(18, 32), full=(50, 224))
    inputs = measured_inputs(settings, depth, side, settings.pick(quick=(2, 3), full=(8, 32) if on_gpu else (2, 4)))
    link = exchange(settings, inputs.gradient_bytes)
    reading = read_rate(_keyframe_files(), max(1, settings.num_workers))
    if link is not None:
        inputs = replace(inputs, link=link.link, latency=link.latency)
    if reading.from_disk is not False:
        inputs = replace(inputs, storage=reading.rate)
    if not settings.quick:
        batch, steps = (16, STEPS) if on_gpu else (3, FEW_STEPS)
        rows.append(check(settings, inputs, depth, side, batch, steps))
        about = {"measured": machine(settings), "depth": depth, "size": side}
        write_json(RESULTS / f"inputs-{settings.device.type}.json", {**asdict(inputs), **about})
    return rows + _rows_of(inputs, depth, side, link, reading)


def _rows_of(inputs: Inputs, depth: int, side: int, link: Exchange | None, reading: Reading) -> list[Row]:
    step, sample = 1e3 * inputs.step_seconds, 1e3 * inputs.sample_seconds
    note = f"stored for `benchmarks.cost`; a step adds {step:.3g} ms, decoding a sample takes {sample:.3g} ms"
    rows = [Row(f"cost model: ResNet-{depth}, {side} pixels", "images/s", 1 / inputs.image_seconds, note=note)]
    if link is not None:
        note = f"{link.num_processes} processes, {inputs.gradient_bytes / 2**20:.0f} MiB; each adds {1e3 * link.latency:.2g} ms"
        rows.append(Row("cost model: gradient exchange", "GB/s", link.link / 1e9, note=note))
    note = f"key-frames of the shipped film, where it is installed; {reading.note}"
    return [*rows, Row("cost model: reading key-frames", "MB/s", reading.rate / 1e6, note=note)]


def fitted(settings: Settings, depth: int, side: int, batch: int) -> Inputs:
    """Parts measured at a smaller and a larger batch than the one they are to predict."""
    return measured_inputs(settings, depth, side, (max(2, batch // 3), batch * 2))


def check(settings: Settings, inputs: Inputs, depth: int, side: int, batch: int, steps: tuple[int, int] = STEPS) -> Row:
    """Seconds a step through Lightning and the data loader, and what the model says from parts at other batches."""
    plan = plan_of(settings, batch, side, depth)
    few, many = settings.pick(quick=(1, 2), full=steps)
    seconds = [run_seconds(plan, settings, count) for count in (few, many)]
    told = predict(inputs, run_of(plan, many)).total / many
    return prediction(f"cost model: ResNet-{depth}, {side} pixels, batch {batch}", told, _between(seconds, few, many))


def check_together(settings: Settings, depth: int, side: int, batch: int) -> list[Row]:
    """The same for processes that exchange gradients; none where there is a single GPU.

    On a CPU each has its share of the cores, and what it does there is measured while the others do the same: they get in
    one another's way in memory and caches, which no process finds out by itself.
    """
    count = num_processes(settings)
    if count < 2:
        return []
    own = batch // count
    found = in_processes(parts, settings, count, depth, side, (max(2, own // 3), own * 2))
    inputs = mean([Inputs(**part) for part in found])
    link = exchange(settings, inputs.gradient_bytes)
    assert link is not None
    few, many = settings.pick(quick=(1, 2), full=STEPS)
    overrides = command(settings, batch, side, depth)
    seconds = [processes.run_seconds(overrides, settings, steps) for steps in (few, many)]
    plan = plan_of(settings, batch, side, depth)
    workers = max(1, settings.num_workers // count)
    run = replace(run_of(plan, many), devices=count, workers=workers, link=link.link, latency=link.latency)
    cost = predict(inputs, run)
    row = prediction(
        f"cost model: {count} processes, ResNet-{depth}, {side} pixels, batch {batch}",
        cost.total / many,
        _between(seconds, few, many),
    )
    return [replace(row, note=f"{row.note}; gradient exchange {100 * cost.exchange / cost.total:.0f} % of it")]


def mean(measured: Sequence[Inputs]) -> Inputs:
    """The mean of what several processes measured."""
    return replace(
        measured[0],
        **{
            name: statistics.mean(getattr(inputs, name) for inputs in measured)
            for name in ("sample_seconds", "image_seconds", "step_seconds", "encode_seconds")
        },
    )


def parts(settings: Settings, depth: int, side: int, batches: tuple[int, int]) -> dict[str, Any]:
    """What one of several processes measures."""
    return asdict(measured_inputs(settings, depth, side, batches))


def _between(seconds: Sequence[float], few: int, many: int) -> float:
    """Seconds a step between a short and a long run, so that the start does not count."""
    return (seconds[1] - seconds[0]) / (many - few)


def prediction(work: str, told: float, took: float) -> Row:
    """The row of a prediction beside what was measured, seconds a step.

    `took` is a difference of two runs, so on a busy machine it may be nothing or less; then there is no ratio.
    """
    goal = f"within {OFF:g} x"
    if took <= 0:
        note = f"predicted {told:.3g} s; more steps took no longer, so something else slowed the shorter run: measure again"
        return Row(work, "s a step", took, goal=goal, reached=False, note=note)
    note = f"predicted {told:.3g} s, {100 * (told / took - 1):+.0f} %; ratio: predicted to measured"
    good = max(told / took, took / told) <= OFF
    return Row(work, "s a step", took, ratio=told / took, goal=goal, reached=good, note=note)


def run_of(plan: PretrainPlan, steps: int) -> Run:
    """A run of so many steps without validation, data in the page cache."""
    batch = plan.compute.batch_size
    return Run(batch * steps, 1, batch, 1, max(plan.compute.num_workers, 1), 1e12, 1e12, validated=0)


def measured_inputs(settings: Settings, depth: int, side: int, batches: tuple[int, int]) -> Inputs:
    """The parts, each by itself: decoding, and the step at two batch sizes, through which a line is drawn."""
    small, large = batches
    seconds = {size: _step_seconds(settings, depth, side, size) for size in batches}
    per_sample = (seconds[large] - seconds[small]) / (large - small)
    plan = plan_of(settings, large, side, depth)
    parameters = sum(
        parameter.numel() for parameter in our_step(plan, settings).module.parameters() if parameter.requires_grad
    )
    return Inputs(
        sample_seconds=_sample_seconds(settings, side),
        image_seconds=per_sample / VIEWS,
        step_seconds=max(0.0, seconds[small] - small * per_sample),
        encode_seconds=_encode_seconds(settings, plan, side),
        keyframe_bytes=_keyframe_bytes(),
        gradient_bytes=4.0 * parameters,
        separate_cores=settings.device.type == "cuda",
    )


def _step_seconds(settings: Settings, depth: int, side: int, batch: int) -> float:
    plan = plan_of(settings, batch, side, depth)
    step, first = our_step(plan, settings), first_batch(plan, settings)
    return statistics.median(in_turns({"step": lambda: take_step(step, first)}, settings, settings.pick(1, 3))["step"])


def _sample_seconds(settings: Settings, side: int) -> float:
    data = dataset(side)
    keys = [SampleKey(0, row) for row in range(20, 20 + settings.pick(quick=2, full=16))]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    seconds = in_turns({"samples": lambda: [data[key] for key in keys]}, settings, settings.pick(1, 3))["samples"]
    torch.set_num_threads(threads)
    return statistics.median(seconds) / len(keys)


def _encode_seconds(settings: Settings, plan: PretrainPlan, side: int) -> float:
    step = our_step(plan, settings)
    encoder = for_inference(step.module.shot_encoder, step.precision)
    images = torch.randint(0, 256, (settings.pick(quick=2, full=32), 3, side, side), dtype=torch.uint8).to(
        settings.device
    )
    with torch.inference_mode():
        encoder(normalize(images))
        return timed(lambda: encoder(normalize(images)), settings) / len(images)


def _keyframe_bytes() -> float:
    return statistics.mean(file.stat().st_size for file in _keyframe_files())


def _keyframe_files() -> list[Path]:
    annotations, keyframes = sample_film()
    return [keyframes.path(0, shot, k) for shot in range(int(annotations.num_shots[0])) for k in range(NUM_KEYFRAMES)]

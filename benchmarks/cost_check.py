"""The inputs of the cost model, and its error: predicted against measured seconds of real runs."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from bassl.dataset.keyframes import NUM_KEYFRAMES
from bassl.dataset.sampler import SampleKey
from bassl.dataset.transform import normalize
from bassl.files import write_json
from bassl.model.shot_encoder import for_inference
from benchmarks.cost import RESULTS, VIEWS, Inputs, Run, predict
from benchmarks.data import SAMPLE_SHOTS, sample_keyframes
from benchmarks.measure import Row, Settings, in_turns, machine, marginal_seconds, one_thread, timed
from benchmarks.pretrain_step import Case, Step, first_batch, our_step, step_limits, take_step, train_seconds
from benchmarks.processes import Exchange, exchange, in_processes, num_processes, pretrain
from benchmarks.samples import dataset
from benchmarks.storage import Reading, read_rate

WITHIN = 1.25
"""A prediction counts as good within this factor."""
STEPS, FEW_STEPS = (2, 8), (1, 3)
"""Of a short and a long run; the few are for steps of half a minute."""
MEANS = ("sample_seconds", "image_seconds", "step_seconds", "encode_seconds")


def run(settings: Settings) -> list[Row]:
    """Check predictions, each for a batch that its inputs were not fitted to; store the inputs of the full size."""
    # 1. Small cases in one process, and in several that exchange gradients.
    cases = settings.pick(quick=[Case(3, 32, 18)], full=[Case(12, 64, 18), Case(6, 112, 18)])
    rows = [check(settings, measured_inputs(settings, case, _around(case.batch_size)), case) for case in cases]
    per_process = settings.pick(quick=2, full=32 if settings.on_gpu else 6)
    together = Case(per_process * num_processes(settings), side=settings.pick(quick=32, full=64), depth=18)
    rows += check_together(settings, together)

    # 2. The inputs of the full size, with the rates of link and storage.
    full = Case(16 if settings.on_gpu else 3, side=settings.pick(quick=32, full=224), depth=settings.pick(18, 50))
    batches = settings.pick(quick=(2, 3), full=(8, 32) if settings.on_gpu else (2, 4))
    inputs = measured_inputs(settings, full, batches)
    link = exchange(settings, inputs.gradient_bytes)
    reading = read_rate(_keyframe_files(), max(1, settings.num_workers))
    if link is not None:
        inputs = replace(inputs, link=link.link, latency=link.latency)
    if reading.from_disk is not False:
        inputs = replace(inputs, storage=reading.rate)
    if not settings.quick:
        rows.append(check(settings, inputs, full, STEPS if settings.on_gpu else FEW_STEPS))
        about = {"measured": machine(settings), "depth": full.depth, "size": full.side}
        write_json(RESULTS / f"inputs-{settings.device.type}.json", {**asdict(inputs), **about})
    return rows + _input_rows(inputs, full, link, reading)


def _input_rows(inputs: Inputs, case: Case, link: Exchange | None, reading: Reading) -> list[Row]:
    step, sample = 1e3 * inputs.step_seconds, 1e3 * inputs.sample_seconds
    note = f"stored for `benchmarks.cost`; a step adds {step:.3g} ms, decoding a sample takes {sample:.3g} ms"
    work = f"cost model: ResNet-{case.depth}, {case.side} pixels"
    rows = [Row(work, "images/s", 1 / inputs.image_seconds, note=note)]
    if link is not None:
        size, latency = inputs.gradient_bytes / 2**20, 1e3 * link.latency
        note = f"{link.num_processes} processes, {size:.0f} MiB; each adds {latency:.2g} ms"
        rows.append(Row("cost model: gradient exchange", "GB/s", link.link / 1e9, note=note))
    note = f"key-frames of the shipped film, where it is installed; {reading.note}"
    return [*rows, Row("cost model: reading key-frames", "MB/s", reading.rate / 1e6, note=note)]


def check(settings: Settings, inputs: Inputs, case: Case, steps: tuple[int, int] = STEPS) -> Row:
    """Compare the seconds per step through Lightning and the data loader with the prediction."""
    few, many = settings.pick(quick=(1, 2), full=steps)
    seconds = train_seconds(settings, case, few, many)
    predicted = predict(inputs, _run_of(case, many, settings.num_workers)).total / many
    work = f"cost model: ResNet-{case.depth}, {case.side} pixels, batch {case.batch_size}"
    return prediction(work, predicted, seconds)


def check_together(settings: Settings, case: Case) -> list[Row]:
    """Do the same for processes that exchange gradients; return no row where there is a single GPU.

    On a CPU each process has its share of the cores. Its inputs are measured while the others do the same, because
    they compete for memory and caches.
    """
    count = num_processes(settings)
    if count < 2:
        return []
    measured = in_processes(_parts, settings, asdict(case), _around(case.batch_size // count))
    inputs = mean([Inputs(**parts) for parts in measured])
    link = exchange(settings, inputs.gradient_bytes)
    assert link is not None
    few, many = settings.pick(quick=(1, 2), full=STEPS)
    overrides = case.overrides(settings)
    seconds = marginal_seconds(lambda steps: pretrain([*overrides, *step_limits(steps)], settings), few, many)
    run = _run_of(case, many, settings.num_workers // count)
    cost = predict(inputs, replace(run, devices=count, link=link.link, latency=link.latency))
    work = f"cost model: {count} processes, ResNet-{case.depth}, {case.side} pixels, batch {case.batch_size}"
    row = prediction(work, cost.total / many, seconds)
    return [replace(row, note=f"{row.note}; gradient exchange {100 * cost.exchange / cost.total:.0f} % of it")]


def prediction(work: str, predicted: float, measured: float) -> Row:
    """Return the row of a prediction beside the measurement, in seconds per step.

    The measurement is a difference of two runs. On a busy machine it may be 0 or less; there is no ratio then.
    """
    goal, note = f"within {WITHIN:g} x", f"predicted {predicted:.3g} s"
    if measured <= 0:
        note += "; more steps took no longer, so something else slowed the shorter run: measure again"
        return Row(work, "s a step", measured, goal=goal, reached=False, note=note)
    ratio = predicted / measured
    note += f", {100 * (ratio - 1):+.0f} %; ratio: predicted to measured"
    return Row(work, "s a step", measured, ratio=ratio, goal=goal, reached=max(ratio, 1 / ratio) <= WITHIN, note=note)


def mean(measured: Sequence[Inputs]) -> Inputs:
    """Return the mean of what several processes measured."""
    means = {name: statistics.mean(getattr(inputs, name) for inputs in measured) for name in MEANS}
    return replace(measured[0], **means)


def measured_inputs(settings: Settings, case: Case, batches: tuple[int, int]) -> Inputs:
    """Measure each part alone: decoding, encoding, and the step as a line through two batch sizes."""
    small, large = batches
    seconds = {size: _step_seconds(settings, replace(case, batch_size=size)) for size in batches}
    per_sample = (seconds[large] - seconds[small]) / (large - small)
    step = our_step(settings, replace(case, batch_size=large))
    trained = [parameter for parameter in step.module.parameters() if parameter.requires_grad]
    return Inputs(
        sample_seconds=_sample_seconds(settings, case.side),
        image_seconds=per_sample / VIEWS,
        step_seconds=max(0.0, seconds[small] - small * per_sample),
        encode_seconds=_encode_seconds(settings, step, case.side),
        keyframe_bytes=statistics.mean(file.stat().st_size for file in _keyframe_files()),
        gradient_bytes=4.0 * sum(parameter.numel() for parameter in trained),
        separate_cores=settings.on_gpu,
    )


def _parts(settings: Settings, case: dict[str, int], batches: tuple[int, int]) -> dict[str, Any]:
    """Measure the inputs in one of several processes."""
    return asdict(measured_inputs(settings, Case(**case), batches))


def _around(batch: int) -> tuple[int, int]:
    """Return a smaller and a larger batch than the one to predict."""
    return max(2, batch // 3), batch * 2


def _run_of(case: Case, steps: int, workers: int) -> Run:
    """Return a run of so many steps without validation, data in the page cache."""
    batch = case.batch_size
    return Run(batch * steps, 1, batch, devices=1, workers=max(1, workers), link=1e12, storage=1e12, validated=0)


def _step_seconds(settings: Settings, case: Case) -> float:
    step, batch = our_step(settings, case), first_batch(settings, case)
    return statistics.median(in_turns({"step": lambda: take_step(step, batch)}, settings, rounds=3)["step"])


def _sample_seconds(settings: Settings, side: int) -> float:
    data = dataset(side)
    keys = [SampleKey(0, row) for row in range(20, 20 + settings.pick(quick=2, full=16))]
    with one_thread():
        seconds = in_turns({"samples": lambda: [data[key] for key in keys]}, settings, rounds=3)["samples"]
    return statistics.median(seconds) / len(keys)


def _encode_seconds(settings: Settings, step: Step, side: int) -> float:
    encoder = for_inference(step.module.shot_encoder, step.precision)
    images = torch.randint(0, 256, (settings.pick(quick=2, full=32), 3, side, side), dtype=torch.uint8)
    images = images.to(settings.device)
    with torch.inference_mode():
        encoder(normalize(images))
        return timed(lambda: encoder(normalize(images)), settings) / len(images)


def _keyframe_files() -> list[Path]:
    keyframes = sample_keyframes()
    return [keyframes.path(0, shot, k) for shot in range(SAMPLE_SHOTS) for k in range(NUM_KEYFRAMES)]

"""The inputs of the cost model, and how far off it is: predicted against measured seconds of real runs."""

from __future__ import annotations

import statistics
from dataclasses import asdict

import torch

from bassl.config.plan import PretrainPlan
from bassl.dataset.sampler import SampleKey
from bassl.dataset.transform import normalize
from bassl.files import write_json
from bassl.model.shot_encoder import for_inference
from benchmarks.cost import RESULTS, VIEWS, Inputs, Run, predict
from benchmarks.material import sample_film
from benchmarks.measure import Row, Settings, in_turns, machine, timed
from benchmarks.pretrain_step import first_batch, our_step, plan_of, run_seconds, take_step
from benchmarks.samples import dataset

OFF = 1.25
"""A prediction counts as good within this factor."""


def run(settings: Settings) -> list[Row]:
    """Inputs of the full size are stored; those of two small sizes are fitted at two batches and checked at a third."""
    points = settings.pick(quick=[(18, 32, 3)], full=[(18, 64, 12), (18, 112, 6)])
    rows = [check(settings, depth, side, batch) for depth, side, batch in points]
    if not settings.quick:
        on_gpu = settings.device.type == "cuda"
        inputs = measured_inputs(settings, 50, 224, (8, 32) if on_gpu else (2, 4))
        about = {"measured": machine(settings), "depth": 50, "size": 224}
        write_json(RESULTS / f"inputs-{settings.device.type}.json", {**asdict(inputs), **about})
        step, sample = 1e3 * inputs.step_seconds, 1e3 * inputs.sample_seconds
        note = f"stored for `benchmarks.cost`; a step adds {step:.3g} ms, decoding a sample takes {sample:.3g} ms"
        rows.append(Row("cost model: ResNet-50, 224 pixels", "images/s", 1 / inputs.image_seconds, note=note))
    return rows


def check(settings: Settings, depth: int, side: int, batch: int) -> Row:
    """Seconds a step through Lightning and the data loader, and what the model says from parts at other batches."""
    inputs = measured_inputs(settings, depth, side, (max(2, batch // 3), batch * 2))
    plan = plan_of(settings, batch, side, depth)
    few, many = settings.pick(quick=(1, 2), full=(2, 8))
    seconds = [run_seconds(plan, settings, steps) for steps in (few, many)]
    took = (seconds[1] - seconds[0]) / (many - few)
    told = predict(inputs, run_of(plan, many)).total / many
    return prediction(f"cost model: ResNet-{depth}, {side} pixels, batch {batch}", told, took)


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
    annotations, keyframes = sample_film()
    sizes = [keyframes.path(0, shot, 1).stat().st_size for shot in range(int(annotations.num_shots[0]))]
    return statistics.mean(sizes)

"""A pre-training step on the device, beside the bare ResNet and the reference's way; and pre-training end to end."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from unittest.mock import patch

import torch
from bassl.config.plan import PretrainPlan
from bassl.config.resolve import resolve_pretrain
from einops import rearrange
from torch import Tensor
from torch.optim import Optimizer

from bassl.config.load import load
from bassl.dataset.device_augmentation import augment
from bassl.dataset.movienet import PretrainBatch
from bassl.pretrain.module import PretrainModule
from bassl.pretrain.train import build_data, build_module, train
from bassl.training.device import cpu_has_bfloat16
from bassl.training.optim import LARS, parameter_groups
from benchmarks import warping
from benchmarks.material import write_film_copies
from benchmarks.measure import Row, Settings, in_turns

SHARE_OF_THE_ENCODER = 0.85
FASTER_THAN_THE_REFERENCE = 2.0


@dataclass
class Step:
    """What one side needs for a step. precision: of autocast, float32 for none."""

    module: PretrainModule
    optimizer: Optimizer
    precision: torch.dtype


def run(settings: Settings) -> list[Row]:
    """The step alone, data on the device; on CUDA end to end through data workers as well. `profile_step` has its parts."""
    size, num_images, plan = case(settings)
    batch = first_batch(plan, settings)
    ours, theirs, bare = our_step(plan, settings), reference_step(plan, settings), our_step(plan, settings)
    pictures = augment(batch.keyframes, batch.draws)
    flat = rearrange(pictures, "b v c h w -> (b v) c h w").contiguous(memory_format=torch.channels_last)
    plain = pictures.float().contiguous()
    sides: dict[str, Callable[[], object]] = {
        "ours": lambda: take_step(ours, batch),
        "reference": lambda: take_reference_step(theirs, plain, batch.mask),
        "bare": lambda: bare_pass(bare, flat),
    }
    seconds = in_turns(sides, settings, rounds=settings.pick(quick=1, full=3))
    rate = {name: num_images / statistics.median(values) for name, values in seconds.items()}
    note = f"{size} samples, {num_images} images, {_name(ours.precision)}; floor: bare encoder, forward and backward"
    on_gpu = settings.device.type == "cuda"
    rows = [_row("pre-training step", rate["ours"], rate["reference"], rate["bare"], note, goals=False)]
    if on_gpu:
        end_to_end = images_per_second(plan, settings)
        note = f"through {plan.compute.num_workers} data workers and Lightning; the reference's way is given its data"
        rows += _goal_rows("pre-training end to end", end_to_end, rate, note)
    return rows


def plan_of(settings: Settings, batch_size: int, side: int, depth: int, *more: str) -> PretrainPlan:
    """The plan of a bassl run on copies of the shipped film."""
    return resolve_pretrain(load("pretrain", [*command(settings, batch_size, side, depth), *more]))


def command(settings: Settings, batch_size: int, side: int, depth: int) -> list[str]:
    """The overrides of that run."""
    data = write_film_copies(settings.folder / "data", settings.pick(quick=1, full=100), 136)
    return [
        f"config.DATA_PATH={data}",
        f"config.CKPT_PATH={settings.folder / 'ckpt'}",
        f"config.LOG_PATH={settings.folder / 'logs'}",
        f"config.TRANSFORM.size={side}",
        f"config.MODEL.shot_encoder.resnet.depth={depth}",
        f"config.TRAIN.BATCH_SIZE.effective_batch_size={batch_size}",
        f"config.TRAIN.NUM_WORKERS={settings.num_workers}",
        f"config.TRAINER.accelerator={settings.device.type}",
        "config.DISTRIBUTED.NUM_PROC_PER_NODE=1",
        "config.TEST.KNN_VALIDATION=false",
        "config.TRAINER.progress_bar=false",
        "config.SEED=0",
    ]


def first_batch(plan: PretrainPlan, settings: Settings) -> PretrainBatch:
    """A batch of real samples, on the device."""
    batch = next(iter(build_data(replace(plan, run=replace(plan.run, dry_run=True)), seed=0).train_dataloader()))
    return PretrainBatch(batch.keyframes.to(settings.device), batch.draws, batch.mask.to(settings.device))


def our_step(plan: PretrainPlan, settings: Settings) -> Step:
    """The package's way."""
    torch.manual_seed(0)
    module = build_module(plan, 0, {}).to(settings.device).train()
    if plan.compile:
        module.shot_encoder.compile()
    optimizer = LARS(parameter_groups(module, 1e-6), plan.optimizer.lr)
    half = settings.device.type == "cuda" or cpu_has_bfloat16()
    return Step(module, optimizer, torch.bfloat16 if half else torch.float32)


def reference_step(plan: PretrainPlan, settings: Settings) -> Step:
    """The reference's way: channels first, half precision on a GPU and 32 bit on a CPU."""
    torch.manual_seed(0)
    module = build_module(plan, 0, {}).to(settings.device).train()
    module.shot_encoder.to(memory_format=torch.contiguous_format)
    optimizer = OneByOneLARS(parameter_groups(module, 1e-6), plan.optimizer.lr)
    return Step(module, optimizer, torch.float16 if settings.device.type == "cuda" else torch.float32)


def take_step(step: Step, batch: PretrainBatch) -> Tensor:
    """Views, one pass of the encoder, losses, backward and optimiser; the sum of the losses."""
    module = step.module
    with autocast(step, batch.mask):
        images = augment(batch.keyframes, batch.draws, dtype=step.precision)
        flat = rearrange(images, "b v c h w -> (b v) c h w").contiguous(memory_format=torch.channels_last)
        features = rearrange(module.shot_encoder(flat), "(b v) d -> b v d", b=len(images))
        total = sum_of_losses(module, features, batch.mask)
    return _update(step, total)


def take_reference_step(step: Step, images: Tensor, mask: Tensor) -> Tensor:
    """Sparse and dense views in two passes, alignment in loops, LARS a tensor at a time."""
    module, num_sparse = step.module, step.module.loss.num_sparse
    with autocast(step, mask), patch("bassl.pretrain.objective.pseudo_boundary", _looped):
        parts = [
            rearrange(
                module.shot_encoder(rearrange(part, "b v c h w -> (b v) c h w").contiguous()),
                "(b v) d -> b v d",
                b=len(mask),
            )
            for part in (images[:, :num_sparse], images[:, num_sparse:])
        ]
        total = sum_of_losses(module, torch.cat(parts, dim=1), mask)
    return _update(step, total)


def bare_pass(step: Step, images: Tensor) -> None:
    """The encoder alone, forward and backward, images (N, 3, H, W) at hand."""
    with autocast(step, images):
        total = step.module.shot_encoder(images).sum()
    total.backward()
    step.module.zero_grad()


def sum_of_losses(module: PretrainModule, features: Tensor, mask: Tensor) -> Tensor:
    """All terms of a batch of features, the same draws each time."""
    generator = torch.Generator(features.device).manual_seed(0)
    return torch.stack(list(module.loss(features, mask, module.crn, generator).values())).sum()


class OneByOneLARS(LARS):
    """LARS as a loop over tensors that looks at each norm."""

    @torch.no_grad()
    def step(self, closure: Callable[[], object] | None = None) -> None:  # type: ignore[override]
        """One step."""
        for group in self.param_groups:
            for weight in (weight for weight in group["params"] if weight.grad is not None):
                update = weight.grad
                if group["weight_decay"]:
                    weight_norm, norm = weight.norm(), update.norm()
                    update = update + group["weight_decay"] * weight
                    if weight_norm > 0 and norm > 0:
                        bottom = norm + group["weight_decay"] * weight_norm + group["eps"]
                        update = update * (group["trust_coefficient"] * weight_norm / bottom)
                buffer = self.state[weight].setdefault("momentum_buffer", torch.zeros_like(weight))
                buffer.mul_(group["momentum"]).add_(update)
                weight.sub_(buffer, alpha=group["lr"])


def images_per_second(plan: PretrainPlan, settings: Settings, steps: tuple[int, int] = (10, 50)) -> float:
    """Through Lightning, between a short and a long run, so that the start does not count."""
    seconds = [run_seconds(plan, settings, count) for count in steps]
    return (steps[1] - steps[0]) * plan.compute.batch_size * num_views(plan) / (seconds[1] - seconds[0])


def run_seconds(plan: PretrainPlan, settings: Settings, num_steps: int) -> float:
    """Seconds of a whole run of so many steps."""
    name = f"run{time.monotonic_ns()}"
    shorter = replace(
        plan,
        run=replace(plan.run, name=name, checkpoint_folder=settings.folder / name, log_folder=settings.folder / name),
        loop=replace(plan.loop, max_steps=num_steps, max_epochs=10**6),
    )
    clock = time.process_time if settings.clock == "cpu" else time.perf_counter
    start = clock()
    train(shorter, {})
    return clock() - start


def num_views(plan: PretrainPlan) -> int:
    """Images a sample."""
    return len(plan.method.sparse) + plan.method.num_shots


def case(settings: Settings) -> tuple[int, int, PretrainPlan]:
    """Samples and images of the step that is measured, and its plan."""
    on_gpu = settings.device.type == "cuda"
    size = settings.pick(quick=2, full=32 if on_gpu else 2)
    plan = plan_of(settings, size, settings.pick(quick=32, full=224), settings.pick(quick=18, full=50))
    return size, size * num_views(plan), plan


def _goal_rows(work: str, ours: float, rate: Mapping[str, float], note: str) -> list[Row]:
    share, faster = ours / rate["bare"], ours / rate["reference"]
    return [
        Row(
            work,
            "images/s",
            ours,
            None,
            share,
            f"{SHARE_OF_THE_ENCODER} of the floor",
            share >= SHARE_OF_THE_ENCODER,
            rate["bare"],
            note,
        ),
        Row(
            work,
            "images/s",
            ours,
            rate["reference"],
            faster,
            "2 x",
            faster >= FASTER_THAN_THE_REFERENCE,
            rate["bare"],
            note,
        ),
    ]


def _row(work: str, ours: float, reference: float, bare: float, note: str, goals: bool) -> Row:
    return Row(work, "images/s", ours, reference, ours / reference, "", None, bare, note)


def _looped(sparse: Tensor, dense: Tensor) -> Tensor:
    return torch.tensor(warping.boundaries(sparse.detach(), dense.detach()), device=dense.device)


def _update(step: Step, total: Tensor) -> Tensor:
    step.optimizer.zero_grad()
    total.backward()
    step.optimizer.step()
    return total.detach()


@contextmanager
def autocast(step: Step, where: Tensor) -> Iterator[None]:
    """The step's precision, on the device of a tensor."""
    with torch.autocast(where.device.type, step.precision, enabled=step.precision != torch.float32):
        yield


def _name(precision: torch.dtype) -> str:
    return str(precision).removeprefix("torch.")

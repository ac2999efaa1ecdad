"""A pre-training step on the device, beside the bare ResNet and the reference's way; and pre-training end to end."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from unittest.mock import patch

import torch
from einops import rearrange
from torch import Tensor
from torch.optim import Optimizer

from bassl.config.batches import scaled_lr
from bassl.config.load import load
from bassl.config.schema import Pretrain
from bassl.dataset.device_augmentation import augment
from bassl.dataset.movienet import PretrainBatch
from bassl.pretrain.module import PretrainModule
from bassl.pretrain.train import build_data, build_module, train
from bassl.training.device import cpu_has_bfloat16
from bassl.training.optim import LARS, parameter_groups
from bassl.training.run_folder import run_folder
from benchmarks import reference_training
from benchmarks.cost import VIEWS
from benchmarks.data import SAMPLE_SHOTS, write_film_copies
from benchmarks.measure import Row, Settings, in_turns, marginal_seconds

WEIGHT_DECAY = 1e-6
MIN_SHARE, MIN_RATIO = 0.85, 2.0
"""Goals end to end: share of the bare encoder's rate, and ratio to the reference's."""


@dataclass(frozen=True)
class Case:
    """A run of bassl on copies of the shipped film: effective batch, side of a crop in pixels, depth of the ResNet."""

    batch_size: int
    side: int
    depth: int

    def __str__(self) -> str:
        return f"{self.batch_size} samples ({self.num_images} images)"

    @property
    def num_images(self) -> int:
        """Images of a step."""
        return self.batch_size * VIEWS

    def overrides(self, settings: Settings) -> list[str]:
        """Return the settings of the pre-training command."""
        write_film_copies(settings.folder / "data", settings.pick(quick=1, full=100), SAMPLE_SHOTS)
        return [
            *settings.training_overrides,
            f"config.TRANSFORM.size={self.side}",
            f"config.MODEL.shot_encoder.resnet.depth={self.depth}",
            f"config.TRAIN.BATCH_SIZE.effective_batch_size={self.batch_size}",
            f"config.TRAIN.NUM_WORKERS={settings.num_workers}",
            "config.TEST.KNN_VALIDATION=false",
        ]

    def config(self, settings: Settings, *more: str) -> Pretrain:
        """Return the run's configuration."""
        config: Pretrain = load("pretrain", [*self.overrides(settings), *more])
        return config


@dataclass
class Step:
    """What one side needs for a step; `precision` is that of autocast, float32 for none."""

    module: PretrainModule
    optimizer: Optimizer
    precision: torch.dtype


def run(settings: Settings) -> list[Row]:
    """Time the step alone, data on the device; on CUDA also end to end through data workers."""
    case = default_case(settings)
    batch = first_batch(settings, case)
    ours, theirs, bare = our_step(settings, case), reference_step(settings, case), our_step(settings, case)
    images = augment(batch.keyframes, batch.draws)
    flat = _channels_last(images)
    sides = {
        "ours": lambda: take_step(ours, batch),
        "reference": lambda: take_reference_step(theirs, images, batch.mask),
        "bare": lambda: bare_pass(bare, flat),
    }
    seconds = in_turns(sides, settings, rounds=3)
    rate = {name: case.num_images / statistics.median(values) for name, values in seconds.items()}
    precision = str(ours.precision).removeprefix("torch.")
    row = Row(
        "pre-training step",
        "images/s",
        rate["ours"],
        reference=rate["reference"],
        ratio=rate["ours"] / rate["reference"],
        floor=rate["bare"],
        note=f"{case}, {precision}; floor: bare encoder, forward and backward",
    )
    return [row, *(_end_to_end(settings, case, row) if settings.on_gpu else [])]


def default_case(settings: Settings) -> Case:
    """Return the step that is measured."""
    size = settings.pick(quick=2, full=32 if settings.on_gpu else 2)
    return Case(size, side=settings.pick(quick=32, full=224), depth=settings.pick(quick=18, full=50))


def first_batch(settings: Settings, case: Case) -> PretrainBatch:
    """Return a batch of real samples, on the device."""
    config = case.config(settings)
    data = build_data(config, replace(run_folder(config, job="pretrain"), dry_run=True), seed=0)
    batch = next(iter(data.train_dataloader()))
    return PretrainBatch(batch.keyframes.to(settings.device), batch.draws, batch.mask.to(settings.device))


def our_step(settings: Settings, case: Case) -> Step:
    """Build the package's side."""
    torch.manual_seed(0)
    config = case.config(settings)
    module = build_module(config, seed=0).to(settings.device).train()
    if config.TRAINER.compile:
        module.shot_encoder.compile()
    optimizer = LARS(parameter_groups(module, WEIGHT_DECAY), scaled_lr(config))
    is_half = settings.on_gpu or cpu_has_bfloat16()
    return Step(module, optimizer, torch.bfloat16 if is_half else torch.float32)


def reference_step(settings: Settings, case: Case) -> Step:
    """Build the reference's side: channels first, half precision on a GPU and 32 bit on a CPU."""
    torch.manual_seed(0)
    config = case.config(settings)
    module = build_module(config, seed=0).to(settings.device).train()
    module.shot_encoder.to(memory_format=torch.contiguous_format)
    optimizer = reference_training.LoopedLARS(parameter_groups(module, WEIGHT_DECAY), scaled_lr(config))
    return Step(module, optimizer, torch.float16 if settings.on_gpu else torch.float32)


def take_step(step: Step, batch: PretrainBatch) -> Tensor:
    """Augment, encode all views in one pass, compute the losses and update; return the sum of the losses."""
    with autocast(step, batch.mask):
        images = augment(batch.keyframes, batch.draws, dtype=step.precision)
        features = encode(step.module, _channels_last(images), len(images))
        total = sum_of_losses(step.module, features, batch.mask)
    return _update(step, total)


def take_reference_step(step: Step, images: Tensor, mask: Tensor) -> Tensor:
    """Do the same with augmented images (B, V, 3, H, W), alignment in loops and LARS per tensor.

    The reference encodes sparse and dense views in one pass as well.
    """
    with autocast(step, mask), patch("bassl.pretrain.objective.pseudo_boundary", reference_training.pseudo_boundaries):
        features = encode(step.module, images.float().flatten(0, 1).contiguous(), len(images))
        total = sum_of_losses(step.module, features, mask)
    return _update(step, total)


def bare_pass(step: Step, images: Tensor) -> None:
    """Run the encoder alone, forward and backward, on images (N, 3, H, W)."""
    with autocast(step, images):
        total = step.module.shot_encoder(images).sum()
    total.backward()
    step.module.zero_grad()


def encode(module: PretrainModule, images: Tensor, batch_size: int) -> Tensor:
    """Encode all views of a batch in one pass: (B * V, 3, H, W) -> (B, V, D)."""
    return rearrange(module.shot_encoder(images), "(b v) d -> b v d", b=batch_size)


def sum_of_losses(module: PretrainModule, features: Tensor, mask: Tensor) -> Tensor:
    """Return the sum of all terms of a batch of features, with the same draws each time."""
    generator = torch.Generator(features.device).manual_seed(0)
    return torch.stack(list(module.loss(features, mask, module.crn, generator).values())).sum()


@contextmanager
def autocast(step: Step, where: Tensor) -> Iterator[None]:
    """Compute in the step's precision, on the device of a tensor."""
    with torch.autocast(where.device.type, step.precision, enabled=step.precision != torch.float32):
        yield


def step_limits(num_steps: int) -> list[str]:
    """Return the configuration of a run of so many steps under a name of its own."""
    name = f"config.EXPR_NAME=run{time.monotonic_ns()}"
    return [name, f"config.TRAINER.max_steps={num_steps}", "config.TRAINER.max_epochs=1000000"]


def train_seconds(settings: Settings, case: Case, few: int, many: int) -> float:
    """Return the seconds per step of training in this process."""
    return marginal_seconds(lambda count: train(case.config(settings, *step_limits(count))), few, many)


def _end_to_end(settings: Settings, case: Case, step: Row) -> list[Row]:
    """Compare images per second of training with those of the step."""
    ours = case.num_images / train_seconds(settings, case, few=10, many=50)
    assert step.floor is not None and step.reference is not None
    share, ratio = ours / step.floor, ours / step.reference
    row = Row(
        "pre-training end to end",
        "images/s",
        ours,
        ratio=share,
        goal=f"{MIN_SHARE} of the floor",
        reached=share >= MIN_SHARE,
        floor=step.floor,
        note=f"through {settings.num_workers} data workers and Lightning; the reference's way is given its data",
    )
    goal = f"{MIN_RATIO:g} x"
    return [row, replace(row, reference=step.reference, ratio=ratio, goal=goal, reached=ratio >= MIN_RATIO)]


def _channels_last(images: Tensor) -> Tensor:
    return images.flatten(0, 1).contiguous(memory_format=torch.channels_last)


def _update(step: Step, total: Tensor) -> Tensor:
    step.optimizer.zero_grad()
    total.backward()
    step.optimizer.step()
    return total.detach()

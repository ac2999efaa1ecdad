"""Finding pseudo-boundaries: against loops, and as a share of the training step."""

from __future__ import annotations

import statistics

import torch
from torch import Tensor
from torch.nn.functional import normalize

from bassl.pretrain.alignment import pseudo_boundary
from benchmarks import warping
from benchmarks.measure import Row, Settings, compared, in_turns
from benchmarks.pretrain_step import first_batch, num_views, our_step, plan_of, take_step

SHARE = 0.01
WIDTH = 128  # of the embeddings


def run(settings: Settings) -> list[Row]:
    """A batch of 256 by itself, and a batch of the step's size beside the step."""
    sparse, dense = embeddings(settings.pick(quick=8, full=256), settings.device)
    sides = {"ours": lambda: pseudo_boundary(sparse, dense), "reference": lambda: warping.boundaries(sparse, dense)}
    loops = compared(
        "alignment", in_turns(sides, settings), len(dense), "us a sample", note="a batch of 256", scale=1e6
    )
    return [loops, _share_of_the_step(settings)]


def embeddings(num_windows: int, device: torch.device, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Unit-length embeddings of windows with two scenes: the edge shots again (B, 2, D), and all (B, 17, D)."""
    draw = torch.Generator().manual_seed(seed)
    scenes = torch.randn(num_windows, 2, WIDTH, generator=draw)
    split = torch.randint(1, 17, (num_windows, 1), generator=draw)
    which = (torch.arange(17) >= split).long()
    dense = scenes[torch.arange(num_windows)[:, None], which] + 0.7 * torch.randn(
        num_windows, 17, WIDTH, generator=draw
    )
    sparse = dense[:, [0, 16]] + 0.2 * torch.randn(num_windows, 2, WIDTH, generator=draw)
    return normalize(sparse, dim=-1).to(device), normalize(dense, dim=-1).to(device)


def _share_of_the_step(settings: Settings) -> Row:
    on_gpu = settings.device.type == "cuda"
    size = settings.pick(quick=2, full=32 if on_gpu else 2)
    plan = plan_of(settings, size, settings.pick(quick=32, full=224), settings.pick(quick=18, full=50))
    step, batch = our_step(plan, settings), first_batch(plan, settings)
    sparse, dense = embeddings(size, settings.device)
    sides = {"alignment": lambda: pseudo_boundary(sparse, dense), "step": lambda: take_step(step, batch)}
    seconds = {
        name: statistics.median(values) for name, values in in_turns(sides, settings, settings.pick(1, 3)).items()
    }
    share = seconds["alignment"] / seconds["step"]
    images = size * num_views(plan)
    note = f"ratio: share of a step of {size} samples ({images} images), which takes {seconds['step']:.3g} s"
    return Row(
        "alignment in a step", "ms", 1e3 * seconds["alignment"], None, share, "below 0.01", share < SHARE, None, note
    )

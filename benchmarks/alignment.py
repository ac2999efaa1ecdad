"""Finding pseudo-boundaries: against loops, and as a share of the training step."""

from __future__ import annotations

import statistics

import torch
from torch import Tensor
from torch.nn.functional import normalize

from bassl.pretrain.alignment import pseudo_boundary
from benchmarks import reference_training
from benchmarks.measure import Row, Settings, compared, in_turns
from benchmarks.pretrain_step import default_case, first_batch, our_step, take_step

MAX_SHARE = 0.01
WIDTH = 128  # of the embeddings


def run(settings: Settings) -> list[Row]:
    """Time a batch of 256, and a batch of the step's size beside the step."""
    sparse, dense = embeddings(settings.pick(quick=8, full=256), settings.device)
    sides = {
        "ours": lambda: pseudo_boundary(sparse, dense),
        "reference": lambda: reference_training.pseudo_boundaries(sparse, dense),
    }
    seconds = in_turns(sides, settings)
    row = compared("alignment", seconds, per=len(dense), unit="us a sample", scale=1e6, note=f"a batch of {len(dense)}")
    return [row, _share_of_the_step(settings)]


def embeddings(num_windows: int, device: torch.device, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return unit-length embeddings of windows with two scenes: the edge shots' other views (B, 2, D), all (B, 17, D)."""
    generator = torch.Generator().manual_seed(seed)
    scenes = torch.randn(num_windows, 2, WIDTH, generator=generator)
    split = torch.randint(1, 17, (num_windows, 1), generator=generator)
    scene = (torch.arange(17) >= split).long()
    noise = torch.randn(num_windows, 17, WIDTH, generator=generator)
    dense = scenes[torch.arange(num_windows)[:, None], scene] + 0.7 * noise
    sparse = dense[:, [0, 16]] + 0.2 * torch.randn(num_windows, 2, WIDTH, generator=generator)
    return normalize(sparse, dim=-1).to(device), normalize(dense, dim=-1).to(device)


def _share_of_the_step(settings: Settings) -> Row:
    case = default_case(settings)
    step, batch = our_step(settings, case), first_batch(settings, case)
    sparse, dense = embeddings(case.batch_size, settings.device)
    sides = {"alignment": lambda: pseudo_boundary(sparse, dense), "step": lambda: take_step(step, batch)}
    seconds = {name: statistics.median(values) for name, values in in_turns(sides, settings, rounds=3).items()}
    share = seconds["alignment"] / seconds["step"]
    return Row(
        "alignment in a step",
        "ms",
        1e3 * seconds["alignment"],
        ratio=share,
        goal=f"below {MAX_SHARE}",
        reached=share < MAX_SHARE,
        note=f"ratio: share of a step of {case}, which takes {seconds['step']:.3g} s",
    )

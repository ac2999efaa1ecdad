"""Numbers recorded from the reference implementation, and the recipes that make their inputs again.

They were recorded once by running the authors' code (commit 0651dd6) on torch 2.15, CPU, 32 bit; they are facts
to test against, and nothing here needs that code. `fill` gives every implementation with the same state-dict
names the same weights; `data`, `scene_like` and `msm_mask` make the inputs.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.reference.fill import data, fill, fill_value

FOLDER = Path(__file__).parent
BATCH = 8
SEED = 100

__all__ = ["BATCH", "FOLDER", "SEED", "data", "fill", "fill_value", "golden", "load_json", "msm_mask", "scene_like"]


@cache
def golden() -> dict[str, np.ndarray]:
    """Every recorded array by its key."""
    with np.load(FOLDER / "golden.npz") as stored:
        return {key: stored[key] for key in stored.files}


def load_json(name: str) -> Any:
    """One of the recorded JSON files, such as `samplers.json`."""
    return json.loads((FOLDER / name).read_text())


def scene_like(seed: int, num_sparse: int, batch: int = BATCH) -> torch.Tensor:
    """Encoder features of windows with two scenes each, (batch, num_sparse + 17, 2048): sparse shots first."""
    rng = np.random.default_rng(seed + 3)
    base = rng.standard_normal((batch, 2, 2048))
    split = rng.integers(1, 16, batch)
    windows = [
        np.concatenate([np.repeat(base[b, :1], split[b], 0), np.repeat(base[b, 1:], 17 - split[b], 0)])
        for b in range(batch)
    ]
    dense = np.abs(np.stack(windows) + 0.7 * rng.standard_normal((batch, 17, 2048)))
    edges = [0, 16] if num_sparse == 2 else [0, 16, 8]
    sparse = np.abs(dense[:, edges] + 0.2 * rng.standard_normal((batch, num_sparse, 2048)))
    return torch.from_numpy(np.concatenate([sparse, dense], 1).astype("float32"))


def msm_mask(seed: int, batch: int = BATCH) -> torch.Tensor:
    """Mask of masked shot modelling, (batch, 17), 1 where a shot is masked; position 3 always is."""
    mask = (np.random.default_rng(seed + 4).random((batch, 17)) < 0.15).astype("float32")
    mask[:, 3] = 1
    return torch.from_numpy(mask)

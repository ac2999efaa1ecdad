"""Tiny models with random weights, saved as Lightning saves them, and segmentations that nothing was computed for."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from bassl.model.crn import ContextualRelationNetwork
from bassl.model.shot_encoder import ShotEncoder
from bassl.segment.scenes import FINETUNED, FilmShots, ModelInfo, Scores, Segmentation, cut_into_scenes
from bassl.segment.threshold import Threshold
from bassl.video.timing import FrameTimes

DIM, HIDDEN = 512, 32
SMALL = {"resize": 64, "crop": 56}  # a test-time transform that takes no time
JPEG = bytes.fromhex(
    "ffd8ffe000104a46494600010100000100010000ffdb0043000302020202020302020203030303040604040404040806060506090809"
    "0a090809090a0c0f0c0a0b0e0b09090d110d0e0f101011100a0c12131210130f101010ffc9000b080001000101011100ffcc00060010"
    "1005ffda0008010100003f00d2cf20ffd9"
)


@cache
def weights(seed: int = 0) -> dict[str, Tensor]:
    """A depth-18 encoder, a small CRN and a boundary head, by the names of a fine-tuned checkpoint."""
    torch.manual_seed(seed)
    parts = {
        "shot_encoder": ShotEncoder.build(18, zero_init_residual=False),
        "crn": ContextualRelationNetwork(DIM, HIDDEN, num_layers=1, num_heads=8, intermediate_dim=64),
        "head_sbd": nn.Linear(HIDDEN, 2),
    }
    return {f"{part}.{name}": value for part, module in parts.items() for name, value in module.state_dict().items()}


def save(path: Path, state_dict: dict[str, Tensor], **about: Any) -> Path:
    """A checkpoint as Lightning writes it; `about` is what fine-tuning says of the model."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": state_dict, "epoch": 1, "global_step": 2, "bassl": about}, path)
    return path


def save_finetuned(path: Path, with_encoder: bool = True, **about: Any) -> Path:
    """A fine-tuned model."""
    return save(path, {n: v for n, v in weights().items() if with_encoder or not n.startswith("shot_encoder")}, **about)


def save_pretrained(path: Path, **about: Any) -> Path:
    """A model that is only pre-trained with BaSSL."""
    return save(path, {name.replace("head_sbd", "loss.head_pp"): value for name, value in weights().items()}, **about)


def save_encoder(path: Path, seed: int = 0, **about: Any) -> Path:
    """What shot-level pre-training leaves: an encoder."""
    own = {name: value for name, value in weights(seed).items() if name.startswith("shot_encoder")}
    return save(path, own, **about)


def segmentation(
    path: Path = Path("/films/a film.mp4"),
    lengths: Sequence[int] = (40, 60, 50, 70, 30),
    probability: Sequence[float] = (0.1, 0.9, 0.3, 0.7),
    rate: Fraction = Fraction(24000, 1001),
    times: FrameTimes | None = None,
    threshold: float = 0.5,
    **film: Any,
) -> Segmentation:
    """A film cut into scenes without anything having been computed."""
    ends = np.cumsum(lengths)
    frames = np.stack([ends - np.array(lengths), ends - 1], axis=1)
    scores = np.array([*probability, np.nan])
    facts = {"width": 1920, "height": 1080, "codec": "h264", "has_audio": True, "timecode": None, **film}
    shots = FilmShots(
        path=path,
        times=times or FrameTimes(rate, Fraction(0), int(ends[-1])),
        frames=frames,
        thumbnails=(JPEG,) * len(lengths),
        features=np.zeros((len(lengths), 0), np.float32),
        detector={"name": "adaptive", "threshold": 3.0, "min_seconds": 0.6, "network": None},
        **facts,
    )
    model = ModelInfo("mine", FINETUNED, "0" * 64, "mine", "1" * 64)
    return cut_into_scenes(shots, Scores(scores, scores, model), Threshold(threshold, "as given"))


def burst() -> Segmentation:
    """A film at a variable rate, nominally 25, whose first scenes last 5 ms each."""
    times = FrameTimes(Fraction(25), Fraction(0), 6, np.array([0, 5, 10, 15, 20, 240]), Fraction(1, 1000), 40)
    return segmentation(lengths=[1, 1, 1, 1, 2], probability=(0.9,) * 4, times=times)

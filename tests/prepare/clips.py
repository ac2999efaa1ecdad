"""Tiny films with cuts at known frames."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def make_clip(
    path: Path,
    shot_lengths: Sequence[int] = (24, 30, 24),
    rate: Fraction = Fraction(24),
    size: tuple[int, int] = (64, 48),
    seed: int = 0,
) -> list[tuple[int, int]]:
    """Write a film whose shots differ plainly; returns first and last frame of each. 24 frames is above the detector's
    shortest shot.
    """
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    shots, at = [], 0
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=rate)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for number, length in enumerate(shot_lengths):
            still = np.zeros((size[1], size[0], 3), np.uint8)
            still[:] = [(40, 40, 220), (220, 200, 30), (30, 200, 60), (200, 30, 200)][number % 4]
            still[::2, : size[0] // 2] = rng.integers(0, 255, 3)
            for _ in range(length):
                for packet in stream.encode(av.VideoFrame.from_ndarray(still, format="rgb24")):
                    container.mux(packet)
            shots.append((at, at + length - 1))
            at += length
        for packet in stream.encode(None):
            container.mux(packet)
    return shots

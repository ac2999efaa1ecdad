"""Windows of shots: integer arithmetic that never leaves the film.

Throughout, `num_shots` is the number of shots of a film, so its shots are 0 .. num_shots - 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bassl.errors import InputError

NEIGHBOR_SIZE = 8
"""Shots on either side of the centre: windows of 17 shots."""

MASK_PROBABILITY = 0.15
"""Fraction of the shots that masked shot modelling hides."""

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True)
class WindowSpec:
    """Shape of a window: shots on either side of the centre, and shots from one position to the next.

    Raises InputError unless both are at least 1.
    """

    size: int = NEIGHBOR_SIZE
    interval: int = 1

    def __post_init__(self) -> None:
        if self.size < 1 or self.interval < 1:
            raise InputError(f"neighbor_size {self.size} and neighbor_interval {self.interval} must both be at least 1")

    @property
    def num_shots(self) -> int:
        """Positions of the window, S."""
        return 2 * self.size + 1


def pretrain_window(center: int, num_shots: int, neighbor_size: int = NEIGHBOR_SIZE, interval: int = 1) -> IntArray:
    """Return the pre-training window of 2 * neighbor_size + 1 shots, (W,), shifted to lie inside the film.

    Past the left end it moves right until it starts at shot 0. Past the right end it moves left until it ends at the
    last shot. The centre shot is therefore not always in the middle and, with an interval above 1, not always in the
    window. In a film shorter than the window, the first or the last shot repeats.
    """
    _check(center, num_shots, neighbor_size, interval)
    return pretrain_windows(np.array([center]), num_shots, neighbor_size, interval)[0]


def pretrain_windows(
    centers: npt.NDArray[np.integer], num_shots: int, neighbor_size: int = NEIGHBOR_SIZE, interval: int = 1
) -> IntArray:
    """Return `pretrain_window` of many shots of one film, (N, W), from centres (N,)."""
    slack = num_shots - 1 - 2 * neighbor_size * interval
    starts = np.clip(np.asarray(centers, np.int64) - neighbor_size * interval, min(slack, 0), max(slack, 0))
    return np.clip(starts[:, None] + np.arange(2 * neighbor_size + 1) * interval, 0, num_shots - 1)


def clipped_window(center: int, num_shots: int, neighbor_size: int = NEIGHBOR_SIZE, interval: int = 1) -> IntArray:
    """Return the fine-tuning window of 2 * neighbor_size + 1 shots, (W,): centred; the film's edge shots repeat."""
    _check(center, num_shots, neighbor_size, interval)
    return clipped_windows(np.array([center]), np.array([num_shots]), neighbor_size, interval)[0]


def clipped_windows(
    centers: npt.NDArray[np.integer],
    num_shots: npt.NDArray[np.integer],
    neighbor_size: int = NEIGHBOR_SIZE,
    interval: int = 1,
) -> IntArray:
    """Return `clipped_window` of many shots, (N, W), from centres (N,) and the lengths of their films (N,)."""
    offsets = np.arange(-neighbor_size, neighbor_size + 1, dtype=np.int64) * interval
    last = np.asarray(num_shots, dtype=np.int64)[:, None] - 1
    return np.clip(np.asarray(centers, dtype=np.int64)[:, None] + offsets, 0, last)


def draw_temporal_neighbor(
    center: int, num_shots: int, neighbor_size: int, interval: int, rng: np.random.Generator
) -> int:
    """Draw another shot near the centre, uniformly from the clipped window without the centre.

    The reference draws this shot and then loads the centre again; ours loads the drawn one. Raises InputError for a
    film of one shot, which has no neighbour.
    """
    candidates = np.unique(clipped_window(center, num_shots, neighbor_size, interval))
    candidates = candidates[candidates != center]
    if len(candidates) == 0:
        raise InputError(f"a film of {num_shots} shot has no neighbour to draw; leave it out of the annotations")
    return int(rng.choice(candidates))


def draw_mask(length: int, rng: np.random.Generator, probability: float = MASK_PROBABILITY) -> npt.NDArray[np.float32]:
    """Draw the mask of masked shot modelling, (length,): 1 for a hidden shot, at least one hidden."""
    mask = rng.random(length) < probability
    fallback = rng.integers(length)
    if not mask.any():
        mask[fallback] = True
    return mask.astype(np.float32)


def _check(center: int, num_shots: int, neighbor_size: int, interval: int) -> None:
    WindowSpec(neighbor_size, interval)  # checks both
    if not 0 <= center < num_shots:
        raise InputError(f"shot {center} lies outside its film of {num_shots} shots; check the annotations")

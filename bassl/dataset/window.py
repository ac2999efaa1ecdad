"""Which shots a sample reads: integer arithmetic only, and no index outside the film.

`num_shots` is always the number of shots, so shots are 0 .. num_shots - 1. (The published annotations' key
`num_shot` is the index of the last shot; the reader of annotations counts rows instead of trusting it.)
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from bassl.errors import InputError

NEIGHBOR_SIZE = 8
"""Shots on either side of the centre: windows of 17 shots."""

MASK_PROBABILITY = 0.15
"""Share of the shots hidden by masked shot modelling."""

IntArray = npt.NDArray[np.int64]


def pretrain_window(center: int, num_shots: int, neighbor_size: int = NEIGHBOR_SIZE, interval: int = 1) -> IntArray:
    """Pre-training window of 2 * neighbor_size + 1 shots, (W,): moved where it sticks out of the film.

    Past the left end it moves right until it starts at shot 0, past the right end it moves left until it
    ends at the last shot, so the centre shot is not always in its middle (and, for an interval above 1, not
    always in it). A film shorter than the window is covered whole: the window moves only as far as it can
    without leaving shots out, and what still sticks out repeats the first or the last shot.

    Raises InputError for a film without shots or a centre outside it.
    """
    _check(center, num_shots, neighbor_size, interval)
    return pretrain_windows(np.array([center]), num_shots, neighbor_size, interval)[0]


def pretrain_windows(
    centers: npt.NDArray[np.integer], num_shots: int, neighbor_size: int = NEIGHBOR_SIZE, interval: int = 1
) -> IntArray:
    """`pretrain_window` of many shots of one film at once, (N, W), from centres (N,)."""
    slack = num_shots - 1 - 2 * neighbor_size * interval
    starts = np.clip(np.asarray(centers, np.int64) - neighbor_size * interval, min(slack, 0), max(slack, 0))
    return np.clip(starts[:, None] + np.arange(2 * neighbor_size + 1) * interval, 0, num_shots - 1)


def clipped_window(center: int, num_shots: int, neighbor_size: int = NEIGHBOR_SIZE, interval: int = 1) -> IntArray:
    """Fine-tuning window of 2 * neighbor_size + 1 shots, (W,): centred, the film's edge shots repeat.

    Raises InputError for a film without shots or a centre outside it.
    """
    _check(center, num_shots, neighbor_size, interval)
    return clipped_windows(np.array([center]), np.array([num_shots]), neighbor_size, interval)[0]


def clipped_windows(
    centers: npt.NDArray[np.integer],
    num_shots: npt.NDArray[np.integer],
    neighbor_size: int = NEIGHBOR_SIZE,
    interval: int = 1,
) -> IntArray:
    """`clipped_window` of many shots at once, (N, W), from centres (N,) and the sizes of their films (N,)."""
    offsets = np.arange(-neighbor_size, neighbor_size + 1, dtype=np.int64) * interval
    last = np.asarray(num_shots, dtype=np.int64)[:, None] - 1
    return np.clip(np.asarray(centers, dtype=np.int64)[:, None] + offsets, 0, last)


def draw_temporal_neighbor(
    center: int, num_shots: int, neighbor_size: int, interval: int, rng: np.random.Generator
) -> int:
    """Another shot near the centre: each shot of the clipped window but the centre is equally likely.

    The reference draws this shot and then loads the centre again; ours loads the drawn one.

    Raises InputError for a film of one shot, which has no neighbour.
    """
    candidates = np.unique(clipped_window(center, num_shots, neighbor_size, interval))
    candidates = candidates[candidates != center]
    if len(candidates) == 0:
        raise InputError(f"a film of {num_shots} shot has no neighbour to draw; leave it out of the annotations")
    return int(rng.choice(candidates))


def draw_mask(length: int, rng: np.random.Generator, probability: float = MASK_PROBABILITY) -> npt.NDArray[np.float32]:
    """Mask of masked shot modelling, (length,), 1 for hidden shots: each with `probability`, at least one."""
    mask = rng.random(length) < probability
    fallback = rng.integers(length)
    if not mask.any():
        mask[fallback] = True
    return mask.astype(np.float32)


def _check(center: int, num_shots: int, neighbor_size: int, interval: int) -> None:
    if num_shots < 1:
        raise InputError(f"a film of {num_shots} shots has no window; leave it out of the annotations")
    if not 0 <= center < num_shots:
        raise InputError(f"shot {center} lies outside its film of {num_shots} shots; check the annotations")
    if neighbor_size < 1 or interval < 1:
        raise InputError(f"neighbor_size {neighbor_size} and neighbor_interval {interval} must both be 1 or more")

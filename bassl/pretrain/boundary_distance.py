"""Validation of pre-training: how far from a true scene boundary does the pseudo-boundary fall?

Nothing is trained. As in training, each annotated shot is the centre of a window (shifted into the film at its
ends), whose first and last shot are warped onto the whole of it; here a shot is the mean of its key-frames,
without augmentation. Windows without a true boundary are left out. Of the others the distance of the
pseudo-boundary to the nearest true one is averaged, in shots, and beside it what a boundary drawn uniformly
from the window would have got: the chance level, as an exact expectation. The measure is ours; BaSSL shows
such windows as examples only.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bassl.dataset.window import NEIGHBOR_SIZE, pretrain_windows
from bassl.errors import InputError
from bassl.pretrain.alignment import pseudo_boundary

WINDOW_CHUNK = 1024  # windows at a time: 9 MB of embeddings


class BoundaryDistance(NamedTuple):
    """Distance to the nearest true boundary in shots, mean over windows: of the pseudo-boundary, and of a random
    one. NaN without a window that holds a boundary."""

    pseudo: float
    random: float


class FilmwiseBoundaryDistance:
    """Mean distance of pseudo-boundaries, fed one film at a time.

    neighbor_size, interval: the window's, as in training. `totals` (3,) float64 on the CPU is all its state: summed
    distance, summed expected distance of a random boundary, and windows that hold a true boundary. Added up over
    ranks that hold different films and assigned back, it makes `compute` the answer for all.
    """

    def __init__(self, neighbor_size: int = NEIGHBOR_SIZE, interval: int = 1) -> None:
        self.neighbor_size, self.interval = neighbor_size, interval
        self.totals = torch.zeros(3, dtype=torch.float64)

    @torch.no_grad()
    def update(self, embeddings: Tensor, scenes: Tensor) -> None:
        """Count one whole film: NCE embeddings (num_shots, D) of unit length, scene of each shot (num_shots,) int.

        Its annotated shots, in film order. Raises InputError for other shapes.
        """
        if embeddings.ndim != 2 or scenes.shape != embeddings.shape[:1]:
            raise InputError(
                f"embeddings have shape {tuple(embeddings.shape)} and scenes {tuple(scenes.shape)}; "
                "give (num_shots, D) and (num_shots,)"
            )
        windows = film_windows(len(scenes), self.neighbor_size, self.interval)
        is_boundary = true_boundaries(scenes.cpu(), windows)
        holds_one = is_boundary.any(1)
        windows, is_boundary = windows[holds_one], is_boundary[holds_one]
        if not len(windows):
            return
        distance = distance_to_nearest(is_boundary) * self.interval
        found = torch.cat([self._pseudo(embeddings, part) for part in windows.split(WINDOW_CHUNK)]).cpu()
        of_found = distance.gather(1, found[:, None])[:, 0]
        self.totals += torch.stack(
            [of_found.sum(), distance.mean(1).sum(), torch.tensor(float(len(windows)), dtype=torch.float64)]
        )

    def _pseudo(self, embeddings: Tensor, windows: Tensor) -> Tensor:
        """Position in each window (W, S) that the alignment ends the left scene at, (W,)."""
        dense = embeddings[windows.to(embeddings.device)]
        return pseudo_boundary(dense[:, [0, -1]], dense)

    def compute(self) -> BoundaryDistance:
        """Means over the windows so far."""
        pseudo, random, num_windows = self.totals.tolist()
        return BoundaryDistance(pseudo / num_windows, random / num_windows) if num_windows else NOTHING


NOTHING = BoundaryDistance(float("nan"), float("nan"))


def film_windows(num_shots: int, neighbor_size: int = NEIGHBOR_SIZE, interval: int = 1) -> Tensor:
    """The pre-training window of every shot of a film, (num_shots, 2 * neighbor_size + 1) int64."""
    return torch.from_numpy(pretrain_windows(np.arange(num_shots), num_shots, neighbor_size, interval))


def true_boundaries(scenes: Tensor, windows: Tensor) -> Tensor:
    """Whether a scene ends with each shot of a window but its last, (num_shots,), (W, S) -> (W, S - 1) bool."""
    of_shots = scenes[windows]
    return of_shots[:, 1:] != of_shots[:, :-1]


def distance_to_nearest(is_boundary: Tensor) -> Tensor:
    """Positions from each position to the nearest boundary, (W, P) bool -> (W, P) float64; inf without one."""
    position = torch.arange(is_boundary.shape[1], dtype=torch.float64)
    apart = (position[:, None] - position).abs()
    return torch.where(is_boundary[:, None, :], apart, torch.inf).amin(2)

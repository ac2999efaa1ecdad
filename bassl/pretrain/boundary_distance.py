"""Validate pre-training by the distance from the pseudo-boundary to the nearest true scene boundary.

As in training, each annotated shot is the centre of a window (shifted into the film at its ends), whose first and last
shot are warped onto the window. Here a shot is the mean of its key-frames, without augmentation. Windows without a true
boundary are left out. The mean distance in shots is reported beside its chance level, the exact expectation for a
boundary drawn uniformly from the window. The measure is ours; BaSSL shows such windows as examples only.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bassl.dataset.window import NEIGHBOR_SIZE, pretrain_windows
from bassl.errors import InputError
from bassl.pretrain.alignment import pseudo_boundary

WINDOWS_AT_A_TIME = 1024  # 9 MB of embeddings


class BoundaryDistance(NamedTuple):
    """Mean distance to the nearest true boundary, in shots; NaN if no window holds a true boundary.

    Attributes:
        pseudo: Distance of the pseudo-boundary.
        random: Expected distance of a random boundary.
    """

    pseudo: float
    random: float


class FilmwiseBoundaryDistance:
    """Accumulate the distance of pseudo-boundaries, one film at a time.

    Args:
        neighbor_size, interval: Size and step of the window, as in training.

    Attributes:
        totals: The whole state, (3,) float64 on the CPU: summed distance, summed expected distance of a random
            boundary, and number of windows with a true boundary. Sum it over ranks to compute over all films.
    """

    def __init__(self, neighbor_size: int = NEIGHBOR_SIZE, interval: int = 1) -> None:
        self.neighbor_size, self.interval = neighbor_size, interval
        self.totals = torch.zeros(3, dtype=torch.float64)

    @torch.no_grad()
    def update(self, embeddings: Tensor, scenes: Tensor) -> None:
        """Add the annotated shots of one film, in film order.

        Args:
            embeddings: Unit-length NCE embeddings, (num_shots, D).
            scenes: Scene of each shot, (num_shots,) int.

        Raises:
            InputError: The shapes do not fit.
        """
        if embeddings.ndim != 2 or scenes.shape != embeddings.shape[:1]:
            raise InputError(
                f"embeddings have shape {tuple(embeddings.shape)} and scenes {tuple(scenes.shape)}; "
                "give (num_shots, D) and (num_shots,)"
            )
        windows = film_windows(len(scenes), self.neighbor_size, self.interval)
        is_boundary = true_boundaries(scenes.cpu(), windows)
        has_boundary = is_boundary.any(1)
        windows, is_boundary = windows[has_boundary], is_boundary[has_boundary]
        if not len(windows):
            return
        distance = distance_to_nearest(is_boundary) * self.interval
        predicted = []
        for part in windows.split(WINDOWS_AT_A_TIME):
            dense = embeddings[part.to(embeddings.device)]
            predicted.append(pseudo_boundary(dense[:, [0, -1]], dense).cpu())
        pseudo = distance.gather(1, torch.cat(predicted)[:, None]).sum().item()
        self.totals += torch.tensor([pseudo, distance.mean(1).sum().item(), len(windows)], dtype=torch.float64)

    def compute(self) -> BoundaryDistance:
        """Return the means over all windows so far."""
        pseudo, random, num_windows = self.totals.tolist()
        return BoundaryDistance(pseudo / (num_windows or math.nan), random / (num_windows or math.nan))


def film_windows(num_shots: int, neighbor_size: int = NEIGHBOR_SIZE, interval: int = 1) -> Tensor:
    """Return the pre-training window of every shot of a film, (num_shots, 2 * neighbor_size + 1) int64."""
    return torch.from_numpy(pretrain_windows(np.arange(num_shots), num_shots, neighbor_size, interval))


def true_boundaries(scenes: Tensor, windows: Tensor) -> Tensor:
    """Flag the shots of each window that end a scene: (num_shots,), (W, S) -> (W, S - 1) bool, without the last."""
    of_shots = scenes[windows]
    return of_shots[:, 1:] != of_shots[:, :-1]


def distance_to_nearest(is_boundary: Tensor) -> Tensor:
    """Return the distance of each position to the nearest boundary: (W, P) bool -> (W, P) float64, inf without."""
    position = torch.arange(is_boundary.shape[1], dtype=torch.float64)
    apart = (position[:, None] - position).abs()
    return torch.where(is_boundary[:, None, :], apart, torch.inf).amin(2)

"""Validate pre-training by k-NN precision: are the nearest neighbours of a shot in its film of the same scene?

As in the reference, a shot is a query for precision at k if its scene has at least k shots, itself included, and
precision is averaged over the queries of all films. In a scene of exactly k shots only k - 1 others can be found, so
100 % is out of reach. `tests/reference` pins the definition.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from bassl.errors import InputError, RunError

KS = (1, 5, 10, 15, 20)
QUERIES_AT_A_TIME = 256
WHOLE_MATRIX = 8192  # shots of a film whose similarities are held at once (256 MB at most), each computed once


class FilmwisePrecision:
    """Accumulate same-scene precision at k, one film at a time.

    Attributes:
        totals: The whole state, (2, len(ks)) int64 on the CPU: neighbours of the same scene, and queries. Sum it over
            ranks to compute over all films.
    """

    def __init__(self, ks: Sequence[int] = KS) -> None:
        if not ks or min(ks) < 1:
            raise InputError(f"ks is {tuple(ks)}; give numbers of neighbours from 1 up")
        self.ks = tuple(ks)
        self.totals = torch.zeros(2, len(self.ks), dtype=torch.int64)

    @torch.no_grad()
    def update(self, film_features: Tensor, film_scenes: Tensor) -> None:
        """Add one whole film: features (num_shots, D) of any length, scene of each shot (num_shots,) int.

        Raises:
            InputError: The shapes do not fit.
            RunError: A feature is not finite.
        """
        if film_features.ndim != 2 or film_scenes.shape != film_features.shape[:1]:
            raise InputError(
                f"features have shape {tuple(film_features.shape)} and scenes {tuple(film_scenes.shape)}; "
                "give (num_shots, D) and (num_shots,)"
            )
        values = film_features.float()
        norm = torch.linalg.vector_norm(values, dim=1, keepdim=True)
        if not torch.isfinite(norm).all():
            raise RunError(
                "features hold NaN or infinity in k-NN validation; the last checkpoint is kept: resume from it with "
                "config.RESUME=true and a lower config.TRAIN.OPTIMIZER.lr.base_lr, or with config.TRAINER.precision=32"
            )
        num_shots = len(film_features)
        scenes = film_scenes.to(film_features.device)
        _, scene_of_shot, num_in_scene = scenes.unique(return_inverse=True, return_counts=True)
        is_query = num_in_scene[scene_of_shot][:, None] >= torch.tensor(self.ks, device=scenes.device)
        num_neighbors = min(max(self.ks), num_shots - 1)
        self.totals[1] += is_query.sum(0).cpu()
        if num_neighbors < 1:
            return
        num_hits = torch.zeros(len(self.ks), dtype=torch.int64, device=scenes.device)
        # A film of fewer than k other shots has no more neighbours; k stays the divisor.
        last = torch.tensor([min(k, num_neighbors) - 1 for k in self.ks], device=scenes.device)
        with torch.autocast(film_features.device.type, enabled=False):
            unit = values / norm.clamp_min(torch.finfo(torch.float32).tiny)
            for chunk, nearest in _nearest(unit, num_neighbors):
                num_same = (scenes[nearest] == scenes[chunk, None]).cumsum(1)
                num_hits += (num_same[:, last] * is_query[chunk]).sum(0)
        self.totals[0] += num_hits.cpu()

    def compute(self) -> Tensor:
        """Return the precision at each k over all queries, (len(ks),) float64 in percent; NaN without a query."""
        num_same, num_queries = self.totals.cpu().double()
        return 100 * num_same / (num_queries * torch.tensor(self.ks))


def _nearest(unit: Tensor, num_neighbors: int) -> Iterator[tuple[slice, Tensor]]:
    """Yield the nearest other shots of each shot of a film, in chunks of (chunk, num_neighbors) indices.

    Similarity is symmetric, so the part below the diagonal is copied instead of computed again.
    """
    num_shots = len(unit)
    is_held = num_shots <= WHOLE_MATRIX
    similarity = unit.new_empty(num_shots if is_held else QUERIES_AT_A_TIME, num_shots)
    for start in range(0, num_shots, QUERIES_AT_A_TIME):
        chunk = slice(start, min(start + QUERIES_AT_A_TIME, num_shots))
        if is_held:
            rows = similarity[chunk]
            rows[:, start:] = unit[chunk] @ unit[start:].T
            similarity[chunk.stop :, chunk] = rows[:, chunk.stop :].T
        else:
            rows = torch.mm(unit[chunk], unit.T, out=similarity[: chunk.stop - start])
        rows[:, chunk].fill_diagonal_(-torch.inf)
        yield chunk, rows.topk(num_neighbors, dim=1).indices

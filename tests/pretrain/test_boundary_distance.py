from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from bassl.dataset.window import pretrain_window
from bassl.errors import InputError
from bassl.pretrain.alignment import pseudo_boundary
from bassl.pretrain.boundary_distance import FilmwiseBoundaryDistance
from tests.reference import data


def embeddings_of(scenes: Tensor, seed: int, noise: float) -> Tensor:
    return normalize(torch.eye(16)[scenes] + noise * data(seed, (len(scenes), 16)), dim=1)


def loop_distances(embeddings: Tensor, scenes: Tensor, size: int, interval: int) -> tuple[list[float], list[float]]:
    """Written out: of each window with a boundary, the pseudo-boundary's distance and a random one's mean distance."""
    pseudo, random = [], []
    for center in range(len(scenes)):
        window = pretrain_window(center, len(scenes), size, interval).tolist()
        true = [p for p in range(len(window) - 1) if scenes[window[p]] != scenes[window[p + 1]]]
        if not true:
            continue
        dense = embeddings[window][None]
        found = int(pseudo_boundary(dense[:, [0, -1]], dense))
        nearest = [interval * min(abs(p - t) for t in true) for p in range(len(window) - 1)]
        pseudo.append(nearest[found])
        random.append(sum(nearest) / len(nearest))
    return pseudo, random


@pytest.mark.parametrize(("size", "interval"), [(8, 1), (3, 1), (2, 2)])
def test_the_means_are_those_of_the_written_out_version(size: int, interval: int) -> None:
    measure = FilmwiseBoundaryDistance(size, interval)
    pseudo: list[float] = []
    random: list[float] = []
    for seed, lengths in enumerate([(4, 7, 3, 9, 12), (20,), (1, 1, 6, 5), (5, 4)]):
        scenes = torch.repeat_interleave(torch.arange(len(lengths)), torch.tensor(lengths))
        embeddings = embeddings_of(scenes, seed, noise=0.4)
        measure.update(embeddings, scenes)
        for all_of, of_film in zip((pseudo, random), loop_distances(embeddings, scenes, size, interval), strict=True):
            all_of += of_film
    assert measure.totals[2] == len(pseudo) > 20
    assert measure.compute() == pytest.approx((sum(pseudo) / len(pseudo), sum(random) / len(random)))


def test_the_distance_has_its_hand_value() -> None:
    # One window of three shots a film; the first shot looks like nothing else, so the pseudo-boundary follows it,
    # while the scene ends one shot later.
    measure = FilmwiseBoundaryDistance(neighbor_size=1)
    measure.update(torch.eye(2)[torch.tensor([0, 1, 1])], torch.tensor([0, 0, 1]))
    assert measure.totals.tolist() == [3.0, 1.5, 3.0]  # three windows; a random boundary is (1 + 0) / 2 away
    assert measure.compute() == (1.0, 0.5)


def test_without_a_boundary_there_is_no_distance() -> None:
    measure = FilmwiseBoundaryDistance()
    assert all(map(math.isnan, measure.compute()))
    measure.update(embeddings_of(torch.zeros(30, dtype=torch.int64), 0, 1.0), torch.zeros(30, dtype=torch.int64))
    assert all(map(math.isnan, measure.compute()))


def test_other_shapes_are_refused() -> None:
    with pytest.raises(InputError, match=r"give \(num_shots, D\) and \(num_shots,\)"):
        FilmwiseBoundaryDistance().update(torch.zeros(4, 2), torch.zeros(3))

"""Validation at the size of the benchmark's test split: k-NN precision of 64 films, and the metrics of their shots."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from bassl.finetune.metrics import ShotPredictions, scene_metrics
from bassl.pretrain.knn import KS, FilmwisePrecision
from benchmarks import film_by_film_in_loops
from benchmarks.material import DIMENSION, film_features, film_sizes, scene_labels, shot_frames
from benchmarks.measure import Row, Settings, compared, in_turns, resident, timed

FILMS, SHOTS = 64, 106_000
FASTER = 10.0


def run(settings: Settings) -> list[Row]:
    """k-NN over all films, one at a time; then the metrics over all shots."""
    sizes = list(film_sizes(settings.pick(2, FILMS), settings.pick(80, SHOTS)).values())
    metrics = _metrics_row(sizes, settings)
    return [*_neighbors(sizes, settings), metrics]


def films(sizes: list[int], dimension: int = DIMENSION, seed: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    """Features (S, D) and scenes (S,) of one film after the other; only one is in memory."""
    for film, num_shots in enumerate(sizes):
        rng = np.random.default_rng((seed, film))
        scenes = np.concatenate([[0], np.cumsum(scene_labels(num_shots, rng))])
        places = film_features(scenes.max() + 1, rng, dimension)[scenes]
        yield torch.from_numpy(film_features(num_shots, rng, dimension) + places), torch.from_numpy(scenes)


def predictions(sizes: list[int], seed: int = 0) -> tuple[ShotPredictions, dict[int, np.ndarray]]:
    """Scores of every labelled shot, better than chance, and the frames of the films."""
    columns: list[tuple[np.ndarray, ...]] = []
    frames = {}
    for film, num_shots in enumerate(sizes):
        rng = np.random.default_rng((seed, film))
        labels = scene_labels(num_shots, rng)
        scores = np.clip(0.25 * labels + rng.random(len(labels)) ** 3, 0, 1)
        columns.append((np.full(len(labels), film), np.arange(len(labels)), scores, labels))
        frames[film] = shot_frames(num_shots, rng)
    return ShotPredictions(*(np.concatenate(column) for column in zip(*columns, strict=True))), frames


def _neighbors(sizes: list[int], settings: Settings) -> list[Row]:
    """The sides take turns film by film. Memory: what counting adds to a film's own features."""
    seconds: dict[str, list[float]] = {"ours": [], "reference": [], "floor": []}
    added = 0
    for features, scenes in films(sizes):
        here, there = features.to(settings.device), scenes.to(settings.device)
        before = resident()
        seconds["ours"].append(timed(lambda: FilmwisePrecision().update(here, there), settings))  # noqa: B023
        added = max(added, resident() - before)
        seconds["reference"].append(timed(lambda: film_by_film_in_loops.count_neighbors(here, there, KS), settings))  # noqa: B023
        unit = torch.nn.functional.normalize(here, dim=1)
        seconds["floor"].append(timed(lambda: (unit @ unit.T).topk(20), settings))  # noqa: B023
    totals = {name: [sum(values)] for name, values in seconds.items()}
    note = f"{len(sizes)} films, {sum(sizes)} shots; floor: a film's whole matrix product and the best 20 of each row; ours is half the product"
    row = compared("k-NN precision", totals, 1, "s", FASTER, note, scale=1)
    largest = max(sizes) * DIMENSION * 4
    memory = f"MiB beside the largest film's features ({largest >> 20} MiB): no more than one film is ever needed"
    return [row, Row("k-NN precision, memory", "MiB", added / 2**20, note=memory)]


def _metrics_row(sizes: list[int], settings: Settings) -> Row:
    scored, frames = predictions(sizes)
    sides = {
        "ours": lambda: scene_metrics(scored, frames),
        "reference": lambda: film_by_film_in_loops.film_metrics(scored, frames),
    }
    seconds = in_turns(sides, settings, rounds=settings.pick(quick=1, full=3), warm_up=False)
    note = f"{len(scored.film)} shots; ours: all metrics; reference: Recall, Recall@3s and mIoU alone"
    return compared("film metrics", seconds, 1, "s", FASTER, note, scale=1)

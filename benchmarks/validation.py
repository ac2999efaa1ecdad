"""Validation at the size of the test split: k-NN precision of 64 films, and the metrics of their shots."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bassl.finetune.metrics import ShotPredictions, scene_metrics
from bassl.pretrain.knn import KS, FilmwisePrecision
from benchmarks import reference_metrics
from benchmarks.data import DIMENSION, TEST_FILMS, film_features, film_sizes, scene_labels, shot_frames
from benchmarks.measure import Row, Settings, compared, in_turns, timed

SHOTS = 106_000
MIN_RATIO = 10.0


def run(settings: Settings) -> list[Row]:
    """Time k-NN over all films, one at a time, and then the metrics over all shots."""
    sizes = list(film_sizes(settings.pick(2, TEST_FILMS), settings.pick(80, SHOTS)).values())
    metrics = _metrics_row(sizes, settings)
    return [*_knn_rows(sizes, settings), metrics]


def films(sizes: list[int], dimension: int = DIMENSION) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield features (S, D) and scenes (S,) of each film; only one film is in memory."""
    for film, num_shots in enumerate(sizes):
        rng = np.random.default_rng((0, film))
        scenes = np.concatenate([[0], np.cumsum(scene_labels(num_shots, rng))])
        places = film_features(scenes.max() + 1, rng, dimension)[scenes]
        yield torch.from_numpy(film_features(num_shots, rng, dimension) + places), torch.from_numpy(scenes)


def predictions(sizes: list[int]) -> tuple[ShotPredictions, dict[int, np.ndarray]]:
    """Return scores of every labelled shot, better than chance, and the frames of the films."""
    columns: list[tuple[np.ndarray, ...]] = []
    frames = {}
    for film, num_shots in enumerate(sizes):
        rng = np.random.default_rng((0, film))
        labels = scene_labels(num_shots, rng)
        scores = np.clip(0.25 * labels + rng.random(len(labels)) ** 3, 0, 1)
        columns.append((np.full(len(labels), film), np.arange(len(labels)), scores, labels))
        frames[film] = shot_frames(num_shots, rng)
    return ShotPredictions(*(np.concatenate(column) for column in zip(*columns, strict=True))), frames


def _knn_rows(sizes: list[int], settings: Settings) -> list[Row]:
    """Run the sides in turns per film; also measure the memory that counting adds to a film's features."""
    seconds = {name: [0.0] for name in ("ours", "reference", "floor")}
    added = 0
    for features, scenes in films(sizes):
        values, labels = features.to(settings.device), scenes.to(settings.device)
        unit = torch.nn.functional.normalize(values, dim=1)
        sides = {
            "ours": lambda: FilmwisePrecision().update(values, labels),  # noqa: B023
            "reference": lambda: reference_metrics.count_neighbors(values, labels, KS),  # noqa: B023
            "floor": lambda: (unit @ unit.T).topk(20),  # noqa: B023
        }
        for name, side in sides.items():
            before = _resident_bytes()
            seconds[name][0] += timed(side, settings)
            if name == "ours":
                added = max(added, _resident_bytes() - before)
    note = f"{len(sizes)} films, {sum(sizes)} shots; floor: a film's whole matrix product and the best 20 of each row; ours is half the product"
    row = compared("k-NN precision", seconds, per=1, unit="s", scale=1, goal=MIN_RATIO, note=note)
    largest = max(sizes) * DIMENSION * 4
    note = f"MiB beside the largest film's features ({largest >> 20} MiB): no more than one film is ever needed"
    return [row, Row("k-NN precision, memory", "MiB", added / 2**20, note=note)]


def _metrics_row(sizes: list[int], settings: Settings) -> Row:
    scored, frames = predictions(sizes)
    sides = {
        "ours": lambda: scene_metrics(scored, frames),
        "reference": lambda: reference_metrics.film_metrics(scored, frames),
    }
    seconds = in_turns(sides, settings, rounds=3, warm_up=False)
    note = f"{len(scored.film)} shots; ours: all metrics; reference: Recall, Recall@3s and mIoU alone"
    return compared("film metrics", seconds, per=1, unit="s", scale=1, goal=MIN_RATIO, note=note)


def _resident_bytes() -> int:
    """Return the bytes of memory that this process occupies now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")

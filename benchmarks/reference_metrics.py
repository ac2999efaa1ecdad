"""The reference's way of validating: a film's similarities sorted, and metrics in loops over scenes and shots.

Written from the definitions in `bassl.pretrain.knn` and `bassl.finetune.metrics`, so that both sides agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from bassl.finetune.metrics import ShotPredictions

Scenes = list[tuple[float, float]]


def count_neighbors(features: Tensor, scenes: Tensor, ks: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return the same-scene neighbours and the queries at each k of one film: (S, D) and (S,)."""
    unit = features / features.norm(dim=1, keepdim=True)
    order = torch.argsort(unit @ unit.T, dim=1, descending=True)[:, 1:]
    labels = scenes.tolist()
    sizes = {scene: labels.count(scene) for scene in set(labels)}
    hits, queries = [0] * len(ks), [0] * len(ks)
    for query, scene in enumerate(labels):
        nearest = scenes[order[query, : max(ks)]]
        for position, k in enumerate(ks):
            if sizes[scene] >= k:
                queries[position] += 1
                hits[position] += int((nearest[:k] == scene).sum())
    return hits, queries


def film_metrics(predictions: ShotPredictions, frames: Mapping[int, npt.NDArray[np.int64]]) -> dict[str, float]:
    """Return Recall, Recall@3s and mIoU, computed per film and then averaged."""
    recalls, near, overlaps = [], [], []
    for film in np.unique(predictions.film).tolist():
        rows = [row for row in range(len(predictions.film)) if predictions.film[row] == film]
        truth = {int(predictions.shot[row]) for row in rows if abs(predictions.label[row]) == 1}
        guess = {int(predictions.shot[row]) for row in rows if predictions.probability[row] >= 0.5}
        span = frames[film]
        if truth:
            recalls.append(sum(shot in guess for shot in truth) / len(truth))
            near.append(sum(_is_near(shot, guess, span) for shot in truth) / len(truth))
            overlaps.append(_overlap(_scenes(truth, span), _scenes(guess, span)))
    return {
        name: sum(values) / len(values)
        for name, values in zip(("Recall", "Recall@3s", "mIoU"), (recalls, near, overlaps), strict=True)
    }


def _is_near(shot: int, guess: set[int], span: npt.NDArray[np.int64]) -> bool:
    end = span[shot][1]
    return any(
        other in guess and 0 <= other < len(span) and abs(span[other][1] - end) < 3 * 24
        for other in range(shot - 5, shot + 6)
    )


def _scenes(boundaries: set[int], span: npt.NDArray[np.int64]) -> Scenes:
    scenes, first = [], 0
    for last in sorted(boundaries):
        scenes.append((float(span[first][0]), float(span[last][1])))
        first = last + 1
    return scenes


def _overlap(truth: Scenes, guess: Scenes) -> float:
    if not guess:
        return 0.0
    from_truth = [max(_iou(scene, other) for other in guess) for scene in truth]
    from_guess = [max(_iou(scene, other) for other in truth) for scene in guess]
    return (sum(from_truth) / len(from_truth) + sum(from_guess) / len(from_guess)) / 2


def _iou(one: tuple[float, float], other: tuple[float, float]) -> float:
    shared = max(0.0, min(one[1], other[1]) - max(one[0], other[0]))
    union = one[1] - one[0] + other[1] - other[0] - shared
    return shared / union if union else 1.0

"""Posterior over scene segmentations on the rows of a split: training-free, or as the decoder of learnt scores.

See `bassl.model.scene_posterior` for the method. It needs the features of whole films, so it works on a feature table.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from bassl.dataset.features import FeatureTable
from bassl.finetune.inputs import Split
from bassl.finetune.metrics import ShotPredictions, scene_metrics
from bassl.model.scene_posterior import boundary_posterior, decoder_unary, scene_threshold
from bassl.model.similarity import boundary_probabilities

SIMILARITY_WINDOW = 8  # shots on either side, of the similarity scorer
RANKING = ("AP", "mAP", "AUC")  # metrics without a threshold


def posterior_predictions(
    split: Split, table: FeatureTable, learnt: ShotPredictions | None = None
) -> tuple[ShotPredictions, NDArray[np.float64]]:
    """Return the posterior probability of each row, and the threshold of each film (mean + 1 standard deviation).

    Shot lengths are used if the split has the frames of its shots.

    Args:
        learnt: Probabilities of a model; their logits become the unary term, so that the posterior decodes them.
    """
    rows = split.annotations
    probability, thresholds = np.zeros(len(rows)), np.ones(len(rows.films))
    for film, features in film_features(split, table):
        unary = None if learnt is None else decoder_unary(_film_logits(learnt, film, len(features)))
        posterior = boundary_posterior(features, shot_lengths(split, film, len(features)), unary=unary)
        thresholds[film] = scene_threshold(posterior)
        own = np.flatnonzero(rows.film == film)
        probability[own] = np.nan_to_num(posterior)[rows.shot[own]]  # NaN: the last shot of the film
    return ShotPredictions(rows.film, rows.shot, probability, rows.label), thresholds


def posterior_metrics(
    split: Split, predictions: ShotPredictions, thresholds: NDArray[np.float64], *, fps: float, uncertain: str
) -> dict[str, float]:
    """Return all metrics of posterior probabilities, with a threshold per film (F,)."""
    is_boundary = predictions.probability >= thresholds[predictions.film]
    decided = ShotPredictions(predictions.film, predictions.shot, is_boundary.astype(float), predictions.label)
    ranking = scene_metrics(predictions, None, uncertain=uncertain)
    metrics = scene_metrics(decided, split.frames, fps=fps, uncertain=uncertain)
    return metrics | {name: ranking[name] for name in RANKING}


def similarity_metrics(split: Split, table: FeatureTable, *, uncertain: str) -> dict[str, float]:
    """Return AP, mAP and AUC of the similarity scorer (`bassl.model.similarity`), the older training-free scorer."""
    rows = split.annotations
    probability = np.zeros(len(rows))
    for film, features in film_features(split, table):
        own = np.flatnonzero(rows.film == film)
        probability[own] = boundary_probabilities(features, SIMILARITY_WINDOW).numpy()[rows.shot[own]]
    predictions = ShotPredictions(rows.film, rows.shot, probability, rows.label)
    metrics = scene_metrics(predictions, None, uncertain=uncertain)
    return {name: metrics[name] for name in RANKING}


def film_features(split: Split, table: FeatureTable) -> Iterator[tuple[int, Tensor]]:
    """Yield the index and the features (N, D) of each film of a split."""
    assert split.first is not None, "raw key-frames have no table"
    for film, (first, count) in enumerate(zip(split.first.tolist(), split.annotations.num_shots.tolist(), strict=True)):
        yield film, table.values[first : first + count].float().cpu()


def shot_lengths(split: Split, film: int, num_shots: int) -> NDArray[np.float64] | None:
    """Return the lengths of a film's shots in frames (num_shots,), None if its shot file is missing or shorter."""
    if split.frames is None or len(split.frames[film]) != num_shots:
        return None
    frames = np.asarray(split.frames[film], dtype=np.float64)
    return frames[:, 1] - frames[:, 0] + 1


def _film_logits(learnt: ShotPredictions, film: int, num_shots: int) -> NDArray[np.float64]:
    """Return a logit per shot of a film (num_shots,); shots without a row get the mean of the others."""
    own = learnt.film == film
    probability = np.clip(learnt.probability[own], 1e-7, 1 - 1e-7)
    logits = np.full(num_shots, np.nan)
    logits[learnt.shot[own]] = np.log(probability) - np.log1p(-probability)
    return np.where(np.isnan(logits), np.nanmean(logits) if own.any() else 0.0, logits)

"""Measure how well predicted scene boundaries match the labels, as the benchmark and other papers do.

`scene_metrics` computes all of them. AP and AUC are written out in numpy; the measures of scenes are in
`bassl.finetune.scenes`. Papers use the same names for different measures, so `METRIC_DEFINITIONS` defines each.
`tests/reference` pins AP, AUC, F1, Recall, Recall@3s and mIoU.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bassl.errors import InputError
from bassl.finetune.scenes import frame_iou, recall_within, shot_iou

METRIC_DEFINITIONS: dict[str, str] = {
    "AP": "Average precision over the shots of all films pooled, step-wise area under precision over recall "
    "(BaSSL, TranS4mer; not the per-film mean that SCRL, VSMBD and MASRC call mAP).",
    "mAP": "Average precision of each film by itself, then the mean over films, films without a boundary "
    "left out (the number that SCRL, VSMBD and MASRC report; VSMBD has 63.65 where its pooled AP is 62.54).",
    "AUC": "Area under the ROC curve over the shots of all films pooled: how often a boundary scores above "
    "another shot, ties counting half.",
    "F1": "F1 of the boundary class over the shots of all films pooled, at the threshold (BaSSL, MASRC; SCRL "
    "averages it over films instead).",
    "Accuracy": "Share of all pooled shots on the right side of the threshold.",
    "Accuracy0": "Share of the pooled shots without a boundary that score below the threshold.",
    "Accuracy1": "Share of the pooled boundaries at or above the threshold (Recall is the same per film).",
    "Recall": "Share of a film's boundaries at or above the threshold, mean over films with a boundary.",
    "Recall@3s": "Share of a film's boundaries with a predicted one within 5 shots and less than 3 seconds "
    "away (ends of the shots, at 24 frames per second by default), mean over films with a boundary.",
    "mIoU": "Best intersection over union of each true and of each predicted scene, the two means averaged, "
    "then the mean over films; in frames, the scene after the last boundary dropped, a film without a "
    "predicted boundary 0 (LGSS, BaSSL, VSMBD).",
    "mIoU_shots": "The same in shots instead of frames and with the scene after the last boundary kept, so a "
    "film without a predicted boundary is one scene (MASRC); not comparable with mIoU.",
}
FRAME_METRICS = ("Recall@3s", "mIoU")  # those that need each shot's first and last frame
MAX_SECONDS = 3.0


@dataclass(frozen=True)
class ShotPredictions:
    """Predictions and labels, one row per shot, in any order.

    Attributes:
        film: Number of the film, (N,) int.
        shot: Index within the film, (N,) int.
        probability: Probability that a scene ends with the shot, (N,) in 0..1.
        label: 1 if a scene ends with the shot, 0 if not, -1 if uncertain, (N,) int.
    """

    film: NDArray[np.int64]
    shot: NDArray[np.int64]
    probability: NDArray[np.float64]
    label: NDArray[np.int64]

    def deduplicated(self, uncertain: str = "positive") -> ShotPredictions:
        """Return the first row of each (film, shot), sorted by film and shot.

        Samplers that pad the last batch of every process repeat some shots; here they count once.

        Args:
            uncertain: Treat label -1 as "positive" (the benchmark's rule) or "masked" (omit the row).

        Raises:
            InputError: Columns differ in shape, a probability is NaN or outside 0..1, a label is not 1, 0 or -1, a shot
                is negative, or a shot has two labels.
        """
        film, shot, label = (_whole(getattr(self, name), name) for name in ("film", "shot", "label"))
        probability = np.asarray(self.probability, dtype=np.float64)
        shapes = [column.shape for column in (film, shot, probability, label)]
        if film.ndim != 1 or len(set(shapes)) != 1:
            raise InputError(f"film, shot, probability, label have shapes {shapes}; give four of one shape (N,)")
        wrong = np.flatnonzero(~((probability >= 0) & (probability <= 1)))
        if len(wrong):
            raise InputError(
                f"shot {shot[wrong[0]]} of film {film[wrong[0]]} has probability {probability[wrong[0]]}; "
                f"give values within 0..1 ({len(wrong)} are not)"
            )
        _refuse_labels(label, (-1, 0, 1))
        if (shot < 0).any():
            raise InputError(f"shot {shot.min()} is negative; count shots from 0 within each film")

        order = np.lexsort((np.arange(len(film)), shot, film))
        film, shot, label, probability = film[order], shot[order], label[order], probability[order]
        again = np.zeros(len(film), dtype=bool)
        again[1:] = (film[1:] == film[:-1]) & (shot[1:] == shot[:-1])
        clash = np.flatnonzero(again[1:] & (label[1:] != label[:-1]))
        if len(clash):
            raise InputError(f"shot {shot[clash[0]]} of film {film[clash[0]]} has two labels; number each film apart")
        keep = ~again
        if uncertain == "masked":
            keep &= label != -1
        elif uncertain != "positive":
            raise InputError(f"uncertain is {uncertain!r}; choose 'positive' or 'masked'")
        return ShotPredictions(film[keep], shot[keep], probability[keep], np.abs(label[keep]))


class PrecisionRecallCurve(NamedTuple):
    """One point per distinct probability, in descending order; shots at or above it are predicted."""

    threshold: NDArray[np.float64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]


def scene_metrics(
    predictions: ShotPredictions,
    shot_frames: Mapping[int, ArrayLike] | None,
    threshold: float = 0.5,
    fps: float | Mapping[int, float] = 24.0,
    uncertain: str = "positive",
) -> dict[str, float]:
    """Compute all `METRIC_DEFINITIONS` for the given shots, as fractions in 0..1.

    A shot without a row is no boundary. A metric without anything to measure, such as Recall of a split without
    boundaries, is NaN. Means over films omit films in which the metric is undefined.

    Args:
        shot_frames: First and last frame of every shot, (num_shots, 2), per film. None omits `FRAME_METRICS`, and a
            film ends with its last row.
        threshold: Probability from which a shot is a predicted boundary.
        fps: Frames per second, for all films or per film.
        uncertain: As of `ShotPredictions.deduplicated`.

    Raises:
        InputError: Predictions are malformed, the threshold is NaN, a film has no frames or fps, or a shot is past the
            end of its film.
    """
    if np.isnan(threshold):
        raise InputError("threshold is nan; give a number such as 0.5")
    rows = predictions.deduplicated(uncertain)
    is_true, is_predicted = rows.label == 1, rows.probability >= threshold
    num_true, num_predicted = is_true.sum(), is_predicted.sum()
    right = is_true == is_predicted
    pooled = {
        "AP": average_precision(rows.probability, rows.label),
        "AUC": area_under_roc(rows.probability, rows.label),
        "F1": float(2 * (is_true & is_predicted).sum() / (num_true + num_predicted)) if num_true else np.nan,
        "Accuracy": _mean(right),
        "Accuracy0": _mean(right[~is_true]),
        "Accuracy1": _mean(right[is_true]),
    }
    per_film: dict[str, list[float]] = {"Recall": [], "mAP": [], "mIoU_shots": []}
    if shot_frames is not None:
        per_film.update({name: [] for name in FRAME_METRICS})
    films, num_rows = np.unique(rows.film, return_counts=True)
    ends = np.cumsum(num_rows)
    for film, start, end in zip(films.tolist(), ends - num_rows, ends, strict=True):
        span = slice(start, end)
        frames = None if shot_frames is None else _film_frames(shot_frames, film, rows.shot[span][-1])
        num_shots = int(rows.shot[span][-1]) + 1 if frames is None else len(frames)
        truth, predicted = np.zeros(num_shots, dtype=bool), np.zeros(num_shots, dtype=bool)
        truth[rows.shot[span]], predicted[rows.shot[span]] = is_true[span], is_predicted[span]
        per_film["Recall"].append(_mean(predicted[truth]))
        per_film["mAP"].append(average_precision(rows.probability[span], rows.label[span]))
        per_film["mIoU_shots"].append(shot_iou(truth, predicted))
        if frames is not None:
            max_frames = MAX_SECONDS * _film_fps(fps, film)
            per_film["Recall@3s"].append(recall_within(truth, predicted, frames, max_frames))
            annotated = rows.shot[span]  # scenes are cut out of the annotated shots, as in the reference
            per_film["mIoU"].append(frame_iou(truth[annotated], predicted[annotated], frames[annotated]))
    results = pooled | {name: _mean_of_numbers(values) for name, values in per_film.items()}
    return {name: float(results[name]) for name in METRIC_DEFINITIONS if name in results}


def precision_recall_curve(probability: ArrayLike, label: ArrayLike) -> PrecisionRecallCurve:
    """Return precision and recall of the boundary class at every distinct probability.

    Recall is NaN without a positive.

    Args:
        probability: Any score that grows with the probability, (N,).
        label: 1 or 0, (N,).

    Raises:
        InputError: A label is not 0 or 1, a score is NaN, or the shapes differ.
    """
    threshold, true_positives, false_positives = _ranked_counts(probability, label)
    num_positives = true_positives[-1] if len(true_positives) else 0
    precision = true_positives / (true_positives + false_positives)
    recall = true_positives / num_positives if num_positives else np.full(len(threshold), np.nan)
    return PrecisionRecallCurve(threshold, precision, recall)


def average_precision(probability: ArrayLike, label: ArrayLike) -> float:
    """Return the area under the step-wise precision-recall curve, sum of (R_n - R_(n-1)) P_n.

    Equal probabilities are one step. NaN without a positive. For arguments and errors see `precision_recall_curve`.
    """
    curve = precision_recall_curve(probability, label)
    if not len(curve.recall):
        return float("nan")
    return float(np.sum(np.diff(curve.recall, prepend=0.0) * curve.precision))


def area_under_roc(probability: ArrayLike, label: ArrayLike) -> float:
    """Return the fraction of (positive, negative) pairs in which the positive scores higher, ties counting half.

    NaN without a positive or a negative. For arguments and errors see `precision_recall_curve`.
    """
    _, true_positives, false_positives = _ranked_counts(probability, label)
    if not len(true_positives) or not true_positives[-1] or not false_positives[-1]:
        return float("nan")
    new_negatives = np.diff(false_positives, prepend=0)
    higher = np.concatenate([[0], true_positives[:-1]])
    twice_won = np.sum(new_negatives * (higher + true_positives))
    return float(twice_won / (2 * true_positives[-1] * false_positives[-1]))


def best_f1_threshold(probability: ArrayLike, label: ArrayLike) -> float:
    """Return the threshold with the best F1, the highest of equals; NaN without a positive.

    Select it on `val`, not on the split that is reported. For arguments and errors see `precision_recall_curve`.
    """
    threshold, true_positives, false_positives = _ranked_counts(probability, label)
    if not len(threshold) or not true_positives[-1]:
        return float("nan")
    f1 = 2 * true_positives / (true_positives + false_positives + true_positives[-1])
    return float(threshold[np.argmax(f1)])


def _ranked_counts(
    probability: ArrayLike, label: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]:
    """Return the distinct scores, descending, and the positives and negatives at or above each."""
    score, target = np.asarray(probability, dtype=np.float64), _whole(label, "label")
    if score.ndim != 1 or score.shape != target.shape:
        raise InputError(f"probability {score.shape} and label {target.shape} differ; give both (N,)")
    if np.isnan(score).any():
        raise InputError(f"probability has {np.isnan(score).sum()} NaN; give numbers")
    _refuse_labels(target, (0, 1))
    order = np.argsort(-score, kind="stable")
    score, target = score[order], target[order]
    last_of_ties = np.append(np.flatnonzero(score[1:] != score[:-1]), len(score) - 1) if len(score) else np.arange(0)
    true_positives = np.cumsum(target)[last_of_ties]
    return score[last_of_ties], true_positives, last_of_ties + 1 - true_positives


def _whole(values: ArrayLike, name: str) -> NDArray[np.int64]:
    column = np.asarray(values)
    if column.dtype.kind not in "iub" and column.size:
        raise InputError(f"{name} holds {column.dtype}; give whole numbers")
    return column.astype(np.int64)


def _refuse_labels(label: NDArray[np.int64], allowed: tuple[int, ...]) -> None:
    wrong = label[~np.isin(label, allowed)]
    if len(wrong):
        raise InputError(f"label {wrong[0]} is not one of {allowed}; 1 is a boundary, 0 none, -1 uncertain")


def _film_frames(shot_frames: Mapping[int, ArrayLike], film: int, last_shot: int) -> NDArray[np.int64]:
    if film not in shot_frames:
        raise InputError(f"film {film} has no shot frames; add them or leave shot_frames out")
    frames = np.asarray(shot_frames[film])
    if last_shot >= len(frames):
        raise InputError(f"shot {last_shot} of film {film} is past its {len(frames)} shots; check the shot file")
    return frames


def _film_fps(fps: float | Mapping[int, float], film: int) -> float:
    rate = fps.get(film, np.nan) if isinstance(fps, Mapping) else fps
    if not rate > 0:
        raise InputError(f"film {film} has {rate} frames per second; give a number above 0")
    return rate


def _mean(values: NDArray[np.bool_]) -> float:
    return float(np.mean(values)) if len(values) else float("nan")


def _mean_of_numbers(values: list[float]) -> float:
    numbers = [value for value in values if not np.isnan(value)]
    return float(np.mean(numbers)) if numbers else float("nan")

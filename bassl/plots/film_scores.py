"""What a timeline shows of a film, checked: shot numbers, probabilities, labels and times that belong
together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bassl.errors import InputError


class FilmScores(NamedTuple):
    """Checked input of a timeline, N shots in film order.

    shots: (N,) numbers, ascending. probability: (N,) in 0..1. is_predicted: (N,) bool. is_labelled: (N,)
    bool, None without labels. seconds: (N,) start of each shot, None where unknown.
    """

    shots: NDArray[np.int64]
    probability: NDArray[np.float64]
    is_predicted: NDArray[np.bool_]
    is_labelled: NDArray[np.bool_] | None
    seconds: NDArray[np.float64] | None
    threshold: float


def checked_scores(
    probability: ArrayLike,
    label: ArrayLike | None = None,
    threshold: float = 0.5,
    shot_range: Sequence[int] | None = None,
    shot_seconds: ArrayLike | None = None,
) -> FilmScores:
    """The input of a timeline, checked.

    probability: (N,) that a scene ends with each shot, 0..1; at or above threshold it counts as predicted.
    label: (N,) 1 where a scene ends with the shot, 0 where not, -1 uncertain (drawn as 1, the benchmark's
    rule). shot_range: numbers of the N shots, ascending, such as range(92, 135); from 0 on unless told
    otherwise. shot_seconds: (N,) start of each shot in seconds. Raises InputError for no shot, other shapes
    or values, and NaN.
    """
    scores = np.asarray(probability, dtype=np.float64)
    if scores.ndim != 1 or not len(scores):
        raise InputError(f"probability has shape {scores.shape}; give (N,), one for each of at least 1 shot")
    wrong = np.flatnonzero(~((scores >= 0) & (scores <= 1)))
    if len(wrong):
        raise InputError(
            f"probability {wrong[0]} is {scores[wrong[0]]}; give values within 0..1 ({len(wrong)} are not)"
        )
    if not math.isfinite(threshold):
        raise InputError(f"threshold is {threshold}; give a number such as 0.5")
    shots = np.arange(len(scores)) if shot_range is None else np.asarray(shot_range)
    if shots.shape != scores.shape or shots.dtype.kind not in "iu":
        raise InputError(f"shot_range has shape {shots.shape} for {len(scores)} shots; give as many whole numbers")
    if shots[0] < 0 or (np.diff(shots) < 1).any():
        raise InputError(f"shot_range starts {shots[:4].tolist()}; give shot numbers from 0 up, ascending")
    labelled = None
    if label is not None:
        values = np.asarray(label)
        if values.shape != scores.shape or not np.isin(values, (-1, 0, 1)).all():
            raise InputError(f"label has shape {values.shape} for {len(scores)} shots; give as many of 1, 0 and -1")
        labelled = values != 0
    seconds = None
    if shot_seconds is not None:
        seconds = np.asarray(shot_seconds, dtype=np.float64)
        if seconds.shape != scores.shape or not np.isfinite(seconds).all():
            raise InputError(
                f"shot_seconds has shape {seconds.shape} for {len(scores)} shots; give as many finite numbers"
            )
    return FilmScores(shots.astype(np.int64), scores, scores >= threshold, labelled, seconds, float(threshold))

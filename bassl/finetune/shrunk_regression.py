"""Fit a logistic regression that is shrunk towards given weights instead of towards zero."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bassl.errors import InputError

Array = NDArray[np.float64]
MAX_STEPS = 100
TOLERANCE = 1e-10


def fit_shrunk_regression(
    inputs: ArrayLike, labels: ArrayLike, prior: ArrayLike, strength: float
) -> tuple[Array, float]:
    """Return weights (F,) and bias that minimise the logistic loss near `prior`.

        sum_n log(1 + exp(-y_n (w x_n + b))) + strength / 2 |w - prior|^2,    y_n = +-1

    The prior is a scorer that needs no labels. The loss grows with the samples and the penalty does not, so w leaves
    the prior as far as the labels say. The bias is free, and then moved by the log odds of the training labels:
    probability 0.5 means that both classes are equally likely had they been equally frequent, as with
    `losses.balanced_cross_entropy`. Weighting the loss itself ranks worse with two films (docs/results.md).
    Newton's method with step halving is exact to about 1e-9, so there is nothing to seed or to schedule.

    Args:
        inputs: (N, F).
        labels: (N,), 1 or 0.
        prior: (F,).
        strength: in samples, above 0. Larger values keep w closer to the prior.

    Raises:
        InputError: if shapes differ, a value is not finite, or one of the classes is missing.
    """
    x, y, center = (np.asarray(values, np.float64) for values in (inputs, labels, prior))
    if x.ndim != 2 or y.shape != x.shape[:1] or center.shape != x.shape[1:]:
        raise InputError(f"inputs {x.shape}, labels {y.shape} and prior {center.shape} differ; give (N, F), (N,), (F,)")
    if not np.isfinite(x).all():
        row = int((~np.isfinite(x).all(1)).argmax())
        raise InputError(f"row {row} of the inputs contains NaN or infinity; give finite numbers")
    if not (np.isin(y, (0, 1)).all() and 0 < y.sum() < len(y)):
        raise InputError(f"{int(y.sum())} of {len(y)} training labels are 1; give labels 0 and 1, some of each")
    if not strength > 0:
        raise InputError(f"strength is {strength}; give a number above 0")
    log_odds = float(np.log(y.mean() / (1 - y.mean())))
    weights = _minimize(np.hstack([x, np.ones((len(x), 1))]), y, np.append(center, log_odds), strength)
    return weights[:-1], float(weights[-1]) - log_odds


def _minimize(x: Array, y: Array, start: Array, strength: float) -> Array:
    """Newton's method from `start` (F + 1,), which is also the centre of the penalty; the last weight has none."""
    penalty = np.append(np.full(len(start) - 1, float(strength)), 0.0)

    def objective(weights: Array) -> float:
        logits = x @ weights
        return float((np.logaddexp(0.0, logits) - y * logits).sum() + 0.5 * penalty @ (weights - start) ** 2)

    weights, value = start, objective(start)
    for _ in range(MAX_STEPS):
        probability = 0.5 * (1 + np.tanh(0.5 * (x @ weights)))
        gradient = x.T @ (probability - y) + penalty * (weights - start)
        curvature = (x.T * (probability * (1 - probability))) @ x + np.diag(penalty)
        step = np.linalg.solve(curvature + np.eye(len(start)) * TOLERANCE, gradient)
        while (proposed := objective(weights - step)) > value and np.abs(step).max() > TOLERANCE:
            step = step / 2
        if proposed > value:
            break
        weights, value = weights - step, proposed
        if np.abs(step).max() < TOLERANCE:
            break
    return weights

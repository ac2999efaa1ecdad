"""Fit a logistic regression that is shrunk towards the direction of given weights instead of towards zero."""

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
    """Return weights (F,) and bias that minimise the logistic loss near a multiple of `prior`.

        sum_n log(1 + exp(-y_n (w x_n + b))) + strength / 2 |c|^2 + 1/2 (s - 1)^2,    w = s prior + c,  y_n = +-1

    The prior is a scorer that needs no labels. The loss grows with the samples and the penalty does not, so w leaves
    the direction of the prior as far as the labels justify. Its scale s is all but free: held fixed, other columns
    would correct it, which ranks worse with few films. The bias is free, and finally moved by the log odds of the
    training labels, so that probability 0.5 means what it means with `losses.balanced_cross_entropy`. Newton's method
    with step halving is exact to about 1e-9, so there is nothing to seed or to schedule.

    Args:
        inputs: (N, F).
        labels: (N,), 1 or 0.
        prior: (F,).
        strength: above 0. Larger values keep w closer to the direction of the prior.

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
    columns = np.column_stack([x, x @ center, np.ones(len(x))])
    start = np.append(np.zeros(x.shape[1]), [1.0, log_odds])
    *change, scale, bias = _minimize(columns, y, start, np.append(np.full(x.shape[1], float(strength)), [1.0, 0.0]))
    return np.array(change) + scale * center, float(bias) - log_odds


def _minimize(x: Array, y: Array, start: Array, penalty: Array) -> Array:
    """Return the weights of the smallest logistic loss plus half the sum of penalty (w - start)^2."""

    def objective(weights: Array) -> float:
        logits = x @ weights
        return float((np.logaddexp(0.0, logits) - y * logits).sum() + 0.5 * penalty @ (weights - start) ** 2)

    weights, value = start, objective(start)
    for _ in range(MAX_STEPS):
        probability = 0.5 * (1 + np.tanh(0.5 * (x @ weights)))
        gradient = x.T @ (probability - y) + penalty * (weights - start)
        curvature = (x.T * (probability * (1 - probability))) @ x + np.diag(penalty)
        step = np.linalg.solve(curvature + np.eye(len(weights)) * TOLERANCE, gradient)
        while (proposed := objective(weights - step)) > value and np.abs(step).max() > TOLERANCE:
            step = step / 2
        if proposed > value:
            break
        weights, value = weights - step, proposed
        if np.abs(step).max() < TOLERANCE:
            break
    return weights

"""Find scenes without training: weigh all ways to cut a film into scenes of shots that belong together.

A film of N shots can be cut into scenes in 2^(N-1) ways. Each way gets a weight, high if every scene resembles
itself more than it resembles the film. The score of a shot is the posterior probability that a scene ends with it:
the weight of all cuts that end a scene there, as a fraction of the weight of all cuts.

Similarity. Features get unit length, lose their mean over the film, and get unit length again (the order was chosen
on episodes 1-8: pooled .432, without the mean's removal .424, without the first step .417). S_ij is the inner
product of shots i and j, and s the standard deviation of S off the diagonal. A kernel turns S into how much likelier
j is beside i than anywhere in the film:

    K_ij = exp(kappa S_ij / s), K_ii = 0            R_ij = K_ij / mean over j' != i of K_ij'

Over a row, R is 1 on average, and scale and offset of the similarities cancel.

Evidence. How much likelier is shot i in the company of the shots A than anywhere in the film? R averaged over A,
shrunk to 1 as if alpha more shots had been there, so that a small company proves little:

    t(i | A) = log[(alpha + sum over j in A of R_ij) / (alpha + |A|)]

A scene a..b is read in both directions of time, each shot in the company of those already read:

    evidence(a..b) = 1/2 [ sum_{i=a+1..b} t(i | a..i-1)  +  sum_{i=a..b-1} t(i | i+1..b) ]

Weight. Before anything is seen, a scene ends with each shot with probability h (the hazard). beta weighs the
evidence, and u_b is any other knowledge about shot b ending a scene:

    log weight(a..b) = beta evidence(a..b) + log h + (b - a) log(1 - h) + u_b

The weight of a segmentation is the product over its scenes, none longer than L shots.

Shot lengths. A long shot ends a scene, and a long shot begins one. With z the logarithm of the shot lengths,
standardised over the film, u_b gains c (z_b + z_{b+1}). The last shot has u = 0.

Posterior. Let F_b sum the weights of all segmentations of the shots 0..b, and G_a of the shots a..N-1:

    F_b = sum_{a=b-L+1..b} F_{a-1} weight(a..b)     G_a = sum_{b=a..a+L-1} weight(a..b) G_{b+1}     F_{-1} = G_N = 1
    P(a scene ends with b) = F_b G_{b+1} / F_{N-1}

Everything is exact, in logarithms, and takes O(N L) memory. All evidence takes O(N L) time, because evidence(a..b)
extends the sums of a..b-1 and of a+1..b by one term each. Similarities take O(N^2 D) time, in blocks of rows.

Average precision on BBC Planet Earth (11 episodes, 557 scene ends, published VGG19 features of one key-frame per
shot), all shots pooled and mean per film, and mean F1 of the scenes from `scene_threshold`:

    | BBC episodes     | 9-11 pooled | 9-11 per film | 1-11 pooled | 1-11 per film | 1-11 F1 |
    | features alone   | .428        | .452          | .430        | .456          | .471    |
    | and shot lengths | .542        | .553          | .498        | .513          | .503    |
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bassl.errors import InputError
from bassl.model.relative_similarity import NEGLIGIBLE, centered_features, relative_bands

Array = NDArray[np.float64]

MAX_SCENE_LENGTH = 60
"""Shots."""


def boundary_posterior(
    features: ArrayLike,
    shot_lengths: ArrayLike | None = None,
    *,
    unary: ArrayLike | None = None,
    max_scene_length: int = MAX_SCENE_LENGTH,
    kappa: float = 2.0,
    alpha: float = 0.5,
    hazard: float = 0.2,
    evidence_weight: float | None = None,
    length_weight: float = 0.35,
) -> Array:
    """Return the probability that a scene ends with each shot of a film, (N,) float64, NaN for the last shot.

    The module's docstring derives it. Neither the scale of a shot's features nor a rotation of all features matters.
    Where nothing distinguishes the shots, the result is the prior, `hazard`.

    Args:
        features: (N, D), shots in film order, from any encoder.
        shot_lengths: (N,), in any unit.
        unary: (N,), log odds to add for a scene ending with each shot, for example from `decoder_unary`. The last
            shot's is ignored and may be NaN.
        max_scene_length: L, in shots.
        kappa: sharpness of the kernel.
        alpha: shots that evidence is shrunk by.
        hazard: h, prior probability that a scene ends with a shot, between 0 and 1.
        evidence_weight: beta. Default: 1 without and 0.5 with shot lengths, which ranks boundaries best.
        length_weight: c.

    Raises:
        InputError: if a shape or a range is wrong, or a value is NaN or infinite.
    """
    if evidence_weight is None:
        evidence_weight = 1.0 if shot_lengths is None else 0.5
    weights = _scene_weights(
        features,
        shot_lengths,
        unary,
        max_scene_length=max_scene_length,
        kappa=kappa,
        alpha=alpha,
        hazard=hazard,
        evidence_weight=evidence_weight,
        length_weight=length_weight,
    )
    num_shots, longest = weights.shape
    # until[b] = log F_{b-1}, since[a] = log G_a
    until, since = np.zeros(num_shots + 1), np.zeros(num_shots + 1)
    for end in range(num_shots):
        length = min(end + 1, longest)
        until[end + 1] = _log_sum(weights[end, :length] + until[end + 1 - length : end + 1][::-1])
    for start in reversed(range(num_shots)):
        length = min(num_shots - start, longest)
        since[start] = _log_sum(weights[start : start + length].diagonal() + since[start + 1 : start + 1 + length])
    posterior = np.exp(np.minimum(until[1:] + since[1:] - until[-1], 0.0))
    posterior[-1:] = np.nan
    return posterior


def best_segmentation(
    features: ArrayLike,
    shot_lengths: ArrayLike | None = None,
    *,
    unary: ArrayLike | None = None,
    max_scene_length: int = MAX_SCENE_LENGTH,
    kappa: float = 2.0,
    alpha: float = 0.5,
    hazard: float = 0.2,
    evidence_weight: float | None = None,
    length_weight: float = 0.35,
) -> NDArray[np.int64]:
    """Return the shots that scenes end with in the segmentation of the highest weight (Viterbi).

    Ascending; the last shot ends the last scene and is included, so the array counts the scenes. Arguments and
    errors as in `boundary_posterior`, but the default of `evidence_weight` is 1 with and without shot lengths.
    """
    weights = _scene_weights(
        features,
        shot_lengths,
        unary,
        max_scene_length=max_scene_length,
        kappa=kappa,
        alpha=alpha,
        hazard=hazard,
        evidence_weight=1.0 if evidence_weight is None else evidence_weight,
        length_weight=length_weight,
    )
    num_shots, longest = weights.shape
    best, length_of_last = np.zeros(num_shots + 1), np.zeros(num_shots, np.int64)
    for end in range(num_shots):
        length = min(end + 1, longest)
        candidates = weights[end, :length] + best[end + 1 - length : end + 1][::-1]
        length_of_last[end] = candidates.argmax() + 1
        best[end + 1] = candidates.max()
    ends, end = [], num_shots - 1
    while end >= 0:
        ends.append(end)
        end -= int(length_of_last[end])
    return np.array(ends[::-1], np.int64)


def scene_threshold(posterior: ArrayLike) -> float:
    """Return the threshold for a scene list: the film's mean posterior plus one standard deviation.

    Shots at or above it end a scene. NaN entries are ignored; without any other the threshold is 1.
    """
    values = np.asarray(posterior, np.float64)
    values = values[np.isfinite(values)]
    return float(values.mean() + values.std()) if len(values) else 1.0


def decoder_unary(logits: ArrayLike) -> Array:
    """Return logits of another boundary scorer, (N,), as `unary`: standardised over the film and halved.

    The last shot has no boundary after it: its logit is ignored, may be NaN, and becomes 0.

    Raises:
        InputError: if another logit is NaN or infinite.
    """
    values = _vector("logits", logits, np.size(logits))
    values[:-1] = _standardize(values[:-1]) / 2
    return values


def _scene_weights(
    features: ArrayLike,
    shot_lengths: ArrayLike | None,
    unary: ArrayLike | None,
    *,
    max_scene_length: int,
    kappa: float,
    alpha: float,
    hazard: float,
    evidence_weight: float,
    length_weight: float,
) -> Array:
    """Return log weight(b-k..b) as (N, L) at [b, k]; scenes that would start before the film have -inf."""
    _require(max_scene_length >= 1, "max_scene_length", max_scene_length, "1 shot or more")
    _require(0 <= kappa < np.inf, "kappa", kappa, "0 or more")
    _require(0 < alpha < np.inf, "alpha", alpha, "more than 0")
    _require(0 < hazard < 1, "hazard", hazard, "more than 0 and less than 1")
    _require(0 <= evidence_weight < np.inf, "evidence_weight", evidence_weight, "0 or more")
    _require(abs(length_weight) < np.inf, "length_weight", length_weight, "a finite number")
    unit = centered_features(features)
    num_shots = len(unit)
    bonus = np.zeros(num_shots)
    if unary is not None:
        bonus += _vector("unary", unary, num_shots)
    if shot_lengths is not None:
        bonus += length_weight * _length_unary(shot_lengths, num_shots)
    bonus[-1:] = 0.0

    longest = max(min(int(max_scene_length), num_shots), 1)
    before, after = relative_bands(unit, kappa, longest - 1)
    company = alpha + np.arange(1, longest)  # alpha + |A|
    read_forwards = np.log((alpha + before.cumsum(1)) / company)  # t(i | i-m..i-1) at [i, m-1]
    read_backwards = np.log((alpha + after.cumsum(1)) / company)  # t(i | i+1..i+m) at [i, m-1]
    weights = np.full((num_shots, longest), -np.inf)
    weights[:, 0] = 0.0
    forwards, backwards = np.zeros(num_shots), np.zeros(num_shots)  # of the scenes of one shot less, by end
    for extra in range(1, longest):
        forwards = forwards[:-1] + read_forwards[extra:, extra - 1]
        backwards = backwards[1:] + read_backwards[:-extra, extra - 1]
        weights[extra:, extra] = evidence_weight * 0.5 * (forwards + backwards)
    weights += np.log(hazard) + np.arange(longest) * np.log1p(-hazard) + bonus[:, None]
    return weights


def _length_unary(shot_lengths: ArrayLike, num_shots: int) -> Array:
    lengths = _vector("shot_lengths", shot_lengths, num_shots, needs_last=True)
    if (lengths <= 0).any():
        shot = int((lengths <= 0).argmax())
        raise InputError(f"shot_lengths of shot {shot} is {lengths[shot]:g}; lengths must be positive")
    z = _standardize(np.log(lengths))
    return z + np.append(z[1:], 0.0)


def _vector(name: str, values: ArrayLike, num_shots: int, needs_last: bool = False) -> Array:
    vector = np.array(values, np.float64)
    if vector.shape != (num_shots,):
        raise InputError(f"{name} has shape {vector.shape}; give one value per shot, ({num_shots},)")
    if not needs_last:
        vector[-1:] = 0.0
    if not np.isfinite(vector).all():
        shot = int((~np.isfinite(vector)).argmax())
        raise InputError(f"{name} of shot {shot} is {vector[shot]}; values must be finite")
    return vector


def _standardize(values: Array) -> Array:
    deviation = values - values.mean() if len(values) else values
    spread = deviation.std() if len(values) else 0.0
    return deviation / spread if spread > NEGLIGIBLE * np.abs(values).max(initial=1.0) else np.zeros_like(values)


def _require(is_valid: bool, name: str, value: float, allowed: str) -> None:
    if not is_valid:
        raise InputError(f"{name} is {value}; give {allowed}")


def _log_sum(values: Array) -> float:
    largest = values.max()
    return float(largest + np.log(np.exp(values - largest).sum()))

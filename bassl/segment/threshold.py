"""Choose the probability from which a shot ends a scene."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bassl.errors import InputError
from bassl.model.scene_posterior import scene_threshold

DEFAULT = 0.5
NEGLIGIBLE = 1e-9  # differences of scores that are rounding


@dataclass(frozen=True)
class Threshold:
    """Which shots end a scene.

    Attributes:
        value: shots at or above it end a scene.
        origin: source of the value, in words.
        num_scenes: if set, the `num_scenes - 1` highest shots end a scene instead, the earlier of equal ones first.
    """

    value: float
    origin: str
    num_scenes: int | None = None

    def select(self, probability: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
        """Return (num_shots,) whether a scene ends with each shot; NaN never does."""
        if self.num_scenes is None:
            return probability >= self.value
        known = np.where(np.isnan(probability), -np.inf, probability)
        selected = np.zeros(len(probability), bool)
        selected[np.argsort(-known, kind="stable")[: self.num_scenes - 1]] = True
        return selected & np.isfinite(known)


def check_threshold(threshold: float | None, num_scenes: int | None) -> None:
    """Raise InputError for values that cannot work, or for both at once."""
    if threshold is not None and num_scenes is not None:
        raise InputError(f"threshold {threshold} and {num_scenes} scenes exclude each other; give one of them")
    if threshold is not None and not 0 <= threshold <= 1:
        raise InputError(f"threshold {threshold} is not between 0 and 1")
    if num_scenes is not None and num_scenes < 1:
        raise InputError(f"a film cannot be cut into {num_scenes} scenes; give 1 or more")


def choose_threshold(
    probability: npt.NDArray[np.float64],
    given: float | None = None,
    num_scenes: int | None = None,
    stored: float | None = None,
    is_calibrated: bool = True,
) -> Threshold:
    """Return the threshold for a film's probabilities (num_shots,).

    In this order: `given`; the highest boundaries for `num_scenes`; the one `stored` with the model; 0.5 for
    calibrated probabilities; else the film's mean plus one standard deviation.

    Raises:
        InputError: as `check_threshold`.
    """
    check_threshold(given, num_scenes)
    decided = np.sort(probability[np.isfinite(probability)])[::-1]
    if given is not None:
        return Threshold(given, "as given")
    if num_scenes is not None:
        possible = min(num_scenes, len(decided) + 1)
        words = f"the highest-scoring boundaries, for {possible} scenes"
        if possible < num_scenes:
            words += f" of the {num_scenes} asked for: there are no more shots"
        return Threshold(float(decided[possible - 2]) if possible > 1 else 1.0, words, possible)
    if stored is not None:
        return Threshold(stored, "chosen on the validation split when the model was fine-tuned")
    if is_calibrated:
        return Threshold(DEFAULT, "the default")
    if not len(decided) or decided[0] - decided[-1] < NEGLIGIBLE:
        return Threshold(1.0, "nothing stands out in this film", num_scenes=1)
    value = min(scene_threshold(probability), float(decided[0]))
    return Threshold(value, "this film's mean score plus one standard deviation")

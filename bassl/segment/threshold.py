"""From which probability on a shot ends a scene, and who says so."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bassl.errors import InputError

DEFAULT = 0.5
SPREADS = 1.0
"""Standard deviations above the film's mean for scores that are no calibrated probability. Tried on the
training-free scores of eleven BBC Planet Earth episodes with two kinds of features: mean F1 0.32 and 0.26,
where the threshold that is best for each episode gives 0.37 and 0.31 (0.5 to 1.25 do about as well, a fixed
0.5 finds nothing)."""


@dataclass(frozen=True)
class Threshold:
    """value: shots at or above it end a scene. origin: where it is from, in words."""

    value: float
    origin: str


def choose_threshold(
    probability: npt.NDArray[np.float64],
    given: float | None = None,
    num_scenes: int | None = None,
    stored: float | None = None,
    is_calibrated: bool = True,
) -> Threshold:
    """The threshold for a film's probabilities (num_shots,), the last of them NaN.

    In this order: the one that is given; the one that cuts into `num_scenes` scenes (fewer where equal
    probabilities cannot be told apart, or shots are); the one `stored` with the model; 0.5 for calibrated
    probabilities; else the film's mean plus a standard deviation.

    Raises:
        InputError: a threshold outside 0..1, fewer than one scene, or both at once.
    """
    if given is not None and num_scenes is not None:
        raise InputError(f"threshold {given} and {num_scenes} scenes cannot both be asked for; give one of them")
    if given is not None:
        if not 0 <= given <= 1:
            raise InputError(f"threshold {given} is not between 0 and 1")
        return Threshold(given, "as given")
    decided = np.sort(probability[np.isfinite(probability)])[::-1]
    if num_scenes is not None:
        value = _for_count(decided, num_scenes)
        return Threshold(value, f"the highest-scoring boundaries, for {_counted(decided, value, num_scenes)}")
    if stored is not None:
        return Threshold(stored, "chosen on the validation split when the model was fine-tuned")
    if is_calibrated:
        return Threshold(DEFAULT, "the default")
    if not len(decided) or decided[0] == decided[-1]:
        return Threshold(1.0, "nothing stands out in this film")
    value = float(decided.mean() + SPREADS * decided.std())
    return Threshold(min(value, float(decided[0])), "this film's mean score plus one standard deviation")


def _counted(decided: npt.NDArray[np.float64], value: float, num_scenes: int) -> str:
    found = int((decided >= value).sum()) + 1
    if found == num_scenes:
        return f"{num_scenes} scenes"
    reason = "there are no more shots" if found == len(decided) + 1 else "the next boundaries score the same"
    return f"{found} of the {num_scenes} scenes that were asked for: {reason}"


def _for_count(decided: npt.NDArray[np.float64], num_scenes: int) -> float:
    if num_scenes < 1:
        raise InputError(f"a film cannot be cut into {num_scenes} scenes; give 1 or more")
    num_boundaries = min(num_scenes - 1, len(decided))
    if num_boundaries == 0:
        return 1.0 if not len(decided) or decided[0] < 1 else float(np.nextafter(1.0, 2.0))
    value = float(decided[num_boundaries - 1])
    if num_boundaries < len(decided) and decided[num_boundaries] == value:  # equal ones: rather too few than too many
        above = decided[decided > value]
        return float(above[-1]) if len(above) else float(np.nextafter(value, 2.0))
    return value

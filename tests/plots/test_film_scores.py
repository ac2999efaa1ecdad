from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bassl.errors import InputError
from bassl.plots.film_scores import checked_scores


def test_shots_at_or_above_the_threshold_are_predicted() -> None:
    scores = checked_scores([0.0, 0.5, 0.49, 1.0], [0, 1, 1, 0])
    assert scores.is_predicted.tolist() == [False, True, False, True]
    assert scores.is_labelled is not None
    assert scores.is_labelled.tolist() == [False, True, True, False]
    assert scores.shots.tolist() == [0, 1, 2, 3]
    assert scores.seconds is None


def test_an_uncertain_label_is_a_scene_end_as_the_benchmark_counts_it() -> None:
    labelled = checked_scores([0.1, 0.2], [-1, 0]).is_labelled
    assert labelled is not None
    assert labelled.tolist() == [True, False]


def test_without_labels_none_are_invented() -> None:
    assert checked_scores([0.1]).is_labelled is None


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"probability": []}, r"probability has shape \(0,\)"),
    ({"probability": [[0.5]]}, r"probability has shape \(1, 1\)"),
    ({"probability": 0.5}, r"probability has shape \(\)"),
    ({"probability": [0.1, np.nan]}, "probability 1 is nan"),
    ({"probability": [0.1, 1.5, -1]}, r"probability 1 is 1.5; give values within 0..1 \(2 are not\)"),
    ({"probability": [0.1], "threshold": float("nan")}, "threshold is nan"),
    ({"probability": [0.1], "label": [0, 1]}, r"label has shape \(2,\) for 1 shots"),
    ({"probability": [0.1], "label": [2]}, "give as many of 1, 0 and -1"),
    ({"probability": [0.1, 0.2], "shot_range": range(3)}, r"shot_range has shape \(3,\) for 2 shots"),
    ({"probability": [0.1, 0.2], "shot_range": [0.0, 1.0]}, "give as many whole numbers"),
    ({"probability": [0.1, 0.2], "shot_range": [5, 5]}, r"shot_range starts \[5, 5\]"),
    ({"probability": [0.1, 0.2], "shot_range": [-1, 0]}, r"shot_range starts \[-1, 0\]"),
    ({"probability": [0.1], "shot_seconds": [0.0, 1.0]}, r"shot_seconds has shape \(2,\) for 1 shots"),
    ({"probability": [0.1], "shot_seconds": [np.inf]}, "finite numbers"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_what_does_not_belong_together_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        checked_scores(**arguments)


def test_refused_inputs_are_fourteen() -> None:
    assert len(REFUSED) == 14

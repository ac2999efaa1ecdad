from __future__ import annotations

import numpy as np
import pytest

from bassl.errors import InputError
from bassl.segment.threshold import choose_threshold

SCORES = np.array([0.1, 0.9, 0.2, 0.6, 0.2, 0.3, np.nan])


def num_scenes(probability, threshold):
    return 1 + int(threshold.select(probability).sum())


def test_the_given_threshold_comes_first_then_the_models_then_a_half():
    assert choose_threshold(SCORES, given=0.4, stored=0.7).value == 0.4
    assert choose_threshold(SCORES, stored=0.7).value == 0.7
    assert choose_threshold(SCORES).value == 0.5


def test_scores_without_calibration_are_cut_a_deviation_above_their_mean():
    decided = SCORES[:-1]
    found = choose_threshold(SCORES, is_calibrated=False)
    assert found.value == pytest.approx(decided.mean() + decided.std())
    assert "mean" in found.origin


@pytest.mark.parametrize("wanted", [1, 2, 3, 4, 5, 6, 7])
def test_as_many_scenes_as_asked_for_also_where_scores_are_equal(wanted):
    threshold = choose_threshold(SCORES, num_scenes=wanted)
    assert threshold.select(SCORES).sum() + 1 == wanted
    assert threshold.origin == f"the highest-scoring boundaries, for {wanted} scenes"


def test_the_highest_boundaries_are_chosen_the_earlier_of_equal_ones_first():
    assert np.flatnonzero(choose_threshold(SCORES, num_scenes=5).select(SCORES)).tolist() == [1, 2, 3, 5]


def test_more_scenes_than_shots_gives_a_scene_per_shot_and_says_why():
    threshold = choose_threshold(SCORES, num_scenes=1000)
    assert threshold.select(SCORES).tolist() == [True] * 6 + [False]
    assert threshold.origin.endswith("for 7 scenes of the 1000 asked for: there are no more shots")


@pytest.mark.parametrize("scores", [np.array([np.nan]), np.array([0.4, 0.4, 0.4, np.nan])])
def test_where_nothing_stands_out_nothing_is_cut(scores):
    assert num_scenes(scores, choose_threshold(scores, is_calibrated=False)) == 1


@pytest.mark.parametrize(("arguments", "message"), [
    ({"given": 1.5}, "between 0 and 1"),
    ({"given": float("nan")}, "between 0 and 1"),
    ({"given": 0.5, "num_scenes": 3}, "exclude each other"),
    ({"num_scenes": 0}, "1 or more"),
])  # fmt: skip
def test_what_cannot_be_is_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        choose_threshold(SCORES, **arguments)

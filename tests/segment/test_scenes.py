from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from bassl.finetune.scenes import scene_ranges
from bassl.segment.scenes import cut_into_scenes
from bassl.segment.threshold import Threshold
from bassl.video.timing import FrameTimes
from tests.segment.models import burst, segmentation


def test_a_scene_ends_with_every_shot_at_or_above_the_threshold_and_with_the_film():
    found = segmentation(probability=(0.1, 0.5, 0.3, 0.7), threshold=0.5)
    assert [[shot.number for shot in scene.shots] for scene in found] == [[0, 1], [2, 3], [4]]
    assert [scene.probability for scene in found] == [0.5, 0.7, None]
    assert [scene.number for scene in found] == [1, 2, 3]
    assert len(found) == 3


def test_scenes_are_those_of_the_metrics():
    rng = np.random.default_rng(0)
    for num_shots in range(1, 40):
        scores = rng.random(num_shots - 1)
        found = segmentation(lengths=[5] * num_shots, probability=scores, threshold=0.5)
        expected = scene_ranges([*(scores >= 0.5), False], keep_trailing=True)
        assert [(scene.shots[0].number, scene.shots[-1].number) for scene in found] == list(
            map(tuple, expected.tolist())
        )


def test_moments_are_exact_at_23_976():
    found = segmentation(lengths=[86400, 24, 1], probability=(0.9, 0.1))
    second = found.scenes[1]
    assert (second.start.frame, second.start.position, second.start.timecode) == (86400, 86400, "01:00:00:00")
    assert second.start.seconds == Fraction(36036, 10)
    assert second.end.timecode == "01:00:01:01"
    assert second.seconds == Fraction(25 * 1001, 24000)


def test_at_a_variable_rate_frames_seconds_and_positions_differ():
    ticks = np.array([0, 40, 80, 200, 240, 280])
    times = FrameTimes(Fraction(25), Fraction(1, 2), 6, ticks, Fraction(1, 1000), 40)
    found = segmentation(lengths=[3, 3], probability=(0.9,), times=times)
    start = found.scenes[1].start
    assert (start.frame, start.position, start.seconds, start.timecode) == (3, 5, Fraction(7, 10), "00:00:00:05")
    assert found.scenes[1].end.seconds == Fraction(1, 2) + Fraction(320, 1000)


def test_scenes_meet_where_a_shot_list_leaves_frames_out():
    whole = segmentation()
    listed = replace(whole.film, frames=np.array([[0, 30], [40, 99], [104, 149], [150, 219], [220, 249]]))
    found = cut_into_scenes(listed, whole.scores, Threshold(0.5, "as given"))
    assert [(scene.start.frame, scene.end.frame) for scene in found.scenes] == [(0, 104), (104, 220), (220, 250)]
    assert [shot.end.frame for shot in found.shots] == [31, 100, 150, 220, 250]


def test_scenes_reach_to_the_films_bounds_where_a_shot_list_does_not():
    whole = segmentation()
    listed = replace(whole.film, frames=np.array([[20, 99], [100, 149], [150, 200]]))
    scores = replace(whole.scores, probability=np.array([0.9, 0.1, np.nan]))
    found = cut_into_scenes(listed, scores, Threshold(0.5, "as given"))
    assert [(scene.start.frame, scene.end.frame) for scene in found.scenes] == [(0, 100), (100, 250)]
    assert [(shot.start.frame, shot.end.frame) for shot in found.shots] == [(20, 100), (100, 150), (150, 201)]
    assert found.scenes[0].start.seconds == 0
    assert found.scenes[-1].end.seconds == found.times.duration


def test_at_a_variable_rate_no_scene_is_without_a_frame_in_an_editor():
    found = burst()
    spans = [(scene.start.position, scene.end.position) for scene in found.scenes]
    assert spans == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 7)]
    assert [scene.start.frame for scene in found.scenes] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("lengths", "probability", "expected"), [
    ([1440], (), "scene 1: 0:00 - 1:00, 1 shot"), ([720, 720], (0.1,), "scene 1: 0:00 - 1:00, 2 shots"),
])  # fmt: skip
def test_a_scene_can_be_printed(lengths, probability, expected):
    assert str(segmentation(lengths=lengths, probability=probability).scenes[0]) == expected


def test_verdicts_compare_scene_ends_with_labels():
    found = replace(segmentation(), labels=np.array([-1, 1, 0, 0, -2], np.int8))
    assert found.verdicts() == ["missed", "hit", None, "false", None]
    assert segmentation().verdicts() == [None] * 5

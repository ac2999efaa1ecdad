from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bassl.errors import InputError
from bassl.labels.findings import WARNING
from bassl.labels.label_files import NO_LABEL
from bassl.labels.snapping import labels_from_spans, snap_to_shots
from bassl.video.timing import FrameTimes

GAPPY = np.array([[0, 9], [10, 19], [30, 39], [40, 60]])  # frames 20 to 29 are in no shot
SHOTS = np.stack([np.arange(6) * 48, np.arange(6) * 48 + 47], axis=1)  # six shots of 2 s at 24 fps
TIMES = FrameTimes(Fraction(24), Fraction(0), 288)


def test_nearest_takes_the_shot_whose_end_is_nearest() -> None:
    snapped = snap_to_shots([9, 10, 14, 15, 29, 50, 1000], GAPPY)
    assert snapped.shots.tolist() == [0, 0, 0, 1, 1, 3, 3]
    assert snapped.distances.tolist() == [0, 1, 5, 4, 10, 10, 940]


def test_containing_takes_the_shot_around_the_frame_or_before_its_gap() -> None:
    assert snap_to_shots([9, 10, 14, 25, 30, 50, 1000], GAPPY, "containing").shots.tolist() == [0, 1, 1, 1, 2, 3, 3]
    assert snap_to_shots([2], np.array([[5, 9]]), "containing").shots.tolist() == [0]


lengths = st.lists(st.tuples(st.integers(0, 5), st.integers(1, 30)), min_size=1, max_size=12)


@given(lengths, st.lists(st.integers(-50, 500), max_size=8))
def test_snapping_agrees_with_a_slow_search(parts: list[tuple[int, int]], ends: list[int]) -> None:
    starts = np.cumsum([gap for gap, _ in parts]) + np.cumsum([0, *(length for _, length in parts[:-1])])
    frames = np.stack([starts, starts + [length - 1 for _, length in parts]], axis=1)
    shots, distances = snap_to_shots(np.array(ends, np.int64), frames)
    assert shots.tolist() == [int(np.argmin(abs(frames[:, 1] - end))) for end in ends]
    assert distances.tolist() == [abs(int(frames[shot, 1]) - end) for shot, end in zip(shots, ends, strict=True)]


@pytest.mark.parametrize(
    ("starts", "ends", "labels"),
    [
        ([0, 96, 192], [95, 191, 287], [0, 1, 0, 1, 0]),
        ([192, 0, 96], [287, 95, 191], [0, 1, 0, 1, 0]),  # in any order
        ([0, 100, 186], [99, 185, 280], [0, 1, 0, 1, 0]),  # off by some frames
        ([48, 144], [95, 287], [1, 1, 1, 0, 0]),  # shot 0 is a title, shot 2 an advertisement
    ],
)
def test_spans_label_the_shots_that_scenes_end_with(starts: list[int], ends: list[int], labels: list[int]) -> None:
    assert labels_from_spans(starts, ends, SHOTS, TIMES, "film")[0].tolist() == [*labels, NO_LABEL]


@pytest.mark.parametrize(
    ("spans", "rate", "text"),
    [
        ([(0, 119), (120, 287)], 12, "1 scene end more than 1 s from any shot's end"),
        ([(0, 97), (98, 287 + 72)], 24, "1 scene end more than 2 s past the film, up to 3 s"),
        ([(0, 47), (48, 96), (97, 98)], 24, "1 scene end at the same shot as another scene's end"),
        ([(0, 95), (90, 287)], 24, "1 scene start before the end of the previous scene"),
    ],
)
def test_spans_that_fit_badly_are_warned_of(spans: list[tuple[int, int]], rate: int, text: str) -> None:
    starts, ends = zip(*spans, strict=True)
    _, findings = labels_from_spans(starts, ends, SHOTS, FrameTimes(Fraction(rate), Fraction(0), 288), "film")
    assert [finding.what for finding in findings if finding.severity == WARNING] == [text]


def test_how_far_ends_moved_counts_none_past_the_film_and_another_films_list_is_refused() -> None:
    _, findings = labels_from_spans([0, 98], [97, 300], SHOTS, TIMES, "film", ", read so")
    text = "2 scenes, read so; ends moved by 2 frames (median), 2 at most, to the nearest shot end"
    assert [finding.what for finding in findings] == [text]
    with pytest.raises(InputError, match="a scene ends at frame 432, the film with frame 287"):
        labels_from_spans([0], [432], SHOTS, TIMES, "film")

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bassl.errors import InputError
from bassl.labels.label_files import NO_LABEL
from bassl.labels.protocols import (
    PROTOCOLS,
    Protocol,
    combine,
    ends_from_first_shots,
    ends_from_last_shots,
    snap_to_shots,
)

FRAMES = np.array([[0, 9], [10, 19], [30, 39], [40, 60]])  # frames 20 to 29 are in no shot


def test_nearest_takes_the_shot_whose_end_is_nearest() -> None:
    snapped = snap_to_shots([9, 10, 14, 15, 29, 50, 1000], FRAMES)
    assert snapped.shots.tolist() == [0, 0, 0, 1, 1, 3, 3]
    assert snapped.distances.tolist() == [0, 1, 5, 4, 10, 10, 940]


def test_containing_takes_the_shot_that_the_frame_is_in_or_the_one_before_a_gap() -> None:
    assert snap_to_shots([9, 10, 14, 25, 30, 50, 1000], FRAMES, "containing").shots.tolist() == [0, 1, 1, 1, 2, 3, 3]
    assert snap_to_shots([2], np.array([[5, 9]]), "containing").shots.tolist() == [0]


def written_out_nearest(end: int, frames: list[list[int]]) -> int:
    best = 0
    for shot, (_, last) in enumerate(frames):
        if abs(last - end) < abs(frames[best][1] - end):
            best = shot
    return best


lengths = st.lists(st.tuples(st.integers(0, 5), st.integers(1, 30)), min_size=1, max_size=12)


def frames_from(parts: list[tuple[int, int]]) -> np.ndarray:
    frames, at = [], 0
    for gap, length in parts:
        frames.append([at + gap, at + gap + length - 1])
        at += gap + length
    return np.array(frames)


@given(lengths, st.lists(st.integers(-50, 500), max_size=8), st.sampled_from(["nearest", "containing"]))
def test_snapping_stays_inside_the_film_and_agrees_with_a_slow_search(
    parts: list[tuple[int, int]], ends: list[int], rule: str
) -> None:
    frames = frames_from(parts)
    shots, distances = snap_to_shots(np.array(ends, np.int64), frames, rule)
    assert len(shots) == len(ends)
    for end, shot, distance in zip(ends, shots, distances, strict=True):
        assert 0 <= shot < len(frames)
        assert distance == abs(frames[shot, 1] - end)
        if rule == "nearest":
            assert shot == written_out_nearest(end, frames.tolist())


@pytest.mark.parametrize(
    ("ends", "frames", "rule"),
    [
        ([1.5], FRAMES, "nearest"),
        ([[1]], FRAMES, "nearest"),
        ([1], FRAMES[0], "nearest"),
        ([1], FRAMES, "far"),
        ([1], np.zeros((0, 2), int), "nearest"),
    ],
)
def test_snapping_refuses_what_is_no_frame_list(ends: list, frames: np.ndarray, rule: str) -> None:
    with pytest.raises(InputError):
        snap_to_shots(ends, frames, rule)


def test_scene_starts_and_scene_ends_say_the_same() -> None:
    assert ends_from_first_shots([0, 3, 7], 10).tolist() == [2, 6]
    assert ends_from_first_shots([0, 3, 7, 10], 10).tolist() == [2, 6]
    assert ends_from_last_shots([6, 2, 9, 2], 10).tolist() == [2, 6, 9]
    for wrong in ([11], [-1], [2.5]):
        with pytest.raises(InputError):
            ends_from_first_shots(wrong, 10)
    with pytest.raises(InputError):
        ends_from_last_shots([10], 10)


VOTES = [[1, 4], [1, 3], [1, 3, 4], [], [1]]


@pytest.mark.parametrize(
    ("protocol", "ends"),
    [
        (Protocol(), [1, 4]),
        (Protocol(annotator=3), []),
        (Protocol("union"), [1, 3, 4]),
        (Protocol("majority", min_annotators=2), [1, 3, 4]),
        (PROTOCOLS["bbc-majority"], [1]),
        (PROTOCOLS["bbc-agree4"], [1]),
        (Protocol("majority", min_annotators=5), []),
    ],
)
def test_annotators_are_heard_as_the_protocol_says(protocol: Protocol, ends: list[int]) -> None:
    labels = combine(VOTES, 6, protocol)
    assert np.flatnonzero(labels == 1).tolist() == ends
    assert labels.tolist()[-1] == NO_LABEL


def test_two_positives_a_boundary() -> None:
    assert combine([[1, 3]], 6, PROTOCOLS["ovsd-both"]).tolist() == [0, 1, 1, 1, 1, NO_LABEL]
    assert combine([[0]], 3, Protocol(mark="both", drop_last=False)).tolist() == [1, 1, 0]


def test_the_last_shot_is_left_out_unless_it_is_wanted() -> None:
    assert combine([[1, 2]], 3, Protocol()).tolist() == [0, 1, NO_LABEL]
    assert combine([[1, 2]], 3, Protocol(drop_last=False)).tolist() == [0, 1, 1]


@given(
    st.integers(1, 20),
    st.lists(st.lists(st.integers(-1, 22), max_size=6), max_size=5),
    st.sampled_from(["single", "union", "majority"]),
    st.integers(0, 5),
    st.integers(1, 5),
    st.sampled_from(["end", "both"]),
    st.booleans(),
)
def test_any_annotations_are_labels_or_an_input_error(
    num_shots: int, votes: list[list[int]], agreement: str, annotator: int, least: int, mark: str, drop: bool
) -> None:
    protocol = Protocol(agreement, annotator, least, mark=mark, drop_last=drop)
    try:
        labels = combine(votes, num_shots, protocol)
    except InputError:
        is_inside = all(0 <= shot < num_shots for ends in votes for shot in ends)
        needed = {"single": annotator + 1, "union": 1, "majority": least}[agreement]
        assert not is_inside or len(votes) < needed
        return
    assert labels.shape == (num_shots,)
    for shot in range(num_shots - drop):
        counts = [sum(at in ends for ends in votes) for at in (shot, shot - 1)]
        heard = {
            "single": [at in votes[min(annotator, len(votes) - 1)] for at in (shot, shot - 1)],
            "union": [count >= 1 for count in counts],
            "majority": [count >= least for count in counts],
        }[agreement]
        assert labels[shot] == (heard[0] or (mark == "both" and heard[1]))


def test_a_protocol_is_told_in_words() -> None:
    assert PROTOCOLS["bbc"].described() == "annotator 0; snap nearest; mark end; label of the last shot left out"
    told = Protocol("majority", min_annotators=1, snap="containing", mark="both", drop_last=False).described()
    assert told == "at least 1 annotator; snap containing; mark both; label of the last shot kept"
    assert PROTOCOLS["bbc-union"].described().startswith("any annotator; ")


def test_settings_that_do_not_exist_are_refused() -> None:
    for wrong in ({"agreement": "most"}, {"snap": "far"}, {"mark": "start"}, {"annotator": -1}, {"min_annotators": 0}):
        with pytest.raises(InputError):
            Protocol(**wrong)
    assert len(PROTOCOLS) == 6

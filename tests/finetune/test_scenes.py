from __future__ import annotations

import numpy as np
import pytest

from bassl.errors import InputError
from bassl.finetune.scenes import frame_iou, recall_within, scene_ranges, shot_iou, symmetric_iou


def boundaries(num_shots: int, *shots: int) -> np.ndarray:
    flags = np.zeros(num_shots, dtype=bool)
    flags[list(shots)] = True
    return flags


def equal_shots(num_shots: int, num_frames: int) -> np.ndarray:
    first = np.arange(num_shots) * num_frames
    return np.stack([first, first + num_frames - 1], axis=1)


def random_film(seed: int, num_shots: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True and predicted boundaries with at least one each, and frames of shots of 1 to 60 frames."""
    rng = np.random.default_rng(seed)
    truth, predicted = rng.random(num_shots) < 0.1, rng.random(num_shots) < 0.2
    truth[rng.integers(num_shots)] = predicted[rng.integers(num_shots)] = True
    last = np.cumsum(rng.integers(1, 60, num_shots)) - 1
    return truth, predicted, np.stack([np.append(0, last[:-1] + 1), last], axis=1)


def loop_scenes(boundary: np.ndarray, keep_trailing: bool) -> list[tuple[int, int]]:
    scenes, first = [], 0
    for shot, ends in enumerate(boundary):
        if ends:
            scenes.append((first, shot))
            first = shot + 1
    if keep_trailing and first < len(boundary):
        scenes.append((first, len(boundary) - 1))
    return scenes


def loop_iou(true: list[tuple[int, int]], predicted: list[tuple[int, int]]) -> float:
    def iou(one: tuple[int, int], other: tuple[int, int]) -> float:
        overlap = max(0, min(one[1], other[1]) - max(one[0], other[0]))
        union = (one[1] - one[0]) + (other[1] - other[0]) - overlap
        return overlap / union if union else float(one == other)

    of_true = [max(iou(scene, other) for other in predicted) for scene in true]
    of_predicted = [max(iou(scene, other) for other in true) for scene in predicted]
    return (sum(of_true) / len(true) + sum(of_predicted) / len(predicted)) / 2


def loop_recall(truth: np.ndarray, predicted: np.ndarray, frames: np.ndarray, max_frames: int) -> float:
    num_found = 0
    for shot in np.flatnonzero(truth):
        for other in range(max(0, shot - 5), min(len(truth), shot + 6)):
            if predicted[other] and abs(frames[other, 1] - frames[shot, 1]) < max_frames:
                num_found += 1
                break
    return num_found / truth.sum()


def test_scenes_end_with_their_boundary_and_the_trailing_one_is_dropped() -> None:
    assert scene_ranges(boundaries(6, 1, 2)).tolist() == [[0, 1], [2, 2]]
    assert scene_ranges(boundaries(6, 1, 2), keep_trailing=True).tolist() == [[0, 1], [2, 2], [3, 5]]
    assert scene_ranges(boundaries(4, 1, 3), keep_trailing=True).tolist() == [[0, 1], [2, 3]]
    assert scene_ranges(boundaries(4)).shape == (0, 2)
    assert scene_ranges(boundaries(4), keep_trailing=True).tolist() == [[0, 3]]


def test_symmetric_iou_has_its_hand_value() -> None:
    # true 0-4, 4-10 against predicted 0-2, 2-10: best of true 2/4, 6/8; best of predicted 2/4, 6/8
    assert symmetric_iou([[0, 4], [4, 10]], [[0, 2], [2, 10]]) == pytest.approx(5 / 8)
    # one true scene of 10 against 0-2 and 2-10: 8/10 for it, 2/10 and 8/10 for them
    assert symmetric_iou([[0, 10]], [[0, 2], [2, 10]]) == pytest.approx((0.8 + 0.5) / 2)


def test_frame_iou_measures_a_scene_from_its_first_to_its_last_frame() -> None:
    # shots of 10 frames; true scene 0..39 (length 39), predicted 0..19 (length 19)
    found = frame_iou(boundaries(6, 3), boundaries(6, 1), equal_shots(6, 10))
    assert found == pytest.approx(19 / 39)


def test_iou_without_predicted_scene_is_zero_and_without_true_one_undefined() -> None:
    frames = equal_shots(4, 10)
    assert frame_iou(boundaries(4, 1), boundaries(4), frames) == 0.0
    assert np.isnan(frame_iou(boundaries(4), boundaries(4, 1), frames))
    assert np.isnan(frame_iou(boundaries(4), boundaries(4), frames))


def test_two_equal_scenes_of_a_single_frame_match() -> None:
    frames = np.array([[0, 0], [1, 9]])
    assert frame_iou(boundaries(2, 0), boundaries(2, 0), frames) == 1.0


@pytest.mark.parametrize("seed", range(4))
def test_iou_in_frames_and_in_shots_equals_the_loops(seed: int) -> None:
    truth, predicted, frames = random_film(seed)
    in_frames, in_shots = (
        [[span(scene) for scene in loop_scenes(flags, keep_trailing)] for flags in (truth, predicted)]
        for span, keep_trailing in (
            (lambda scene: (frames[scene[0], 0], frames[scene[1], 1]), False),
            (lambda scene: (scene[0], scene[1] + 1), True),
        )
    )
    assert frame_iou(truth, predicted, frames) == pytest.approx(loop_iou(*in_frames), rel=1e-12)
    assert shot_iou(truth, predicted) == pytest.approx(loop_iou(*in_shots), rel=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_recall_within_equals_the_loop(seed: int) -> None:
    truth, predicted, frames = random_film(seed)
    found = [recall_within(truth, predicted, frames, limit) for limit in (0, 40, 72, 10_000)]
    assert found == [loop_recall(truth, predicted, frames, limit) for limit in (0, 40, 72, 10_000)]
    assert found[0] < found[-1]


def test_a_predicted_boundary_exactly_at_the_limit_is_not_near() -> None:
    truth, predicted, frames = boundaries(4, 0), boundaries(4, 1), equal_shots(4, 72)
    assert recall_within(truth, predicted, frames, 72) == 0.0
    assert recall_within(truth, predicted, frames, 72.1) == 1.0


def test_a_predicted_boundary_six_shots_away_is_not_near() -> None:
    frames = equal_shots(12, 2)
    assert recall_within(boundaries(12, 0), boundaries(12, 5), frames, 72) == 1.0
    assert recall_within(boundaries(12, 0), boundaries(12, 6), frames, 72) == 0.0
    assert recall_within(boundaries(12, 0), boundaries(12, 11), frames, 72) == 0.0, "not around the end of the film"
    assert np.isnan(recall_within(boundaries(12), boundaries(12, 1), frames, 72))


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match=r"frames has shape \(3, 2\)"):
        frame_iou(boundaries(4, 1), boundaries(4, 1), equal_shots(3, 10))
    with pytest.raises(InputError, match=r"truth \(4,\) and predicted \(5,\) differ"):
        shot_iou(boundaries(4, 1), boundaries(5, 1))
    with pytest.raises(InputError, match="one flag per shot"):
        scene_ranges(np.zeros((2, 2)))
    with pytest.raises(InputError, match="begin and end"):
        symmetric_iou([[0, 1, 2]], [[0, 1]])

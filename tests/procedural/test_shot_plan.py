from __future__ import annotations

from itertools import groupby, pairwise

import numpy as np
import pytest

from bassl.errors import InputError
from bassl.finetune.metrics import average_precision
from bassl.labels.label_files import NO_LABEL
from bassl.prepare.layout import check_shot_frames
from bassl.procedural.shot_plan import MAX_LENGTH, MIN_LENGTH, MIN_SCENE, SCENE_LENGTHS, Film, plan_film


def scene_lengths(film: Film) -> list[int]:
    return [len(list(members)) for _, members in groupby(shot.scene for shot in film.shots)]


@pytest.mark.parametrize("num_shots", [3, 4, 17, 101])
def test_a_film_has_the_requested_shots_in_scenes_of_usual_length(num_shots: int) -> None:
    for seed in range(5):
        film = plan_film(seed, 0, num_shots, 0.5)
        lengths = scene_lengths(film)
        assert len(film.shots) == len(film.frames) == sum(lengths) == num_shots
        assert min(lengths) >= MIN_SCENE
        assert max(lengths) < SCENE_LENGTHS[1] + MIN_SCENE
        check_shot_frames(film.frames, "film")


def test_labels_are_where_the_scene_changes_and_the_last_shot_has_none() -> None:
    film = plan_film(0, 0, 60, 0.5)
    ends = [shot.scene != after.scene for shot, after in pairwise(film.shots)]
    assert film.labels.tolist() == [*map(int, ends), NO_LABEL]
    assert 3 < sum(ends) < 12


def test_views_recur_within_a_scene_only_and_never_in_two_shots_running() -> None:
    film = plan_film(4, 0, 200, 0.5)
    scenes_of_view: dict[int, set[int]] = {}
    for shot in film.shots:
        scenes_of_view.setdefault(shot.view, set()).add(shot.scene)
    assert all(len(scenes) == 1 for scenes in scenes_of_view.values())
    assert len(scenes_of_view) < 0.6 * len(film.shots)
    assert not any(shot.view == after.view for shot, after in pairwise(plan_film(5, 0, 200, 0.0).shots))


def test_a_film_is_a_function_of_seed_and_number() -> None:
    film, again = plan_film(1, 2, 40, 0.3), plan_film(1, 2, 40, 0.3)
    assert (film.shots, film.views, film.frames.tolist()) == (again.shots, again.views, again.frames.tolist())
    assert film.frames[:4].tolist() == [[0, 114], [115, 219], [220, 252], [253, 271]]  # recorded
    assert all(other.shots != film.shots for other in (plan_film(2, 2, 40, 0.3), plan_film(1, 3, 40, 0.3)))


def test_shots_follow_one_another_without_gaps_and_keep_to_the_range_of_lengths() -> None:
    frames = np.concatenate([plan_film(seed, 0, 300, 0.5).frames for seed in range(8)])
    lengths = frames[:, 1] - frames[:, 0] + 1
    assert MIN_LENGTH <= lengths.min() < 20 and 400 < lengths.max() <= MAX_LENGTH
    assert 60 < np.median(lengths) < 70
    film = plan_film(0, 0, 300, 0.5).frames
    assert film[0, 0] == 0
    np.testing.assert_array_equal(film[1:, 0], film[:-1, 1] + 1)


def test_log_lengths_of_two_shots_find_scene_ends_with_twice_the_precision_of_chance() -> None:
    """As on MovieNet's labels: .170 for .081."""
    scores, labels = [], []
    for number in range(60):
        film = plan_film(0, number, 120, 0.5)
        log_length = np.log(film.frames[:, 1] - film.frames[:, 0] + 1)
        z = (log_length - log_length.mean()) / log_length.std()
        scores.append(z[:-1] + z[1:])
        labels.append(film.labels[:-1])
    label = np.concatenate(labels).astype(np.int64)
    assert 1.8 < average_precision(np.concatenate(scores), label) / label.mean() < 2.4


@pytest.mark.parametrize(
    ("seed", "num_shots", "difficulty"), [(-1, 20, 0.5), (0, 2, 0.5), (0, 20, 1.01), (0, 20, -0.1)]
)
def test_invalid_numbers_are_refused(seed: int, num_shots: int, difficulty: float) -> None:
    with pytest.raises(InputError, match="give"):
        plan_film(seed, 0, num_shots, difficulty)

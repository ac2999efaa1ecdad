from __future__ import annotations

from itertools import groupby, pairwise

import numpy as np
import pytest

from bassl.errors import InputError
from bassl.labels.label_files import NO_LABEL
from bassl.prepare.layout import check_shot_frames
from bassl.procedural.screenplay import SCENE_LENGTHS, SHORTEST_SCENE, Film, write_screenplay


def scene_lengths(film: Film) -> list[int]:
    return [len(list(members)) for _, members in groupby(shot.scene for shot in film.shots)]


@pytest.mark.parametrize("num_shots", [3, 4, 7, 17, 100, 101, 102])
def test_a_film_has_the_shots_that_were_asked_for_in_scenes_of_usual_length(num_shots: int) -> None:
    for seed in range(5):
        film = write_screenplay(seed, 0, num_shots, 0.5)
        lengths = scene_lengths(film)
        assert (len(film.shots), len(film.frames), sum(lengths)) == (num_shots, num_shots, num_shots)
        assert min(lengths) >= SHORTEST_SCENE
        assert max(lengths) < SCENE_LENGTHS[1] + SHORTEST_SCENE
        check_shot_frames(film.frames, "film")


def test_labels_are_where_the_scene_changes_and_the_last_shot_has_none() -> None:
    film = write_screenplay(0, 0, 60, 0.5)
    ends = [one.scene != other.scene for one, other in pairwise(film.shots)]
    assert film.labels.tolist() == [*map(int, ends), NO_LABEL]
    assert 3 < sum(ends) < 12


def test_views_come_back_within_a_scene_and_never_in_another() -> None:
    film = write_screenplay(4, 0, 200, 0.5)
    scenes_of_view: dict[int, set[int]] = {}
    again = []
    for number, shot in enumerate(film.shots):
        scenes_of_view.setdefault(shot.view, set()).add(shot.scene)
        again.append(shot.view in [before.view for before in film.shots[:number]])
    assert all(len(scenes) == 1 for scenes in scenes_of_view.values())
    assert np.mean(again) > 0.4


def test_no_shot_shows_the_view_of_the_shot_before() -> None:
    film = write_screenplay(5, 0, 200, 0.0)
    assert not any(one.view == other.view for one, other in pairwise(film.shots))


def test_a_film_is_a_function_of_seed_and_number() -> None:
    one, again = write_screenplay(1, 2, 40, 0.3), write_screenplay(1, 2, 40, 0.3)
    assert (one.shots, one.views, one.frames.tolist()) == (again.shots, again.views, again.frames.tolist())
    others = [write_screenplay(2, 2, 40, 0.3), write_screenplay(1, 3, 40, 0.3)]
    assert all(other.shots != one.shots for other in others)


def test_a_longer_film_begins_otherwise_only_where_its_scenes_differ() -> None:
    short, long = write_screenplay(0, 0, 60, 0.5), write_screenplay(0, 0, 90, 0.5)
    assert scene_lengths(long)[:2] == scene_lengths(short)[:2]


@pytest.mark.parametrize(("seed", "num_shots"), [(-1, 20), (0, 2)])
def test_numbers_that_cannot_work_are_refused(seed: int, num_shots: int) -> None:
    with pytest.raises(InputError, match="give"):
        write_screenplay(seed, 0, num_shots, 0.5)

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bassl.procedural.layout import PATTERNS, SHAPES, Pattern, Placed, Thing
from bassl.procedural.picture import PARTS_OF_SHAPES, REPEATS, Camera, draw_view, second_tone
from bassl.procedural.shot_plan import Film, plan_film


@pytest.fixture(scope="module")
def film() -> Film:
    return plan_film(0, 0, 30, 0.0)


def test_three_key_frames_of_a_shot_have_the_size_and_differ(film: Film) -> None:
    camera = Camera(film, 96, 54)
    for shot in range(10):
        pictures = camera.keyframes(shot)
        assert [(picture.shape, picture.dtype) for picture in pictures] == [((54, 96, 3), np.uint8)] * 3
        for one, other in ((0, 1), (1, 2), (0, 2)):
            assert np.abs(pictures[one].astype(int) - pictures[other]).mean() > 1


def test_key_frames_are_those_recorded_for_their_seed() -> None:
    """Means only: versions of Pillow may round differently."""
    camera = Camera(plan_film(3, 1, 12, 0.5), 64, 36)
    means = [round(float(camera.keyframes(shot)[1].mean())) for shot in range(12)]
    assert means == [92, 98, 74, 100, 78, 126, 90, 82, 119, 121, 67, 125]


def test_a_key_frame_does_not_depend_on_what_was_drawn_before(film: Film) -> None:
    camera = Camera(film, 64, 36)
    in_order = [camera.keyframes(shot) for shot in range(6)][5]
    np.testing.assert_array_equal(Camera(film, 64, 36).keyframes(5), in_order)


def test_shots_of_one_view_look_more_alike_than_those_of_another_scene(film: Film) -> None:
    camera = Camera(film, 64, 36)
    views = [shot.view for shot in film.shots]
    first = next(shot for shot, view in enumerate(views) if view in views[shot + 1 :])
    again = views.index(views[first], first + 1)
    elsewhere = next(n for n, shot in enumerate(film.shots) if shot.scene != film.shots[first].scene)
    one, same, other = (camera.keyframes(shot)[1].astype(int) for shot in (first, again, elsewhere))
    assert np.abs(one - same).mean() < np.abs(one - other).mean()


def test_the_light_of_a_shot_scales_the_channels(film: Film) -> None:
    quiet = replace(film, noise=0.0)
    dark = replace(quiet, shots=tuple(replace(shot, gains=(0.5, 0.25, 0.0)) for shot in film.shots))
    plain = replace(quiet, shots=tuple(replace(shot, gains=(1.0, 1.0, 1.0)) for shot in film.shots))
    expected = Camera(plain, 64, 36).keyframes(0)[1] * np.array([0.5, 0.25, 0.0])
    np.testing.assert_allclose(Camera(dark, 64, 36).keyframes(0)[1], expected, atol=0.51)


@pytest.mark.parametrize("kind", PATTERNS)
def test_a_pattern_has_both_tones_and_recurs_after_two_repeats(kind: str) -> None:
    y, x = np.mgrid[0:1:0.01, 0:1:0.01]
    flat = Pattern(kind, size=0.1, angle=0.0, contrast=0.3)
    tones = second_tone(flat, x + 0.003, y + 0.003)
    assert set(np.unique(tones)) == {0.0, 1.0}
    assert 0.1 < tones.mean() < 0.9
    again = second_tone(flat, x + 0.203, y + (0.303 if kind == "waves" else 0.203))
    assert np.mean(again != tones) < 0.05  # rounding at the edges


def test_every_pattern_is_drawn_in_its_own_way() -> None:
    y, x = np.mgrid[0:1:0.02, 0:1:0.02]
    drawn = [second_tone(Pattern(kind, 0.2, 20.0, 0.3), x, y) for kind in PATTERNS]
    assert len(drawn) == len(REPEATS) == 10
    assert all(np.mean(one != other) > 0.1 for n, one in enumerate(drawn) for other in drawn[:n])


def test_every_shape_leaves_its_colour_in_the_view(film: Film) -> None:
    assert len(SHAPES) == len(PARTS_OF_SHAPES) == 9
    empty = replace(film.views[0], placed=())
    wall = np.asarray(draw_view(empty, 16 / 9, 72))
    drawn = []
    for shape in SHAPES:
        thing = Placed(Thing(shape, 0.4, 1.0), x=0.9, foot=0.6, size=1.0, color=(255, 0, 255))
        image = np.asarray(draw_view(replace(empty, placed=(thing,)), 16 / 9, 72))
        assert (image == (255, 0, 255)).all(-1).sum() > 50, shape
        assert ((image != wall).any(-1)).sum() < 0.2 * wall[..., 0].size
        drawn.append(image)
    assert all((one != other).any() for n, one in enumerate(drawn) for other in drawn[:n])

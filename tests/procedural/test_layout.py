from __future__ import annotations

from dataclasses import asdict

import numpy as np

from bassl.procedural.difficulty import Difficulty
from bassl.procedural.layout import KINDS_OF_VIEW, PARTS, Character, Thing, draw_place, draw_view, draw_world


def test_everything_grows_with_the_difficulty() -> None:
    easy, middle, hard = (asdict(Difficulty.of(number)) for number in (0, 0.5, 1))
    assert len(easy) == 9
    assert all(easy[name] < middle[name] < hard[name] for name in easy)


def test_easy_views_have_the_colours_of_their_place_and_hard_ones_the_films() -> None:
    rng = np.random.default_rng(0)
    world = draw_world(rng)
    for number in (0, 1):
        difficulty = Difficulty.of(number)
        place = draw_place(world, None, difficulty, rng)
        for kind in KINDS_OF_VIEW:
            view = draw_view(place, world, kind, difficulty, rng)
            if number == 0:
                assert (view.palette, view.pattern.angle) == (place.palette, place.pattern.angle)
            else:
                assert all(view.palette[part] in world.colors[part] for part in PARTS)


def test_all_views_of_a_place_share_pattern_objects_and_characters() -> None:
    rng = np.random.default_rng(1)
    world, difficulty = draw_world(rng), Difficulty.of(0.5)
    place = draw_place(world, None, difficulty, rng)
    seen = {}
    for kind in KINDS_OF_VIEW:
        view = draw_view(place, world, kind, difficulty, rng)
        assert view.pattern.kind == place.pattern.kind
        things = [placed.what for placed in view.placed if isinstance(placed.what, Thing)]
        assert len(things) >= 2 and set(things) <= set(place.things)
        seen[kind] = [placed.what for placed in view.placed if isinstance(placed.what, Character)]
    first, second = place.characters
    assert seen == {"wide": [first, second], "first": [first], "second": [second], "cutaway": []}


def test_places_differ_from_the_previous_one_as_far_as_the_difficulty_says() -> None:
    rng = np.random.default_rng(3)
    world = draw_world(rng)
    for number, low, high in ((0, 0, 0), (1, 0.4, 0.6)):
        previous, same_pattern, known = None, [], []
        for _ in range(200):
            place = draw_place(world, previous, Difficulty.of(number), rng)
            known += [character in world.characters for character in place.characters]
            if previous is not None:
                apart = abs(place.hue - previous.hue)
                assert min(apart, 1 - apart) > 0.2
                same_pattern.append(place.pattern.kind == previous.pattern.kind)
            previous = place
        assert low <= np.mean(same_pattern) <= high
        assert abs(np.mean(known) - (0.1 + 0.7 * number)) < 0.1

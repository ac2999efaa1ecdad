from __future__ import annotations

import numpy as np

from bassl.procedural.difficulty import Difficulty
from bassl.procedural.stage import PARTS, Character, Thing, draw_place, draw_view, draw_world


def test_easy_views_of_a_place_have_its_colours_and_hard_ones_the_films() -> None:
    rng = np.random.default_rng(0)
    world = draw_world(rng)
    for number in (0, 1):
        difficulty = Difficulty.of(number)
        place = draw_place(world, None, difficulty, rng)
        for kind in ("wide", "first", "second", "cutaway"):
            palette = draw_view(place, world, kind, difficulty, rng).palette
            if number == 0:
                assert palette == place.palette
            else:
                assert all(palette[part] in world.colors[part] for part in PARTS)


def test_all_views_of_a_place_have_its_pattern_its_objects_and_its_characters() -> None:
    rng = np.random.default_rng(1)
    world, difficulty = draw_world(rng), Difficulty.of(0.5)
    place = draw_place(world, None, difficulty, rng)
    seen = {}
    for kind in ("wide", "first", "second", "cutaway"):
        view = draw_view(place, world, kind, difficulty, rng)
        assert (view.pattern.kind, view.pattern.angle) == (place.pattern.kind, place.pattern.angle)
        things = [placed.what for placed in view.placed if isinstance(placed.what, Thing)]
        assert len(things) >= 2 and set(things) <= set(place.things)
        seen[kind] = [placed.what for placed in view.placed if isinstance(placed.what, Character)]
    first, second = place.characters
    assert seen == {"wide": [first, second], "first": [first], "second": [second], "cutaway": []}


def test_an_easy_place_has_another_hue_and_pattern_than_the_one_before() -> None:
    rng = np.random.default_rng(2)
    world, before = draw_world(rng), None
    for _ in range(30):
        place = draw_place(world, before, Difficulty.of(0), rng)
        if before is not None:
            apart = abs(place.hue - before.hue)
            assert min(apart, 1 - apart) > 0.2
            assert place.pattern.kind != before.pattern.kind
        before = place


def test_hard_places_take_over_half_of_the_patterns_and_most_of_the_cast() -> None:
    rng = np.random.default_rng(3)
    world, before = draw_world(rng), None
    same_pattern, known = [], []
    for _ in range(200):
        place = draw_place(world, before, Difficulty.of(1), rng)
        known += [character in world.characters for character in place.characters]
        if before is not None:
            same_pattern.append(place.pattern.kind == before.pattern.kind)
        before = place
    assert 0.4 < np.mean(same_pattern) < 0.6
    assert 0.7 < np.mean(known) < 0.9

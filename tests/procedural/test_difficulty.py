from __future__ import annotations

from dataclasses import asdict

import pytest

from bassl.errors import InputError
from bassl.procedural.difficulty import Difficulty


def test_everything_grows_with_the_number() -> None:
    easy, middle, hard = (asdict(Difficulty.of(number)) for number in (0, 0.5, 1))
    assert len(easy) == 8
    assert all(easy[name] < middle[name] < hard[name] for name in easy)


def test_an_easy_film_shares_no_colour_and_no_pattern() -> None:
    easy = Difficulty.of(0)
    assert (easy.shared_palette, easy.view_spread, easy.cutaways, easy.shared_motif) == (0, 0, 0, 0)


@pytest.mark.parametrize("number", [-0.1, 1.01, float("nan")])
def test_a_number_outside_0_to_1_is_refused(number: float) -> None:
    with pytest.raises(InputError, match="give a number from 0"):
        Difficulty.of(number)

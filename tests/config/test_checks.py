from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from bassl.config.checks import at_least, one_of, positive, share
from bassl.errors import InputError

REFUSED: list[tuple[Callable[..., Any], tuple[Any, ...], str]] = [
    (one_of, ("config.X", "c", ("a", "b")), "config.X=c is unknown; choose one of a, b"),
    (share, ("config.X", -0.1), "config.X=-0.1 must lie between 0 and 1"),
    (share, ("config.X", 0.6, 0.5), "config.X=0.6 must lie between 0 and 0.5"),
    (share, ("config.X", math.nan), "config.X=nan must lie between 0 and 1"),
    (at_least, ("config.X", 0, 1), "config.X=0 must be at least 1"),
    (at_least, ("config.X", 0, 1, " epoch"), "config.X=0 must be at least 1 epoch"),
    (at_least, ("config.X", math.inf, 0.0), "config.X=inf must be at least 0"),
    (at_least, ("config.X", math.nan, 0.0), "config.X=nan must be at least 0"),
    (positive, ("config.X", 0), "config.X=0 must be a number above 0"),
    (positive, ("config.X", math.inf, "; say less"), "config.X=inf must be a number above 0; say less"),
    (positive, ("config.X", math.nan), "config.X=nan must be a number above 0"),
]


def test_a_value_that_passes_comes_back() -> None:
    assert one_of("config.X", "a", ("a", "b")) == "a"
    assert [share("config.X", value) for value in (0, 0.5, 1)] == [0, 0.5, 1]
    assert [at_least("config.X", value, 1) for value in (1, 10**6)] == [1, 10**6]
    assert [positive("config.X", value) for value in (1e-9, 3)] == [1e-9, 3]


@pytest.mark.parametrize(("check", "arguments", "message"), REFUSED)
def test_a_value_that_fails_is_refused_with_key_value_and_remedy(
    check: Callable[..., Any], arguments: tuple[Any, ...], message: str
) -> None:
    assert len(REFUSED) == 11
    with pytest.raises(InputError) as refusal:
        check(*arguments)
    assert str(refusal.value) == message

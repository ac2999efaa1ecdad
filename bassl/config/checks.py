"""Checks of one value each; every one returns it, or raises InputError with the key, the value and what is allowed."""

from __future__ import annotations

import math
from typing import Any, TypeVar

from bassl.errors import InputError

Number = TypeVar("Number", int, float)


def one_of(key: str, value: Any, choices: tuple[Any, ...]) -> Any:
    """A value out of a list."""
    if value not in choices:
        raise InputError(f"{key}={value} is unknown; choose one of {', '.join(map(str, choices))}")
    return value


def share(key: str, value: float, high: float = 1.0) -> float:
    """A number from 0 to `high`."""
    if not 0 <= value <= high:
        raise InputError(f"{key}={value} must lie between 0 and {high:g}")
    return float(value)


def at_least(key: str, value: Number, low: Number, remark: str = "") -> Number:
    """A finite number from `low` on; `remark` ends the message."""
    if not low <= value < math.inf:
        raise InputError(f"{key}={value} must be at least {low:g}{remark}")
    return value


def positive(key: str, value: Number, remark: str = "") -> Number:
    """A finite number above 0; `remark` ends the message."""
    if not 0 < value < math.inf:
        raise InputError(f"{key}={value} must be a number above 0{remark}")
    return value

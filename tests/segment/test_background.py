from __future__ import annotations

import threading
from contextlib import closing

import pytest

from bassl.segment.background import Abandoned, in_background


def test_items_come_in_order():
    assert list(in_background(iter(range(500)), 3)) == list(range(500))


def test_an_item_that_takes_for_ever_can_see_that_nobody_wants_it():
    is_wanted = threading.Event()

    def items():
        yield 0
        while is_wanted.is_set():
            pass
        raise Abandoned

    results = in_background(items(), 3, is_wanted)
    assert next(results) == 0
    results.close()
    assert not is_wanted.is_set()


def test_nothing_comes_of_nothing():
    assert list(in_background([], 3)) == []


def test_an_error_in_the_thread_is_raised_behind_what_came_before_it():
    def items():
        yield 1
        raise ValueError("from the thread")

    results = in_background(items(), 3)
    assert next(results) == 1
    with pytest.raises(ValueError, match="from the thread"):
        next(results)


def test_no_more_than_agreed_is_made_ahead():
    made: list[int] = []
    reached = threading.Event()

    def items():
        for number in range(100):
            made.append(number)
            if number == 4:
                reached.set()
            yield number

    with closing(in_background(items(), 3)) as results:
        assert next(results) == 0
        assert reached.wait(10)
        assert len(made) == 5  # one used, three waiting, one in hand


def test_the_thread_ends_when_nobody_wants_more():
    before = set(threading.enumerate())
    results = in_background(iter(range(10_000)), 2)
    next(results)
    assert set(threading.enumerate()) != before
    results.close()
    assert set(threading.enumerate()) == before

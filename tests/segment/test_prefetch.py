from __future__ import annotations

import threading
from contextlib import closing

import pytest

from bassl.segment.prefetch import prefetch


def test_items_keep_their_order():
    assert list(prefetch(iter(range(500)), 3)) == list(range(500))


def test_an_error_in_the_thread_is_raised_after_the_items_before_it():
    def items():
        yield 1
        raise ValueError("from the thread")

    results = prefetch(items(), 3)
    assert next(results) == 1
    with pytest.raises(ValueError, match="from the thread"):
        next(results)


def test_at_most_so_many_items_are_made_ahead():
    made: list[int] = []
    reached = threading.Event()

    def items():
        for number in range(100):
            made.append(number)
            if number == 4:
                reached.set()
            yield number

    with closing(prefetch(items(), 3)) as results:
        assert next(results) == 0
        assert reached.wait(10)
        assert len(made) == 5  # one used, three waiting, one in hand


def test_the_thread_ends_with_the_consumer():
    before = set(threading.enumerate())
    results = prefetch(iter(range(10_000)), 2)
    next(results)
    assert set(threading.enumerate()) != before
    results.close()
    assert set(threading.enumerate()) == before

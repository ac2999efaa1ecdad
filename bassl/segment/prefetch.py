"""Produce items in a thread, a few ahead of their use: decoding while the encoder computes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

Item = TypeVar("Item")
POLL = 0.1  # seconds between checks whether the consumer still waits


class Abandoned(Exception):
    """For items to raise in the thread once the consumer has stopped."""


def prefetch(
    items: Iterable[Item], ahead: int, is_wanted: threading.Event | None = None
) -> Generator[Item, None, None]:
    """Yield the same items in the same order, produced in a thread, at most `ahead` of them early.

    An exception in the thread is raised here. When the generator is closed, `is_wanted` is cleared, which items that
    take long may check, and the thread ends with its current item.
    """
    results: queue.Queue[tuple[str, object]] = queue.Queue(maxsize=ahead)
    is_wanted = is_wanted or threading.Event()
    is_wanted.set()

    def put(kind: str, value: object) -> bool:
        while is_wanted.is_set():
            try:
                results.put((kind, value), timeout=POLL)
                return True
            except queue.Full:
                continue
        return False

    def produce() -> None:
        try:
            if all(put("item", item) for item in items):
                put("end", None)
        except BaseException as error:
            put("error", error)

    thread = threading.Thread(target=produce, name="bassl-decode", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = results.get()
            if kind == "end":
                return
            if kind == "error":
                raise value  # type: ignore[misc]
            yield value  # type: ignore[misc]
    finally:
        is_wanted.clear()
        thread.join()

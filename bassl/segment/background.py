"""Work that goes on in a thread while its results are used: decoding, while the encoder computes."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

Item = TypeVar("Item")
PATIENCE = 0.1  # seconds between looks at whether anybody still wants the results


class _Failure:
    def __init__(self, error: BaseException) -> None:
        self.error = error


_END = object()


class Abandoned(Exception):
    """For items to raise in the thread, when they see that nobody wants them any more."""


def in_background(
    items: Iterable[Item], ahead: int, is_wanted: threading.Event | None = None
) -> Generator[Item, None, None]:
    """The same items in the same order, made in a thread, at most `ahead` of them early.

    What goes wrong in the thread is raised here. When the results are no longer wanted (the generator is closed)
    `is_wanted` is cleared, for items that take long to look at, and the thread ends with the item that it is at.
    """
    results: queue.Queue[object] = queue.Queue(maxsize=ahead)
    is_wanted = is_wanted or threading.Event()
    is_wanted.set()

    def put(result: object) -> bool:
        while is_wanted.is_set():
            try:
                results.put(result, timeout=PATIENCE)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not put(item):
                    return
            put(_END)
        except BaseException as error:
            put(_Failure(error))

    thread = threading.Thread(target=work, name="bassl-decode", daemon=True)
    thread.start()
    try:
        while (result := results.get()) is not _END:
            if isinstance(result, _Failure):
                raise result.error
            yield result  # type: ignore[misc]
    finally:
        is_wanted.clear()
        thread.join()

"""Processes that end with the one that started them, however that was ended: no orphan goes on writing."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable

PR_SET_PDEATHSIG = 1  # of Linux's prctl
LIBC = ctypes.CDLL(None)


def end_with_parent() -> None:
    """End this process, one of `multiprocessing`'s, when its parent ends."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch(join: Callable[[], None]) -> None:
        join()
        os._exit(1)

    threading.Thread(target=watch, args=(parent.join,), daemon=True).start()


def tied_to_this_process() -> Callable[[], None] | None:
    """For `subprocess` (preexec_fn): the program is killed when the thread that starts it ends. None but on Linux."""
    return _die_with(os.getpid()) if sys.platform == "linux" else None


def _die_with(parent: int) -> Callable[[], None]:
    def tie() -> None:
        LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it was too late to ask for the signal
            os._exit(1)

    return tie

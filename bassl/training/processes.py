"""Processes that end with the one that started them, however that was ended: no orphan goes on writing."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

PR_SET_PDEATHSIG = 1  # of Linux's prctl
LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
LOOK_EVERY = 2.0  # seconds


def end_with_parent() -> None:
    """End this process, one of `multiprocessing`'s, when its parent ends."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch(join: Callable[[], None]) -> None:
        join()
        os._exit(1)

    threading.Thread(target=watch, args=(parent.join,), daemon=True).start()


def end_with_starter() -> None:
    """End this process, whoever started it, soon after that one, and say so."""
    starter = os.getppid()

    def watch() -> None:
        while os.getppid() == starter:
            time.sleep(LOOK_EVERY)
        sys.stderr.write(f"process {os.getpid()}: the process that started this one has ended, so this one ends\n")
        sys.stderr.flush()
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="end-with-starter").start()


def tied_to_this_process(number: signal.Signals = signal.SIGKILL) -> Callable[[], None] | None:
    """For `subprocess` (preexec_fn): a program gets a signal when the thread that starts it ends. None but on Linux."""
    return _ends_with(os.getpid(), number) if sys.platform == "linux" else None


def _ends_with(parent: int, number: signal.Signals) -> Callable[[], None]:
    def tie() -> None:
        assert LIBC is not None
        LIBC.prctl(PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # it was too late to ask for the signal
            os._exit(1)

    return tie

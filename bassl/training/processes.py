"""Child processes that end with their parent, however that one ended: no orphan keeps writing."""

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
POLL_SECONDS = 2.0


def end_with_parent() -> None:
    """End this process soon after the one that started it, by `multiprocessing` or by any other means."""
    parent, parent_pid = multiprocessing.parent_process(), os.getppid()

    def watch() -> None:
        if parent is not None:
            parent.join()
        else:
            while os.getppid() == parent_pid:
                time.sleep(POLL_SECONDS)
        sys.stderr.write(f"process {os.getpid()} stops: the process that started it has ended\n")
        sys.stderr.flush()
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="end-with-parent").start()


def signal_on_parent_exit(number: signal.Signals | None = None) -> Callable[[], None] | None:
    """Return a `preexec_fn` for `subprocess`: the program gets a signal when the calling thread ends. Linux only.

    Args:
        number: the signal, by default SIGKILL.
    """
    if sys.platform != "linux":
        return None
    libc, parent_pid, wanted = ctypes.CDLL(None), os.getpid(), number or signal.SIGKILL

    def tie() -> None:
        libc.prctl(PR_SET_PDEATHSIG, wanted)
        if os.getppid() != parent_pid:  # the parent ended before the request
            os._exit(1)

    return tie

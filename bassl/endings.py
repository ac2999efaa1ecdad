"""Ends of a command that are no bug: a mistake of the user's, a signal, a full disk, another process that has gone.

Exit status: 0 done, 1 the run could not go on, 2 a mistake of the user's, 75 stopped by a signal and saved, 130
interrupted (training has saved itself). Status 1, 2 and 75 come with one line on stderr; a traceback is a bug.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable, Iterator

from bassl.console import conclude
from bassl.errors import InputError, Preempted, RunError

DISK = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}
    | {errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST}
)


def exit_status(
    work: Callable[[], int], again: str = "the same command goes on", interrupted: str = "interrupted"
) -> int:
    """Do a command's work and return its status; an end that is no bug is told in one sentence.

    again: how to go on after the machine's faults. interrupted: what Ctrl-C is answered with.
    """
    try:
        return work()
    except InputError as error:
        conclude(f"error: {one_line(error)}")
        return 2
    except RunError as error:
        conclude(f"error: {error}")
        return 1
    except Preempted as stop:
        if not is_main_process():
            return 0
        conclude(str(stop))
        return stop.EXIT_STATUS
    except KeyboardInterrupt:
        conclude(interrupted)
        return 130
    except SystemExit as stop:  # by Lightning, which catches Ctrl-C in training
        if not isinstance(stop.__context__, KeyboardInterrupt):
            raise
        conclude(interrupted)
        return 130
    except BrokenPipeError:  # the reader of --help has gone
        sys.stderr.close()
        return 0
    except (OSError, RuntimeError) as error:
        sentence = told(error, again)
        if sentence is None:
            raise
        conclude(f"error: {sentence}")
        return 1


def told(error: Exception, again: str) -> str | None:
    """One sentence about what the machine did to a run, with what to do; None for everything else, a bug of ours."""
    if isinstance(error, OSError) and error.errno in DISK:
        path = next((found.filename for found in _causes(error) if found.filename), "a log of the run")
        return f"{path}: {error.strerror}; what was written before is kept: see to it, and {again}"
    if isinstance(error, RuntimeError) and "gloo/transport" in str(error):
        return f"another process of this run has ended, so this one ends; see what it says, and {again}"
    return None


def one_line(error: InputError) -> str:
    """The message, also of an error that a data worker met: torch wraps that in the worker's traceback."""
    said = str(error).rsplit(f"{InputError.__module__}.{InputError.__name__}: ", 1)[-1]
    return " ".join(said.split())


def is_main_process() -> bool:
    """Whether this is the process that the user started, or a launcher's rank zero on its machine.

    The others end quietly: Lightning takes a status other than 0 of theirs for a crash and kills the rest.
    """
    return os.environ.get("LOCAL_RANK", "0") == "0"


def process_rank() -> int:
    """Rank of this process as its launcher's environment tells it, before a process group exists."""
    return next((int(os.environ[name]) for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK") if name in os.environ), 0)


def _causes(error: BaseException | None) -> Iterator[OSError]:
    while error is not None:
        if isinstance(error, OSError):
            yield error
        error = error.__cause__ or error.__context__

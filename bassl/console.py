"""The command line's two ends: messages on standard error, and exit codes.

Exit codes: 0 done, 1 the run failed, 2 the user made a mistake, 75 stopped by a signal and saved, 130 interrupted
(training has saved itself). Codes 1, 2 and 75 come with one line on stderr. A traceback means a bug.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress

from bassl.errors import InputError, Preempted, RunError

QUIET_LIBRARIES = ("pytorch_lightning", "lightning.pytorch", "lightning_fabric", "lightning.fabric", "tensorboard")
"""Libraries whose messages below warnings are hidden."""
IGNORED_WARNINGS = (
    ".*does not have many workers.*",
    ".*`isinstance\\(treespec, LeafSpec\\)` is deprecated.*",
    ".*The number of training batches.*is smaller than the logging interval.*",
    ".*lr_scheduler.step\\(\\).*before.*optimizer.step\\(\\).*",  # fp16 overflow in the first step
    ".*your dataloader is not resumable.*",  # ours is: see TrainingData.resume_at
    ".*`broadcast_buffers` is deprecated.*",  # older torch does not know its successor
    ".*Total length of .* across ranks is zero.*",  # no validation, or all films extracted
    ".*It is recommended to use `self.log\\(.*sync_dist=True.*",  # logged values are of all ranks already
    ".*You have overridden `transfer_batch_to_device`.*",  # on purpose: see FinetuneModule
)
"""Warnings of torch and Lightning about intended behaviour."""

MACHINE_ERRORS = frozenset(
    {errno.ENOSPC, errno.EFBIG, errno.EROFS, errno.EIO}
    | {errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST}
    | {getattr(errno, "EDQUOT", errno.ENOSPC)}  # Windows has none
)
"""Errors of a disk or of its permissions: no bug of ours."""


def run_command(
    work: Callable[[], int], again: str = "run the same command to resume", interrupted: str = "interrupted"
) -> int:
    """Run a command and return its exit code; expected failures become one line on stderr.

    Args:
        work: the command; returns its exit code.
        again: how to resume after a fault of the machine.
        interrupted: message after Ctrl-C.
    """
    try:
        return work()
    except InputError as error:
        print_final(f"error: {format_error(error)}")
        return 2
    except RunError as error:
        print_final(f"error: {error}")
        return 1
    except Preempted as stop:
        if not is_main_process():
            return 0
        print_final(str(stop))
        return stop.EXIT_STATUS
    except KeyboardInterrupt:
        print_final(interrupted)
        return 130
    except SystemExit as stop:  # Lightning catches Ctrl-C in training and exits
        if not isinstance(stop.__context__, KeyboardInterrupt):
            raise
        print_final(interrupted)
        return 130
    except BrokenPipeError:  # the reader of --help has gone
        sys.stderr.close()
        return 0
    except (OSError, RuntimeError) as error:
        sentence = describe_error(error, again)
        if sentence is None:
            raise
        print_final(f"error: {sentence}")
        return 1


def describe_error(error: Exception, again: str) -> str | None:
    """Describe a fault of the machine and how to resume; None for every other error, which is a bug."""
    if isinstance(error, OSError) and error.errno in MACHINE_ERRORS:
        path = next((cause.filename for cause in _os_errors(error) if cause.filename), "a log of the run")
        return f"{path}: {error.strerror}; files written before are kept: fix this and {again}"
    if isinstance(error, RuntimeError) and "gloo/transport" in str(error):
        return f"another process of this run has ended, so this one stops; see its messages and {again}"
    return None


def _os_errors(error: BaseException | None) -> Iterator[OSError]:
    """Yield an error and its causes, where they are OSErrors."""
    while error is not None:
        if isinstance(error, OSError):
            yield error
        error = error.__cause__ or error.__context__


def format_error(error: InputError) -> str:
    """Return the message on one line; strips the traceback that torch adds to an error of a data worker."""
    message = str(error).rsplit(f"{InputError.__module__}.{InputError.__name__}: ", 1)[-1]
    return " ".join(message.split())


def print_final(text: str) -> None:
    """Print a command's last words on stderr, below any progress bar, which is closed first."""
    tqdm = getattr(sys.modules.get("tqdm"), "tqdm", None)
    with suppress(OSError, ValueError):  # stdout may be closed
        for bar in list(getattr(tqdm, "_instances", ())):
            bar.close()
        sys.stdout.flush()  # where Lightning's bars are
    sys.stderr.write("".join(f"{printable(line)}\n" for line in text.splitlines()))


def printable(text: str) -> str:
    """Replace control characters and undecodable bytes, which break terminals, XML and EDL."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def pluralize(number: int, noun: str) -> str:
    """Return `1 shot`, `1,234 shots`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def is_main_process() -> bool:
    """Return whether the user, or a launcher as local rank zero, started this process.

    The other ranks exit with 0: Lightning takes any other code for a crash and kills the rest.
    """
    return os.environ.get("LOCAL_RANK", "0") == "0"


def process_rank() -> int:
    """Return this process's rank from its launcher's environment, before a process group exists."""
    return next((int(os.environ[name]) for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK") if name in os.environ), 0)


class StandardError(logging.Handler):
    """Write to the current `sys.stderr`, also where it has been replaced since."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        try:
            sys.stderr.write(self.format(record) + "\n")
        except (OSError, ValueError):  # closed, or it cannot encode the line
            self.handleError(record)


def setup_logging(level: int = logging.INFO) -> None:
    """Show log messages from `level` on, of other ranks only errors; a further call changes only the level."""
    level = level if process_rank() == 0 else max(level, logging.ERROR)
    root = logging.getLogger()
    root.setLevel(level)
    for name in QUIET_LIBRARIES:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    for message in IGNORED_WARNINGS:
        warnings.filterwarnings("ignore", message)
    if not any(isinstance(handler, StandardError) for handler in root.handlers):
        root.addHandler(StandardError())

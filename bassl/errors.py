"""Exceptions that commands print without a traceback."""

from __future__ import annotations


class InputError(ValueError):
    """An invalid key, value or file that the user gave: exit code 2.

    The message is one sentence: what is wrong, its value, and what to do.
    """


class RunError(RuntimeError):
    """A failure during a run, such as a NaN loss: exit code 1. The message says what happened, where, what was kept."""


class Preempted(Exception):
    """A run that was stopped by a signal and has saved itself."""

    EXIT_STATUS = 75  # EX_TEMPFAIL: start the same command again, with config.RESUME=true


class Interrupted(Preempted):
    """A run that was stopped by Ctrl-C and has saved itself."""

    EXIT_STATUS = 130

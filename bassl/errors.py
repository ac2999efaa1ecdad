"""How a command ends that users are meant to understand: exceptions that entry points print without a traceback."""

from __future__ import annotations


class InputError(ValueError):
    """Something that the user gave (a key, a file, a value) cannot work.

    The message is one sentence: what is wrong, its value, and what to do about it. Entry points print it
    without a traceback and exit with status 2; everything else that escapes is a bug of ours.
    """


class RunError(RuntimeError):
    """A run cannot go on, for a reason that lies in what happened and not in how it was set up.

    The message says what happened, where, and what was kept. Entry points print it and exit with status 1.
    """


class Preempted(Exception):
    """A run was asked to stop by a signal and has saved itself. Entry points exit with `EXIT_STATUS`."""

    EXIT_STATUS = 75  # EX_TEMPFAIL: start the same command again, with config.RESUME=true


class Interrupted(Preempted):
    """The same by Ctrl-C, with the status of any program that it ends."""

    EXIT_STATUS = 130

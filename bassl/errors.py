"""The one exception that users are meant to see."""

from __future__ import annotations


class InputError(ValueError):
    """Something that the user gave (a key, a file, a value) cannot work.

    The message is one sentence: what is wrong, its value, and what to do about it. Entry points print it
    without a traceback and exit with status 2; everything else that escapes is a bug of ours.
    """

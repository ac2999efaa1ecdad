"""Ends of a run that are neither the user's mistake nor a bug: a disk that takes no more, a process that has gone."""

from __future__ import annotations

import errno
from collections.abc import Iterator

DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EACCES})


def told(error: Exception, job: str) -> str | None:
    """One sentence about such an end of a job, with what to do; None for everything else, which is a bug of ours."""
    again = "the same command goes on" if job == "extract" else "config.RESUME=true goes on"
    if isinstance(error, OSError) and error.errno in DISK:
        path = next((found.filename for found in _causes(error) if found.filename), "a log of the run")
        return f"{path}: {error.strerror}; what was written before is kept: see to it, and {again}"
    if isinstance(error, RuntimeError) and "gloo/transport" in str(error):
        return f"another process of this run has ended, so this one ends; see what it says, and {again}"
    return None


def _causes(error: BaseException | None) -> Iterator[OSError]:
    while error is not None:
        if isinstance(error, OSError):
            yield error
        error = error.__cause__ or error.__context__

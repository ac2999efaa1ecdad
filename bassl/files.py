"""Files that are either whole or not there, and folders that one run at a time writes."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bassl.errors import InputError

log = logging.getLogger(__name__)
TEMPORARY = re.compile(r"\.\d+-[0-9a-f]{8}\..+")  # names that `write_atomically` gives
UNNUMBERED = ("requested and", "inline_container")  # errors of numpy and torch, which leave the system's number out
LONGEST_NAME = 200  # bytes; file systems end at 255, and temporary names are longer than the name
LOCK_PATIENCE = 20.0
"""Seconds to wait for a lock: data workers of a run that was killed hold its locks for some seconds more."""


def write_atomically(path: Path, writer: Callable[[Path], Any]) -> None:
    """Let writer fill a temporary file beside path, then put it in path's place in one step.

    Readers see the old file or the new one, never half of it, also when the machine stops in between. The
    temporary name ends like path's, so `numpy.save` and the like add nothing to it, and starts with a dot, so
    no listing takes a left-over for a result. Missing folders are made.

    Args:
        path: the file to make or to replace.
        writer: writes everything to the path that it is given; when it raises, the temporary file is removed,
            path stays as it was, and the exception goes on; one of a disk that takes no more as an OSError with
            its number and path, whichever library wrote.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}-{secrets.token_hex(4)}.{path.name}")
    try:
        writer(temporary)
        _flush_to_disk(temporary)
        os.replace(temporary, path)
    except BaseException as error:
        number = _system_error(error, temporary)
        temporary.unlink(missing_ok=True)
        if number is not None:
            raise OSError(number, os.strerror(number), str(path)) from error
        raise
    if os.name == "posix":
        _flush_to_disk(path.parent)


def refuse_unwritable(folder: Path, option: str) -> None:
    """Raise InputError where a folder could not be made or written, with the key or option that names another."""
    nearest = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    try:
        if not nearest.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{nearest} is a file")
        with tempfile.TemporaryFile(dir=nearest):  # what may be written is known by writing alone
            pass
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror}); name another {option}") from error


def write_json(path: Path, content: Any) -> None:
    """Write content as indented JSON, by `write_atomically`."""
    text = json.dumps(content, indent=1) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def remove_leftovers(folder: Path) -> None:
    """Remove half-written files that killed runs left in a folder, which no running one may be writing."""
    for path in folder.glob(".*"):
        if TEMPORARY.fullmatch(path.name):
            path.unlink(missing_ok=True)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a file (made if need be) or a folder for this process, which lets go of it when it ends in whatever way.

    Waits up to `LOCK_PATIENCE`. Raises BlockingIOError where another process keeps it.
    """
    import fcntl

    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT, 0o644)
    try:
        deadline, told = time.monotonic() + LOCK_PATIENCE, False
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise
                if not told:
                    log.info("another process holds %s; waiting up to %.0f s for it", path, LOCK_PATIENCE)
                told = True
                time.sleep(0.2)
            except OSError as error:  # a file system without locks
                log.warning("%s cannot be locked (%s); see to it that no other run writes there", path, error.strerror)
                break
        yield
    finally:
        os.close(descriptor)


def _system_error(error: BaseException, temporary: Path) -> int | None:
    """The system's number for an error of writing a file; None for any other error."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno if error.filename in (None, str(temporary)) else None
    if not isinstance(error, (OSError, RuntimeError)) or not any(sign in str(error) for sign in UNNUMBERED):
        return None
    try:
        with temporary.open("ab") as file:  # what stopped the writer stops this as well
            file.write(bytes(1 << 20))
            file.flush()
            os.fsync(file.fileno())
    except OSError as found:
        return found.errno
    return errno.EIO


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, 64 hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()

"""Atomic files, and folders that one run at a time may write."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import secrets
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bassl.errors import InputError

log = logging.getLogger(__name__)
TEMPORARY = re.compile(r"\.\d+-[0-9a-f]{8}\..+")  # names given by `write_atomically`
UNNUMBERED = ("requested and", "inline_container")  # disk errors of numpy and torch, which carry no errno
LONGEST_NAME = 200  # bytes; file systems allow 255, and temporary names are longer than the name
LOCK_PATIENCE = 20.0
"""Seconds to wait for a lock: data workers of a killed run may hold its locks for some seconds more."""
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)  # from a file system without locks


def write_atomically(path: Path, writer: Callable[[Path], Any]) -> None:
    """Write a file under a temporary name beside it, then rename it: readers see the old file or the new one.

    This holds when the machine stops in between. The temporary name keeps the suffix, so `numpy.save` adds none, and
    starts with a dot, so that listings skip left-overs. Missing folders are made.

    Args:
        path: the file to create or replace.
        writer: writes everything to the path that it receives. When it fails, `path` stays as it was. A full disk
            raises OSError with errno and path, whichever library wrote.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}-{secrets.token_hex(4)}.{path.name}")
    try:
        writer(temporary)
        _flush_to_disk(temporary)
        os.replace(temporary, path)
    except BaseException as error:
        number = _disk_errno(error, temporary)
        temporary.unlink(missing_ok=True)
        if number is not None:
            raise OSError(number, os.strerror(number), str(path)) from error
        raise
    if os.name == "posix":
        _flush_to_disk(path.parent)


def write_json(path: Path, content: Any) -> None:
    """Write content as indented JSON, atomically."""
    text = json.dumps(content, indent=1) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def remove_leftovers(folder: Path) -> None:
    """Remove temporary files of killed runs; no running one may be writing the folder."""
    for path in folder.glob(".*"):
        if TEMPORARY.fullmatch(path.name):
            path.unlink(missing_ok=True)


def refuse_unwritable(folder: Path, option: str) -> None:
    """Raise InputError if a folder cannot be made or written; `option` is the key or flag that names another."""
    nearest = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    try:
        if not nearest.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{nearest} is a file")
        with tempfile.TemporaryFile(dir=nearest):  # permissions alone do not tell
            pass
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror}); name another {option}") from error


@contextmanager
def lock_folder(folder: Path, busy: str, name: str = ".lock") -> Iterator[None]:
    """Hold a folder, made if missing, for this process; the lock ends with the process at the latest.

    Waits up to `LOCK_PATIENCE`. Warns and continues on a file system without locks.

    Args:
        folder: what to hold; processes on other machines that share it are kept out where the file system can.
        busy: message of the InputError that is raised when another process keeps it.
        name: the lock file, for folders with several locks.
    """
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / name)
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            log.info("another process holds %s; waiting up to %.0f s for it", folder, LOCK_PATIENCE)
            lock.acquire(timeout=LOCK_PATIENCE, poll_interval=0.2)
    except Timeout as error:
        raise InputError(busy) from error
    except (NotImplementedError, OSError) as error:
        if isinstance(error, OSError) and error.errno not in NO_LOCKS:
            raise
        log.warning("%s cannot be locked (%s); make sure that no other run writes there", folder, error)
    try:
        yield
    finally:
        lock.release()


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _disk_errno(error: BaseException, temporary: Path) -> int | None:
    """Return the errno behind a failed write; None for every other error."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno if error.filename in (None, str(temporary)) else None
    if not isinstance(error, (OSError, RuntimeError)) or not any(sign in str(error) for sign in UNNUMBERED):
        return None
    try:
        with temporary.open("ab") as file:  # whatever stopped the writer stops this as well
            file.write(bytes(1 << 20))
            file.flush()
            os.fsync(file.fileno())
    except OSError as cause:
        return cause.errno
    return errno.EIO


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""Files that are either whole or not there."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any


def write_atomically(path: Path, writer: Callable[[Path], Any]) -> None:
    """Let writer fill a temporary file beside path, then put it in path's place in one step.

    Readers see the old file or the new one, never half of it, also when the machine stops in between. The
    temporary name ends like path's, so `numpy.save` and the like add nothing to it, and starts with a dot, so
    no listing takes a left-over for a result. Missing folders are made.

    Args:
        path: the file to make or to replace.
        writer: writes everything to the path that it is given; when it raises, the temporary file is removed,
            path stays as it was, and the exception goes on.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}-{secrets.token_hex(4)}.{path.name}")
    try:
        writer(temporary)
        _flush_to_disk(temporary)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":
        _flush_to_disk(path.parent)


def write_json(path: Path, content: Any) -> None:
    """Write content as indented JSON, by `write_atomically`."""
    text = json.dumps(content, indent=1) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _flush_to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

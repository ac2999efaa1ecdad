"""Where things lie: default folders, names of runs, and paths as users type them."""

from __future__ import annotations

import os.path
import re
from pathlib import Path
from typing import overload

from bassl.errors import InputError
from bassl.files import LONGEST_NAME

PACKAGE = Path(__file__).resolve().parents[1]
DATA = PACKAGE / "data" / "movienet"
PRETRAINED = PACKAGE / "pretrain" / "ckpt"


@overload
def checked_path(given: str | None, default: Path) -> Path: ...
@overload
def checked_path(given: str | None, default: Path | None) -> Path | None: ...
def checked_path(given: str | None, default: Path | None) -> Path | None:
    """The given path, absolute and with `~` filled in, else the default."""
    return default if given is None else _expanded(given).resolve()


def folder_name(key: str, name: str) -> str:
    """A name that makes a folder of its own on every system; InputError for any other."""
    if not re.fullmatch(r"[\w][\w.+=@ -]*", name) or ".." in name or len(name.encode()) > LONGEST_NAME:
        raise InputError(
            f"{key}={name!r} cannot name a folder; use letters, digits and . _ + - only, at most {LONGEST_NAME}"
        )
    return name


def located(key: str, name_or_path: str, root: Path) -> Path:
    """A run's folder below `root`, or the path itself where the value looks like one and exists."""
    given = _expanded(name_or_path)
    has_slash = os.sep in name_or_path
    if given.is_absolute() or given.suffix == ".ckpt" or (has_slash and os.path.exists(given)):
        return given.resolve()
    if has_slash:
        raise InputError(f"{key}={name_or_path!r} is neither the name of a run nor a path that exists")
    return root / folder_name(key, name_or_path)


def store_name(checkpoint: Path) -> str:
    """Name of the feature store of a model, from where it was `located`: the run's name."""
    return checkpoint.parent.name if checkpoint.suffix == ".ckpt" else checkpoint.name


def _expanded(given: str) -> Path:
    try:
        return Path(given).expanduser()
    except RuntimeError as error:  # ~name of nobody
        raise InputError(f"the path {given!r} cannot be read: {error}") from error

"""The libraries of the `video` extra, and what to say where they are not installed."""

from __future__ import annotations

import logging
import sys
from importlib.util import find_spec
from types import ModuleType

from bassl.errors import InputError

LIBRARIES = ("av", "scenedetect")


class MissingExtra(InputError):
    """A library is not installed, so no film can be read."""


def missing_extra(error: ImportError) -> MissingExtra:
    """What to say where PyAV or PySceneDetect is not installed."""
    return MissingExtra(
        f"video needs {error.name}, which is not installed; in the folder of this repository: pip install -e '.[video]'"
    )


def check_installed() -> None:
    """Look for the libraries without importing them. Raises MissingExtra where one is not there."""
    for name in LIBRARIES:
        if name not in sys.modules and find_spec(name) is None:
            raise missing_extra(ImportError(name=name))


def pyscenedetect() -> ModuleType:
    """The library, quiet. Raises InputError where it is not installed."""
    try:
        import scenedetect
    except ImportError as error:
        raise missing_extra(error) from error
    logging.getLogger("pyscenedetect").setLevel(logging.WARNING)
    return scenedetect

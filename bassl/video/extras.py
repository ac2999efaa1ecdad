"""The libraries of the `video` extra, and what to say where they are not installed."""

from __future__ import annotations

import logging
from types import ModuleType

from bassl.errors import InputError


class MissingExtra(InputError):
    """A library is not installed, so no film can be read."""


def missing_extra(error: ImportError) -> MissingExtra:
    """What to say where PyAV or PySceneDetect is not installed."""
    return MissingExtra(
        f"video needs {error.name}, which is not installed; in the folder of this repository: pip install -e '.[video]'"
    )


def pyscenedetect() -> ModuleType:
    """The library, quiet. Raises InputError where it is not installed."""
    try:
        import scenedetect
    except ImportError as error:
        raise missing_extra(error) from error
    logging.getLogger("pyscenedetect").setLevel(logging.WARNING)
    return scenedetect

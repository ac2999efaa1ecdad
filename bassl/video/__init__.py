"""Read a video file: its shots and their key-frames, in one pass and with little memory.

Reading order: `film_files` (which files are films), `reader` (frames and their times, through PyAV), `timing` and
`timecode` (frames to seconds and back), `cuts` and `transnet` (where shots end), `keyframes` (three key-frames per
shot), `settings` and `shot_list` (how shots are found, or given). This module checks for libraries.
"""

from __future__ import annotations

import logging
import sys
from importlib.util import find_spec
from types import ModuleType

from bassl.errors import InputError

LIBRARIES = ("av", "scenedetect")
"""Of the extra `video`."""


class MissingExtra(InputError):
    """A library is not installed, so no film can be read."""


def missing_extra(error: ImportError) -> MissingExtra:
    """Return the error for PyAV or PySceneDetect not being installed."""
    return MissingExtra(
        f"video needs {error.name}, which is not installed; in the folder of this repository: pip install -e '.[video]'"
    )


def check_installed() -> None:
    """Raise MissingExtra if a library is missing, without importing any."""
    for name in LIBRARIES:
        if name not in sys.modules and find_spec(name) is None:
            raise missing_extra(ImportError(name=name))


def pyscenedetect() -> ModuleType:
    """Return the library with its messages turned off. Raise MissingExtra if it is not installed."""
    try:
        import scenedetect
    except ImportError as error:
        raise missing_extra(error) from error
    logging.getLogger("pyscenedetect").setLevel(logging.WARNING)
    return scenedetect

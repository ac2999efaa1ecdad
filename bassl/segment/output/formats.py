"""The files that a segmentation can be written to, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from bassl.errors import InputError
from bassl.files import write_atomically

if TYPE_CHECKING:
    from bassl.segment.scenes import Segmentation

Writer = Callable[[Path, "Segmentation"], None]


@dataclass(frozen=True)
class Format:
    """A kind of file. file: its name in the film's folder. writer: module and function, imported when used."""

    file: str
    module: str
    function: str
    about: str

    def writer(self) -> Writer:
        """The function that writes it."""
        return getattr(import_module(f"bassl.segment.output.{self.module}"), self.function)


FORMATS = {
    "json": Format("scenes.json", "documents", "write_json", "everything, documented and versioned"),
    "csv": Format("scenes.csv", "tables", "write_scenes", "scenes, in PySceneDetect's columns"),
    "shots": Format("shots.csv", "tables", "write_shots", "shots, likewise, with their probabilities"),
    "html": Format("report.html", "report", "write_report", "key-frames and probabilities, to look at"),
    "edl": Format("scenes.edl", "edl", "write_edl", "CMX 3600, for any editor"),
    "otio": Format("scenes.otio", "editors", "write_otio", "OpenTimelineIO: Resolve, Avid, Premiere, Nuke"),
    "fcpxml": Format("scenes.fcpxml", "editors", "write_fcpxml", "Final Cut Pro, Resolve"),
    "ffmetadata": Format("chapters.txt", "chapters", "write_ffmetadata", "chapters for FFmpeg to put into a file"),
    "vtt": Format("chapters.vtt", "chapters", "write_webvtt", "chapters for web players"),
}
DEFAULT = ("json", "csv", "shots", "html")


def parse_formats(text: str) -> tuple[str, ...]:
    """Names from a comma-separated list; "all" is all of them. Raises InputError for an unknown one."""
    names = [name.strip().lower().lstrip(".") for name in text.split(",") if name.strip()]
    if "all" in names:
        return tuple(FORMATS)
    for name in names:
        if name not in FORMATS:
            raise InputError(f"format {name!r} is unknown; choose of {', '.join(FORMATS)}, or all")
    if not names:
        raise InputError(f"no format is named; choose of {', '.join(FORMATS)}, or all")
    return tuple(dict.fromkeys(names))


def write_formats(segmentation: Segmentation, folder: Path, names: Sequence[str]) -> list[Path]:
    """Write the named files into a folder, each whole or not at all; returns their paths.

    Raises:
        OSError: the folder cannot be written.
        InputError: a format whose library is not installed.
    """
    written = []
    for name in names:
        path = folder / FORMATS[name].file
        write_atomically(path, partial(_write_to, FORMATS[name].writer(), segmentation))
        written.append(path)
    return written


def _write_to(write: Writer, segmentation: Segmentation, path: Path) -> None:
    write(path, segmentation)


def table_of_formats(names: Iterable[str] = FORMATS) -> str:
    """The formats, one a line, for --help."""
    return "\n".join(f"  {name:11} {FORMATS[name].file:14} {FORMATS[name].about}" for name in names)

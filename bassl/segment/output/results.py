"""Formats by name, and a film's folder of results: one owner, one writer at a time, files of one segmentation."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from bassl.errors import InputError
from bassl.files import lock_folder, remove_leftovers, write_atomically
from bassl.segment.output.scenes_json import as_document
from bassl.segment.scenes import Segmentation

CLIPS = "clips"
CLIP = re.compile(r"scene-\d{3,}\.mp4")
WRITE_SECONDS = 10.0
"""Within which a call has written its files. Files that much newer than scenes.json were changed by hand."""


class Format(NamedTuple):
    """A format: file name in the film's folder, module and function of the writer, and a description."""

    file: str
    module: str
    function: str
    about: str


FORMATS = {
    "json": Format("scenes.json", "scenes_json", "write_json", "everything, documented and versioned"),
    "csv": Format("scenes.csv", "tables", "write_scenes", "scenes, in PySceneDetect's columns"),
    "shots": Format("shots.csv", "tables", "write_shots", "shots with their probabilities, in the same columns"),
    "html": Format("report.html", "report", "write_report", "key-frames and probabilities, to look at"),
    "edl": Format("scenes.edl", "editors", "write_edl", "CMX 3600, for any editor"),
    "otio": Format("scenes.otio", "editors", "write_otio", "OpenTimelineIO: Resolve, Avid, Premiere, Nuke"),
    "fcpxml": Format("scenes.fcpxml", "editors", "write_fcpxml", "Final Cut Pro, Resolve"),
    "ffmetadata": Format("chapters.txt", "chapters", "write_ffmetadata", "chapters for FFmpeg to put into a file"),
    "vtt": Format("chapters.vtt", "chapters", "write_webvtt", "chapters for web players"),
}
DEFAULT = ("json", "csv", "shots", "html")
DOCUMENT = FORMATS["json"].file


def parse_formats(text: str) -> tuple[str, ...]:
    """Return the names of a comma-separated list, all for "all". Raise InputError for an unknown one."""
    names = [name.strip().lower().lstrip(".") for name in text.split(",") if name.strip()]
    if "all" in names:
        return tuple(FORMATS)
    unknown = [name for name in names if name not in FORMATS]
    if unknown or not names:
        what = f"format {unknown[0]!r} is unknown" if unknown else "no format is named"
        raise InputError(f"{what}; choose of {', '.join(FORMATS)}, or all")
    return tuple(dict.fromkeys(names))


def table_of_formats() -> str:
    """Return the formats, one per line, for --help."""
    return "\n".join(f"  {name:11} {kind.file:14} {kind.about}" for name, kind in FORMATS.items())


def write_formats(segmentation: Segmentation, folder: Path, names: Sequence[str]) -> list[Path]:
    """Write the named files into a folder, each atomically, and return their paths.

    Raises:
        OSError: if the folder cannot be written.
        InputError: if the library of a format is not installed.
    """
    written = []
    for name in names:
        path = folder / FORMATS[name].file
        module = import_module(f"bassl.segment.output.{FORMATS[name].module}")
        write = getattr(module, FORMATS[name].function)
        write_atomically(path, lambda temporary, write=write: write(temporary, segmentation))  # type: ignore[misc]
        written.append(path)
    return written


def write_results(
    segmentation: Segmentation,
    folder: Path,
    formats: Sequence[str],
    *,
    ffmpeg: str | None = None,
    keep: Sequence[Path] = (),
    show_progress: bool = False,
) -> tuple[list[Path], list[str]]:
    """Write a film's results into its folder; return the files, and the names of files that were removed.

    Files of an earlier call that found other scenes are removed, unless they were changed since. Its clips are removed
    only if new ones are written.

    Args:
        ffmpeg: the program that cuts clips; None cuts none.
        keep: files to leave alone, such as labels.

    Raises:
        InputError: if another process writes there, the folder is another film's, or a clip cannot be cut.
        OSError: if the folder cannot be written.
    """
    with lock_folder(folder, f"another bassl segment is writing to {folder}; wait for it, or name another --output"):
        remove_leftovers(folder)
        remove_leftovers(folder / CLIPS)
        if is_another(segmentation.film.path, folder):
            raise InputError(
                f"{folder} holds the results of {film_of(folder)}, not of {segmentation.film.path}; "
                "name another --output"
            )
        stale = _stale_files(segmentation, folder, formats, keep)
        files = write_formats(segmentation, folder, formats)
        for path in stale:
            path.unlink(missing_ok=True)
        if ffmpeg is not None:
            from bassl.segment.output.clips import write_clips

            clips = write_clips(segmentation, folder / CLIPS, ffmpeg, show_progress)
            for path in (folder / CLIPS).glob("scene-*.mp4"):
                if CLIP.fullmatch(path.name) and path not in clips:
                    path.unlink()
            files += clips
    return files, [path.name for path in stale]


def left_over(written: Sequence[Path], folder: Path) -> list[str]:
    """Return the names of results that an earlier call has written and this one has not."""
    names = {path.name for path in written} | {path.parent.name for path in written}
    ours = [kind.file for kind in FORMATS.values()] + [CLIPS]
    return [name for name in ours if name not in names and (folder / name).exists()]


def film_of(folder: Path) -> Path | None:
    """Return the film whose results lie in a folder, as its scenes.json says, if any."""
    about = _document(folder).get("film")
    path = about.get("path") if isinstance(about, Mapping) else None
    return Path(path) if isinstance(path, str) else None


def is_another(film: Path, folder: Path) -> bool:
    """Whether a folder holds the results of another film."""
    owner = film_of(folder)
    return owner is not None and owner.resolve() != film.resolve()


def _stale_files(segmentation: Segmentation, folder: Path, formats: Sequence[str], keep: Sequence[Path]) -> list[Path]:
    before = _document(folder)
    now = json.loads(json.dumps(as_document(segmentation)))
    if not before or all(before.get(part) == now[part] for part in ("film", "model", "scenes", "shots")):
        return []
    kept = {path.resolve() for path in keep}
    latest = (folder / DOCUMENT).stat().st_mtime + WRITE_SECONDS
    others = [folder / kind.file for name, kind in FORMATS.items() if name not in formats]
    return [path for path in others if path.is_file() and path.stat().st_mtime <= latest and path.resolve() not in kept]


def _document(folder: Path) -> dict[str, Any]:
    """Return the content of scenes.json; empty if there is none, or something else of that name."""
    try:
        document = json.loads((folder / DOCUMENT).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}

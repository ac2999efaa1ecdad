"""A film's folder of results: whose it is, held by one process at a time, and all of it of one cut of the film."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bassl.errors import InputError
from bassl.files import lock_folder, remove_leftovers
from bassl.segment.output.clips import write_clips
from bassl.segment.output.documents import as_document
from bassl.segment.output.formats import FORMATS, write_formats
from bassl.segment.scenes import Segmentation

DOCUMENT = FORMATS["json"].file
CLIPS = "clips"
AT_ONCE = 10.0
"""Seconds in which one call has written its files; what is so much younger than scenes.json was changed by hand."""


@dataclass(frozen=True)
class Written:
    """What a call did to a folder. files: its results. removed: names of files of an earlier cut, which went."""

    files: tuple[Path, ...] = ()
    removed: tuple[str, ...] = ()


def write_results(
    segmentation: Segmentation,
    folder: Path,
    formats: Sequence[str],
    ffmpeg: str | None = None,
    keep: Sequence[Path] = (),
    show_progress: bool = False,
) -> Written:
    """Write a film's results into its folder, with the clips where FFmpeg is given.

    Files of an earlier call on this film that say something else, and that nobody has changed since, are removed; the
    clips of one only where new ones are written. keep: files to leave alone, such as labels.

    Raises:
        InputError: another process writes there, the folder is another film's, or a clip cannot be cut.
        OSError: the folder cannot be written.
    """
    with lock_folder(folder, f"another bassl segment is writing to {folder}; wait for it, or name another --output"):
        remove_leftovers(folder)
        remove_leftovers(folder / CLIPS)
        _check_owner(folder, segmentation.film.path)
        stale = _stale(segmentation, folder, formats, keep)
        files = write_formats(segmentation, folder, formats)
        for path in stale:
            path.unlink(missing_ok=True)
        if ffmpeg is not None:
            files += write_clips(segmentation, folder / CLIPS, ffmpeg, show_progress)
    return Written(tuple(files), tuple(path.name for path in stale))


def left_over(written: Sequence[Path], folder: Path) -> list[str]:
    """Names of results that an earlier call has written and this one has not."""
    names = {path.name for path in written} | {path.parent.name for path in written}
    ours = [kind.file for kind in FORMATS.values()] + [CLIPS]
    return [name for name in ours if name not in names and (folder / name).exists()]


def film_of(folder: Path) -> Path | None:
    """The film whose results lie in a folder, as its scenes.json says; None where there is none."""
    about = _document(folder).get("film")
    path = about.get("path") if isinstance(about, Mapping) else None
    return Path(path) if isinstance(path, str) else None


def is_another(film: Path, folder: Path) -> bool:
    """Whether a folder holds the results of another film."""
    owner = film_of(folder)
    return owner is not None and owner.resolve() != film.resolve()


def _check_owner(folder: Path, film: Path) -> None:
    if is_another(film, folder):
        raise InputError(f"{folder} holds the results of {film_of(folder)}, not of {film}; name another --output")


def _stale(segmentation: Segmentation, folder: Path, formats: Sequence[str], keep: Sequence[Path]) -> list[Path]:
    before = _document(folder)
    now = json.loads(json.dumps(as_document(segmentation)))
    if not before or all(before.get(part) == now[part] for part in ("film", "model", "scenes", "shots")):
        return []
    kept = {path.resolve() for path in keep}
    latest = (folder / DOCUMENT).stat().st_mtime + AT_ONCE
    others = [folder / kind.file for name, kind in FORMATS.items() if name not in formats]
    return [path for path in others if path.is_file() and path.stat().st_mtime <= latest and path.resolve() not in kept]


def _document(folder: Path) -> dict[str, Any]:
    """What is in scenes.json; nothing where there is none, or something else of that name."""
    try:
        found = json.loads((folder / DOCUMENT).read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}

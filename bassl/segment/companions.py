"""The shot list and the labels that belong to a film, found and looked at before anything takes long."""

from __future__ import annotations

import logging
from fractions import Fraction
from pathlib import Path

from bassl.errors import InputError
from bassl.labels.film_names import match_file
from bassl.labels.label_files import read_label_file
from bassl.labels.scene_lists import SceneList, read_scene_list, to_frame
from bassl.video.shot_list import ShotList, has_shot_columns, read_shot_list
from bassl.video.timecode import DROP_FRAME_RATES
from bassl.video.timing import FrameTimes

log = logging.getLogger(__name__)
TABLES = (".csv", ".tsv")


def shots_of(given: Path | None, film: Path, num_films: int) -> ShotList | None:
    """The film's shots, from the given file, or from the one called after the film in the given folder.

    Raises:
        InputError: no such file, a malformed one, or one file for several films.
    """
    if given is None:
        return None
    if given.is_dir():
        found = _called_after(film, given)
        if found is None:
            raise _nothing_for(film, given, "--shots")
        return read_shot_list(found)
    if num_films > 1:
        raise InputError(f"--shots {given} is one file for {num_films} films; give a folder with a file a film")
    return read_shot_list(given)


def labels_of(given: Path | None, film: Path, num_films: int) -> Path | None:
    """The file with the film's labels, likewise; one list of scenes may be of several films.

    Of several films those that have no labels are told, and segmented without.

    Raises:
        InputError: no such file, a malformed one, one of other shots or scenes, times that cannot be, nothing for the
            only film.
    """
    if given is None:
        return None
    path = _called_after(film, given) if given.is_dir() else given
    if path is not None:
        is_shared = path == given and num_films > 1
        if is_shared and (path.suffix.lower() not in TABLES or (path.is_file() and has_shot_columns(path))):
            raise InputError(f"--labels {given} is one film's, for {num_films} films; give a folder with a file a film")
        scenes = look_at_labels(path)
        written = None if scenes is None else named_in(scenes, film)
        if scenes is not None and written is not None:
            _check_times(scenes, written)
        if scenes is None or written is not None:
            return path
    if num_films == 1:
        raise _nothing_for(film, given, "--labels") if path is None else not_named(path, film)
    log.warning("%s: %s has no labels for it; it is not measured", film.name, path or given)
    return None


def look_at_labels(path: Path) -> SceneList | None:
    """Read a label file to see whether it can be read; its scenes where it is a list of scenes.

    Raises:
        InputError: no such file, or a malformed one.
    """
    if not path.is_file():
        raise InputError(f"label file {path} does not exist; give a scene list or a label file")
    if path.suffix.lower() not in TABLES:
        read_label_file(path)
    elif has_shot_columns(path):
        read_shot_list(path)
    else:
        return read_scene_list(path)
    return None


def named_in(scenes: SceneList, film: Path) -> str | None:
    """What the list calls a film, None where it does not. Raises InputError where it gives the film two names."""
    try:
        return match_file(scenes.scenes, film.absolute())
    except InputError as error:
        raise InputError(f"{scenes.path}: {error}") from error


def not_named(path: Path, film: Path) -> InputError:
    """What to say where a list of scenes names other films only."""
    names = ", ".join(list(read_scene_list(path).scenes)[:5])
    return InputError(f"{path} holds no scenes of {film.name}; it names {names[:200]}")


def _check_times(scenes: SceneList, written: str) -> None:
    """Raise InputError for what is wrong with a film's times at any frame rate."""
    for row in scenes.scenes[written]:
        times = FrameTimes(DROP_FRAME_RATES[-1] if ";" in row.start + row.end else Fraction(1000), Fraction(0), 10**15)
        try:
            start, end = (to_frame(text, scenes.unit, times) for text in (row.start, row.end))
        except InputError as error:
            raise InputError(f"{scenes.path}, line {row.line}: {error}") from error
        may_be_midnight = scenes.unit == "timecode" and row.start.count(":") + row.start.count(";") == 3
        if end < start and not may_be_midnight:
            raise InputError(
                f"{scenes.path}, line {row.line}: the scene ends ({row.end}) before it starts ({row.start}); correct it"
            )


def _called_after(film: Path, folder: Path) -> Path | None:
    names = [f"{film.stem}{end}" for end in (".csv", ".txt", "-Scenes.csv", ".scenes.txt")]
    names += [f"{film.name}{end}" for end in (".csv", ".txt", ".scenes.txt")]
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _nothing_for(film: Path, folder: Path, option: str) -> InputError:
    return InputError(f"{option}: {folder} holds no list for {film.name}; call it {film.stem}.csv or {film.stem}.txt")

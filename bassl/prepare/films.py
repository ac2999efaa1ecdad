"""Find a user's films and prepare those that are not done: key-frames, shot files and a list of films."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bassl.console import pluralize
from bassl.dataset.shot_files import read_shot_frames
from bassl.errors import InputError
from bassl.files import write_json
from bassl.labels.film_names import film_name_of, find_collisions, find_film
from bassl.labels.findings import ERROR, NOTE, WARNING, Finding
from bassl.prepare.film import (
    JPEG_QUALITY,
    FilmJob,
    is_done,
    read_record,
    record_times,
    remove_partial_films,
)
from bassl.prepare.layout import Layout
from bassl.prepare.workers import prepare_films
from bassl.video.film_files import SUFFIXES, content_of
from bassl.video.settings import DetectorSettings, ShotSettings
from bassl.video.shot_list import ShotList, read_shot_list

log = logging.getLogger(__name__)
UNLISTED = ("ticks", "time_base", "last_ticks", "content")  # parts of a record that films.json leaves out
FORMAT, VERSION = "bassl-prepare", 1


@dataclass(frozen=True)
class Source:
    """A film file and the name that its film gets."""

    path: Path
    name: str


def find_films(places: Sequence[Path], by_path: bool = False) -> tuple[list[Source], list[Finding]]:
    """Return film files in `places`, sorted by name, and findings about those left out.

    Folders are searched for the usual endings, without hidden files. A file that is named itself may have any ending.
    Files that would share a name are left out. Links to one file are one film, or it could be in train and test.

    Args:
        places: files and folders.
        by_path: name films by their path below the folder instead of their file name.

    Raises:
        InputError: a place does not exist, or there is no film.
    """
    names = {path: name for place in places for path, name in _walk(place, by_path)}
    if not names:
        raise InputError(f"there are no films in {', '.join(map(str, places))} ({' '.join(sorted(SUFFIXES))})")
    findings = _drop_links(names)
    for name, paths in sorted(find_collisions(names).items()):
        text = f"{len(paths)} files would all be this film: {', '.join(paths[:3])}; rename them, "
        findings.append(Finding(ERROR, "films of one name", name, text + "or name films with --name-by path"))
        for path in paths:
            del names[path]
    return [Source(Path(path), name) for path, name in sorted(names.items(), key=lambda item: item[1])], findings


def _walk(place: Path, by_path: bool) -> Iterator[tuple[str, str]]:
    """Yield absolute path and film name of each film in a place."""
    if place.is_file():
        yield os.path.abspath(place), film_name_of(Path(place.name))
    elif not place.is_dir():
        raise InputError(f"{place} does not exist; give film files, or folders of them")
    root = os.path.abspath(place)
    for folder, folders, files in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in sorted(files):
            path = Path(folder, file)
            if path.suffix.lower() in SUFFIXES and not file.startswith("."):
                yield str(path), film_name_of(path.relative_to(root), by_path)


def _drop_links(names: dict[str, str]) -> list[Finding]:
    """Keep one path of each file, no symbolic link if possible, and return notes about the others."""
    kept: dict[tuple[int, int], str] = {}
    findings = []
    for path in sorted(names, key=os.path.islink):  # a stable sort: otherwise the first place wins
        try:
            status = os.stat(path)
        except OSError:  # reported when it is opened
            continue
        first = kept.setdefault((status.st_dev, status.st_ino), path)
        if first != path:
            findings.append(Finding(NOTE, "links", names.pop(path), f"{path} is the file {first}: taken once"))
    return findings


def read_shot_lists(folder: Path, sources: Sequence[Source]) -> tuple[dict[str, ShotList], list[Finding]]:
    """Read the shot lists in `folder` by film: `<film>.txt`, or PySceneDetect's `<film>-Scenes.csv`.

    Raises InputError if there is no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}; give one with a shot list per film")
    names = [source.name for source in sources]
    shots: dict[str, ShotList] = {}
    findings = []
    for path in sorted(path for path in folder.glob("[!.]*") if path.suffix.lower() in (".txt", ".csv")):
        film = find_film(path.stem.removesuffix("-Scenes"), names)
        if film is None:
            continue
        try:
            if film in shots:
                raise InputError(f"{shots[film].path} and {path} both list its shots; remove one")
            shots[film] = read_shot_list(path)
        except InputError as error:
            findings.append(Finding(ERROR, "shot lists", film, str(error)))
    return shots, findings


def check_settings(target: Path, settings: dict[str, Any]) -> None:
    """Record how a data set is made. Raises InputError if it was begun with other settings, or by other means."""
    path = target / ".prepare" / "settings.json"
    settings = {"format": FORMAT, "version": VERSION, **settings}
    if path.is_file():
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            changed = next((key for key in settings if stored.get(key) != settings[key]), None)
        except (OSError, ValueError, AttributeError) as error:
            raise InputError(f"{path} is damaged ({error}); name another folder") from error
        if changed is not None:
            raise InputError(
                f"{target} was prepared with {changed} {_format_setting(stored.get(changed))}, now it is "
                f"{_format_setting(settings[changed])}; name another folder"
            )
        return
    keyframes = Layout.of(target).keyframes
    if any(keyframes.glob("[!.]*")):
        raise InputError(f"{keyframes} holds key-frames that this command did not make; name another folder")
    write_json(path, settings)


def _format_setting(value: Any) -> str:
    """Format a setting for people: `adaptive (threshold 3.0, min_seconds 0.6)`."""
    if not isinstance(value, dict):
        return str(value)
    rest = ", ".join(f"{key} {part}" for key, part in value.items() if key != "name" and part is not None)
    return f"{value.get('name')} ({rest})" if rest else str(value.get("name"))


def prepare_all(
    target: Path,
    sources: Sequence[Source],
    detector: DetectorSettings,
    shots: Mapping[str, ShotList] | None,
    num_processes: int,
    progress_bar: bool = False,
) -> list[Finding]:
    """Prepare the films that are not done and check the others, and return findings.

    Args:
        target: data set to write, locked.
        sources: the films.
        detector: settings of the shot detector.
        shots: known shots by film; None to detect them.
        num_processes: films at a time.
        progress_bar: show progress over frames.

    Raises:
        InputError: the data set was begun with other settings.
        OSError: the disk is full.
    """
    described = ShotSettings(detector).described() if shots is None else {"name": "given"}
    remove_partial_films(target)
    check_settings(target, {"shots": described, "JPEG quality": JPEG_QUALITY})
    jobs, findings = [], list[Finding]()
    for source in sources:
        given = None if shots is None else shots.get(source.name)
        record = None
        if is_done(target, source.name):
            try:
                record = read_record(target, source.name)
            except InputError as error:
                text = f"{error}: it is prepared again"
                findings.append(Finding(WARNING, "damaged records", source.name, text))
        if record is not None:
            findings += _check_done_film(target, source, record, given)
        elif shots is not None and given is None:
            text = f"there is no shot list for {source.path}"
            findings.append(Finding(ERROR, "films that failed", source.name, text))
        else:
            jobs.append(FilmJob(source.path, source.name, target, ShotSettings(detector, given)))
    log.info("%d of %s to prepare", len(jobs), pluralize(len(sources), "film"))
    return [*findings, *prepare_films(jobs, num_processes, progress_bar)]


def _check_done_film(target: Path, source: Source, record: Mapping[str, Any], given: ShotList | None) -> list[Finding]:
    """Report a film that was prepared from another file or with other shots than now."""
    shot_file = Layout.of(target).shots / f"{source.name}.txt"
    hint = f"; to prepare it again, remove {shot_file}"
    findings = []
    # records of earlier versions know the file's size only
    size = source.path.stat().st_size
    if record["bytes"] != size or record.get("content", "") not in ("", content_of(source.path)):
        text = f"{source.path} ({size} bytes) is not the file that it was prepared from ({record['bytes']} bytes){hint}"
        findings.append(Finding(ERROR, "films that have changed", source.name, text))
    if given is not None:
        stored, times = read_shot_frames(shot_file), record_times(record)
        try:
            frames = given.in_film(times)
        except InputError:  # the last shots of a damaged film may be missing
            frames = np.minimum(given.frames[: len(stored)], times.num_frames - 1)
        if not np.array_equal(frames, stored):
            text = f"{given.path} lists other shots ({len(frames)}) than it was prepared with ({len(stored)}){hint}"
            findings.append(Finding(ERROR, "shots that have changed", source.name, text))
    return findings


def prepared_films(target: Path) -> list[str]:
    """Return the films of a data set that are complete, sorted."""
    return sorted(path.stem for path in Layout.of(target).shots.glob("[!.]*.txt") if is_done(target, path.stem))


def write_film_list(target: Path) -> list[Finding]:
    """Write `scene318/meta/films.json`, file, frame rate, frames, shots and size of each film.

    Returns a warning about each film whose record is damaged, which is left out.
    """
    films, findings = {}, []
    for name in prepared_films(target):
        try:
            record = read_record(target, name)
        except InputError as error:
            findings.append(Finding(WARNING, "damaged records", name, str(error)))
            continue
        films[name] = {key: value for key, value in record.items() if key not in UNLISTED}
    write_json(Layout.of(target).split.with_name("films.json"), films)
    return findings

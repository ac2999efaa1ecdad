"""A folder of films into a data set in MovieNet's layout: films, labels, splits, annotations."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bassl.console import pluralize
from bassl.dataset.shot_files import read_shot_frames
from bassl.errors import InputError
from bassl.files import write_atomically
from bassl.labels.film_names import colliding, film_name_of, find_film
from bassl.labels.findings import ERROR, NOTE, WARNING, Finding
from bassl.prepare.film import JPEG_QUALITY, FilmJob, content_of, is_done, read_record, sweep, times_of
from bassl.prepare.layout import Layout
from bassl.prepare.workers import prepare_films
from bassl.video.film_files import SUFFIXES
from bassl.video.settings import DetectorSettings, ShotSettings
from bassl.video.shot_list import ShotList, read_shot_list

log = logging.getLogger(__name__)
UNLISTED = ("ticks", "time_base", "last_ticks", "content")  # of a record; films.json is for people
FORMAT, VERSION = "bassl-prepare", 1


@dataclass(frozen=True)
class Source:
    """A film file and the name that its film gets."""

    path: Path
    name: str


def find_films(places: Sequence[Path], by_path: bool = False) -> tuple[list[Source], list[Finding]]:
    """Film files among and below `places`, by name; those that would get one name are reported and left out.

    Folders are searched for the usual endings, hidden files left out; a file that is named itself may end as it likes.
    Links to one file are one film: in train and in test it would be a leak.
    by_path: name films by their path below the folder, not by their file alone. Raises InputError for a place that
    does not exist, and where there is no film.
    """
    names: dict[str, str] = {}
    for place in places:
        if place.is_dir():
            for folder, folders, files in os.walk(place):
                folders[:] = sorted(name for name in folders if not name.startswith("."))
                for file in sorted(files):
                    path = Path(os.path.abspath(folder), file)
                    if path.suffix.lower() in SUFFIXES and not file.startswith("."):
                        names[str(path)] = film_name_of(path.relative_to(os.path.abspath(place)), by_path)
        elif place.is_file():
            names[os.path.abspath(place)] = film_name_of(Path(place.name))
        else:
            raise InputError(f"{place} does not exist; give film files, or folders of them")
    if not names:
        raise InputError(f"there are no films in {', '.join(map(str, places))} ({' '.join(sorted(SUFFIXES))})")
    found = _drop_links(names)
    for name, sources in sorted(colliding(names).items()):
        text = f"{len(sources)} files would all be this film: {', '.join(sources[:3])}; rename them, "
        found.append(Finding(ERROR, "films of one name", name, text + "or name films with --name-by path"))
        for source in sources:
            del names[source]
    return [Source(Path(path), name) for path, name in sorted(names.items(), key=lambda item: item[1])], found


def _drop_links(names: dict[str, str]) -> list[Finding]:
    """Leave of each file one path, that is no symbolic link where there is such a one; returns notes."""
    first: dict[tuple[int, int], str] = {}
    found = []
    for path in sorted(names, key=os.path.islink):  # otherwise in the order of the places
        try:
            status = os.stat(path)
        except OSError:  # told when it is opened
            continue
        kept = first.setdefault((status.st_dev, status.st_ino), path)
        if kept != path:
            found.append(Finding(NOTE, "links", names.pop(path), f"{path} is the file {kept}: taken once"))
    return found


def read_shot_lists(folder: Path, sources: Sequence[Source]) -> tuple[dict[str, ShotList], list[Finding]]:
    """Shots of the films that have a list in `folder`: `<film>.txt`, or PySceneDetect's `<film>-Scenes.csv`.

    Raises InputError where there is no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}; give one with a shot list a film")
    names = [source.name for source in sources]
    shots: dict[str, ShotList] = {}
    found = []
    for path in sorted(path for path in folder.glob("[!.]*") if path.suffix.lower() in (".txt", ".csv")):
        film = find_film(path.stem.removesuffix("-Scenes"), names)
        if film is None:
            continue
        try:
            if film in shots:
                raise InputError(f"{shots[film].path} and {path} both list its shots; remove one")
            shots[film] = read_shot_list(path)
        except InputError as error:
            found.append(Finding(ERROR, "shot lists", film, str(error)))
    return shots, found


def settle(target: Path, settings: dict[str, Any]) -> None:
    """Write down how the target is prepared, or raise InputError where it was begun otherwise or by somebody else."""
    path = target / ".prepare" / "settings.json"
    mine = {"format": FORMAT, "version": VERSION, **settings}
    if path.is_file():
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{path} is damaged ({error}); name another --target") from error
        stored = stored if isinstance(stored, dict) else {}
        if key := next((key for key in mine if stored.get(key) != mine[key]), None):
            raise InputError(
                f"{target} was prepared with {key} {_told(stored.get(key))}, now it is {_told(mine[key])}; "
                "name another --target"
            )
        return
    keyframes = Layout.of(target).keyframes
    if keyframes.is_dir() and any(not entry.name.startswith(".") for entry in keyframes.iterdir()):
        raise InputError(f"{keyframes} holds key-frames that this command did not make; name another --target")
    text = json.dumps(mine, indent=1) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _told(value: Any) -> str:
    """A setting as people write it: of the shots `adaptive (threshold 3.0, min_seconds 0.6)`."""
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
    """Prepare the films that are not done; returns what went wrong. shots: known shots by film, None to find them.

    Raises InputError for a target that was prepared in another way, OSError when the disk is full.
    """
    described = ShotSettings(detector).described() if shots is None else {"name": "given"}
    sweep(target)
    settle(target, {"shots": described, "JPEG quality": JPEG_QUALITY})
    jobs, found = [], list[Finding]()
    num_done = 0
    for source in sources:
        given = None if shots is None else shots.get(source.name)
        record, odd = _done(target, source.name)
        found += odd
        if record is not None:
            num_done += 1
            found += _check_source(target, source, record)
            if given is not None:
                found += _check_shots(target, source, record, given)
        elif shots is not None and given is None:
            text = f"there is no shot list for {source.path}"
            found.append(Finding(ERROR, "films that failed", source.name, text))
        else:
            jobs.append(FilmJob(source.path, source.name, target, ShotSettings(detector, given)))
    if num_done:
        log.info("%d of %s done already", num_done, pluralize(len(sources), "film"))
    return [*found, *prepare_films(jobs, num_processes, progress_bar)]


def _done(target: Path, name: str) -> tuple[dict[str, Any] | None, list[Finding]]:
    """The record of a film that is done; None for one to prepare, also where its record is damaged, with a warning."""
    if not is_done(target, name):
        return None, []
    try:
        return read_record(target, name), []
    except InputError as error:
        return None, [Finding(WARNING, "damaged records", name, f"{error}: it is prepared again")]


def _check_source(target: Path, source: Source, record: Mapping[str, Any]) -> list[Finding]:
    """Whether a film that is done was prepared from this file. Records of earlier versions know its size only."""
    size = source.path.stat().st_size
    if record["bytes"] == size and record.get("content", "") in ("", content_of(source.path)):
        return []
    text = f"{source.path} is not the file that it was prepared from ({record['bytes']} bytes, "
    text += f"now {size}); " if record["bytes"] != size else "now as many others); "
    return [Finding(ERROR, "films that have changed", source.name, text + _again(target, source))]


def _check_shots(target: Path, source: Source, record: Mapping[str, Any], given: ShotList) -> list[Finding]:
    """Whether a film that is done has the shots of this list."""
    stored = read_shot_frames(Layout.of(target).shots / f"{source.name}.txt")
    times = times_of(record)
    try:
        frames = given.in_film(times)
    except InputError:  # of a damaged film the last shots may be lost
        frames = np.minimum(given.frames[: len(stored)], times.num_frames - 1)
    if np.array_equal(frames, stored):
        return []
    text = f"{given.path} lists other shots ({len(frames)}) than it was prepared with ({len(stored)}); "
    return [Finding(ERROR, "shots that have changed", source.name, text + _again(target, source))]


def _again(target: Path, source: Source) -> str:
    return f"to prepare it again, remove {Layout.of(target).shots / source.name}.txt"


def prepared_films(target: Path) -> list[str]:
    """Films in the target that are whole, sorted."""
    return sorted(path.stem for path in Layout.of(target).shots.glob("[!.]*.txt") if is_done(target, path.stem))


def write_film_list(target: Path) -> list[Finding]:
    """`scene318/meta/films.json`: of each film its file, frame rate, frames, shots and picture size.

    Returns a warning about each film whose record is damaged, which is left out.
    """
    films, found = {}, []
    for name in prepared_films(target):
        try:
            record = read_record(target, name)
        except InputError as error:
            found.append(Finding(WARNING, "damaged records", name, str(error)))
            continue
        films[name] = {key: value for key, value in record.items() if key not in UNLISTED}
    text = json.dumps(films, indent=1) + "\n"
    path = Layout.of(target).split.with_name("films.json")
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
    return found

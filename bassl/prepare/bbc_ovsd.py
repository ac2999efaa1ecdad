"""BBC Planet Earth, OVSD and their like into annotations: `python3 -m bassl.prepare.bbc_ovsd --protocol bbc ...`.

Shot lists and scene annotations as the data sets come, one text file a film, become shot files, label files and
annotations, under a named protocol. Key-frames come from the films: `bassl prepare FILMS --shots ... --labels ...`.
"""

from __future__ import annotations

import argparse
import logging
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bassl.console import pluralize
from bassl.errors import InputError
from bassl.labels.film_names import colliding, safe_film_name
from bassl.labels.findings import ERROR, NOTE, Finding
from bassl.labels.label_files import write_label_file
from bassl.labels.protocols import (
    AGREEMENTS,
    MARKS,
    PROTOCOLS,
    SNAPS,
    IntArray,
    Protocol,
    combine,
    ends_from_first_shots,
    ends_from_last_shots,
    snap_to_shots,
)
from bassl.prepare.layout import Layout, alone, write_shot_file
from bassl.prepare.movienet import build_annotations
from bassl.prepare.options import EXIT, add_split_options, chosen_splits, finish
from bassl.prepare.splits import write_split_file
from bassl.video.shot_list import read_shot_list

log = logging.getLogger(__name__)
FORMS = ("auto", "first", "last", "frames")
SETTINGS = ("agreement", "annotator", "min_annotators", "snap", "mark")


def read_scene_file(path: Path, frames: IntArray, form: str = "auto", snap: str = "nearest") -> tuple[IntArray, int]:
    """Shots that scenes end with, (E,), by one annotator, and the most frames that an end was moved by.

    Forms: "first", shot numbers that scenes begin with, separated by commas, spaces or lines (BBC's files); "last",
    those that they end with; "frames", a line a scene with first and last frame (OVSD's). "auto": two numbers on every
    line are frames; else a list with 0 and without the last shot is "first", one with the last shot and without 0
    "last". `frames` is (num_shots, 2).

    Raises InputError for anything else, a form that cannot be told, and shots outside the film.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"scene file {path} cannot be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise InputError(f"scene file {path} is no text ({error.reason}); give numbers") from error
    rows = [re.split(r"[\s,;]+", line.strip(" \t,;")) for line in text.splitlines() if line.strip(" \t,;")]
    for number, row in enumerate(rows, 1):
        if wrong := next((field for field in row if not re.fullmatch(r"\d{1,11}", field, re.ASCII)), None):
            raise InputError(f"{path}, row {number}: {wrong[:40]!r} is no shot or frame number; correct it")
    if not rows:
        raise InputError(f"scene file {path} holds no scenes; leave the film out")
    numbers = np.asarray([int(field) for row in rows for field in row], dtype=np.int64)
    form = _form(path, rows, numbers, len(frames)) if form == "auto" else form
    if form == "frames":
        if any(len(row) != 2 for row in rows):
            raise InputError(f"{path} has lines of other than two numbers; give first and last frame of a scene")
        pairs = numbers.reshape(-1, 2)
        if (pairs[:, 1] < pairs[:, 0]).any():
            raise InputError(f"{path} has a scene that ends before it starts; correct it")
        snapped = snap_to_shots(pairs[:, 1], frames, snap)
        return np.unique(snapped.shots), int(snapped.distances.max())
    try:
        read = ends_from_first_shots if form == "first" else ends_from_last_shots
        return read(numbers, len(frames)), 0
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _form(path: Path, rows: Sequence[Sequence[str]], numbers: IntArray, num_shots: int) -> str:
    if len(rows) > 1 and all(len(row) == 2 for row in rows):
        return "frames"
    has_first, has_last = 0 in numbers, num_shots - 1 in numbers
    if has_first == has_last:
        raise InputError(f"{path} may list the first shots of scenes or the last; say which with --form")
    return "first" if has_first else "last"


def convert(
    target: Path,
    shots: Path,
    annotators: Sequence[Path],
    protocol: Protocol,
    form: str = "auto",
) -> tuple[list[str], list[Finding]]:
    """Write shot and label files of every film with a shot list in `shots`; returns the films and what was odd.

    annotators: a folder each, with a file a film called like its shot list. A film whose files cannot be read, or that
    an annotator lacks, is left out and reported. Raises InputError where no film is left.
    """
    layout = Layout.of(target)
    lists = _text_files(shots)
    scenes = [_text_files(folder) for folder in annotators]
    films, found = [], []
    for film, path in sorted(lists.items()):
        if not any(film in of_one for of_one in scenes):
            found.append(Finding(ERROR, "films without scenes", film, "has no scene file: left out"))
            continue
        try:
            frames = read_shot_list(path).frames
            if missing := [str(annotators[row]) for row, of_one in enumerate(scenes) if film not in of_one]:
                raise InputError(f"{missing[0]} has no scene file for it")
            read = [read_scene_file(of_one[film], frames, form, protocol.snap) for of_one in scenes]
            labels = combine([ends for ends, _ in read], len(frames), protocol)
        except InputError as error:
            found.append(Finding(ERROR, "films left out", film, f"{error}: left out"))
            continue
        moved = max(distance for _, distance in read)
        if moved:
            found.append(Finding(NOTE, "scene ends snapped", film, f"moved by {pluralize(moved, 'frame')} at most"))
        write_label_file(layout.labels / f"{film}.txt", labels)
        write_shot_file(layout.shots / f"{film}.txt", frames)
        films.append(film)
    if not films:
        reason = f"; the first: {found[0].about}: {found[0].what}" if found else ""
        raise InputError(f"no film of {shots} could be converted{reason}")
    return films, found


def _text_files(folder: Path) -> Mapping[str, Path]:
    if not folder.is_dir():
        raise InputError(f"there is no folder {folder}; name one with a text file a film")
    paths = sorted(path for path in folder.glob("[!.]*.txt") if path.is_file())
    names = {str(path): safe_film_name(path.stem) for path in paths}
    if not names:
        raise InputError(f"{folder} holds no .txt files; name a folder with a text file a film")
    if clash := colliding(names):
        name, sources = next(iter(clash.items()))
        raise InputError(f"{' and '.join(sources[:2])} would both be the film {name}; rename one")
    return {names[str(path)]: path for path in paths}


def _annotator_folders(given: Sequence[Path]) -> list[Path]:
    """The folders themselves, or, of a single one without text files, those in it."""
    if len(given) == 1 and given[0].is_dir() and not any(given[0].glob("[!.]*.txt")):
        inside = sorted(path for path in given[0].iterdir() if path.is_dir() and not path.name.startswith("."))
        return inside or list(given)
    return list(given)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    arguments = _parser().parse_args(argv)
    return finish(lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> list[Finding]:
    changes = {name: getattr(arguments, name) for name in SETTINGS if getattr(arguments, name) is not None}
    protocol = replace(PROTOCOLS[arguments.protocol], **changes, drop_last=not arguments.keep_last)
    log.info("protocol %s: %s", arguments.protocol, protocol.described())
    layout = Layout.of(arguments.target)
    with alone(arguments.target):
        annotators = _annotator_folders(arguments.scenes)
        films, found = convert(arguments.target, arguments.shots, annotators, protocol, arguments.form)
        splits, odd = chosen_splits(arguments, films, shares=None)
        splits = splits or {"test": films}
        write_split_file(layout.split, splits)
        built = build_annotations(layout, splits)
    rows = ", ".join(f"{name} {count}" for name, count in built.rows.items() if count)
    log.info("%s, %s; rows: %s", pluralize(len(films), "film"), pluralize(len(annotators), "annotator"), rows)
    return [*found, *odd, *built.findings]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m bassl.prepare.bbc_ovsd",
        description="Turn shot lists and scene files of BBC Planet Earth, OVSD and such into annotations.",
        epilog=EXIT,
    )
    add = parser.add_argument
    add("--protocol", choices=sorted(PROTOCOLS), required=True, help="see docs/data.md")
    add(
        "--shots",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="first and last frame a line, a file a film",
    )
    add(
        "--scenes",
        type=Path,
        required=True,
        nargs="+",
        metavar="FOLDER",
        help="scene files, a folder an annotator",
    )
    add("--target", type=Path, required=True, metavar="FOLDER", help="the data set")
    add("--form", choices=FORMS, default="auto", help="scene files list first or last shots, or frames")
    group = parser.add_argument_group("settings", "in place of the protocol's")
    group.add_argument("--agreement", choices=AGREEMENTS)
    group.add_argument("--annotator", type=int, metavar="K", help="counted from 0")
    group.add_argument("--min-annotators", type=int, metavar="N", help="that have to agree")
    group.add_argument("--snap", choices=SNAPS)
    group.add_argument("--mark", choices=MARKS)
    group.add_argument("--keep-last", action="store_true", help="label each film's last shot too")
    add_split_options(parser, "default: all films are for test")
    return parser


if __name__ == "__main__":
    sys.exit(main())

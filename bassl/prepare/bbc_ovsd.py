"""BBC Planet Earth, OVSD and their like into annotations: `python3 -m bassl.prepare.bbc_ovsd --protocol bbc ...`.

Shot lists and scene files as the data sets come, one text file per film, become shot files, label files and
annotations under a named protocol. docs/data.md lists what each paper did. Key-frames come from the films:
`bassl prepare FILMS --shots ... --labels ...`.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bassl.console import pluralize
from bassl.errors import InputError
from bassl.labels.film_names import find_collisions, safe_film_name
from bassl.labels.findings import ERROR, EXIT_STATUS, NOTE, Finding, run_and_report
from bassl.labels.label_files import NO_LABEL, Labels, write_label_file
from bassl.labels.snapping import SNAPS, IntArray, snap_to_shots
from bassl.prepare.layout import Layout, lock_target, write_shot_file
from bassl.prepare.movienet import build_annotations
from bassl.prepare.splits import add_split_options, choose_splits, write_split_file
from bassl.video.shot_list import read_shot_list
from bassl.video.tables import Row, parse_whole, read_table

log = logging.getLogger(__name__)
AGREEMENTS = ("single", "union", "majority")
MARKS = ("end", "both")
FORMS = ("auto", "first", "last", "frames")
SETTINGS = ("agreement", "annotator", "min_annotators", "snap", "mark")


@dataclass(frozen=True)
class Protocol:
    """How scene annotations become labels.

    Attributes:
        agreement: "single" (one annotator), "union" (any annotator) or "majority" (`min_annotators` of them).
        annotator: number of the single annotator, from 0.
        min_annotators: how many have to agree in a majority.
        snap: rule that assigns frames to shots, see `snap_to_shots`.
        mark: "end" labels the shot that a scene ends with, "both" also the next one.
        drop_last: leave out the label of the last shot, which no shot follows.
    """

    agreement: str = "single"
    annotator: int = 0
    min_annotators: int = 1
    snap: str = "nearest"
    mark: str = "end"
    drop_last: bool = True

    def __post_init__(self) -> None:
        """Raise InputError for settings that cannot work."""
        assert self.agreement in AGREEMENTS and self.snap in SNAPS and self.mark in MARKS, self
        if self.annotator < 0 or self.min_annotators < 1:
            raise InputError(
                f"annotator {self.annotator} with min_annotators {self.min_annotators} cannot work; "
                "annotators are numbered from 0, and at least one has to agree"
            )

    @property
    def num_needed(self) -> int:
        """Annotators that the protocol asks for."""
        return {"single": self.annotator + 1, "union": 1, "majority": self.min_annotators}[self.agreement]

    def __str__(self) -> str:
        """Describe the settings for people."""
        majority = f"at least {pluralize(self.min_annotators, 'annotator')}"
        who = {"single": f"annotator {self.annotator}", "union": "any annotator", "majority": majority}[self.agreement]
        return f"{who}; snap {self.snap}; mark {self.mark}; last shot {'unlabelled' if self.drop_last else 'labelled'}"


PROTOCOLS: dict[str, Protocol] = {
    "bbc": Protocol(),
    "bbc-union": Protocol(agreement="union"),
    "bbc-majority": Protocol(agreement="majority", min_annotators=3),
    "bbc-agree4": Protocol(agreement="majority", min_annotators=4),  # TranS4mer
    "ovsd": Protocol(snap="nearest"),
    "ovsd-both": Protocol(snap="nearest", mark="both"),  # TranS4mer: two positives per boundary
}


def combine_annotators(annotators: Sequence[IntArray], num_shots: int, protocol: Protocol) -> Labels:
    """Return a film's labels, (num_shots,), from the shots at which each annotator lets scenes end.

    Raises InputError if the protocol asks for more annotators than there are.
    """
    if len(annotators) < protocol.num_needed:
        raise InputError(
            f"the protocol ({protocol}) needs {pluralize(protocol.num_needed, 'annotator')}, there are "
            f"{len(annotators)}; choose another"
        )
    votes = np.zeros((len(annotators), num_shots), dtype=bool)
    for row, ends in enumerate(annotators):
        votes[row, ends] = True
    is_end: NDArray[np.bool_] = votes.sum(axis=0) >= protocol.num_needed
    if protocol.agreement == "single":
        is_end = votes[protocol.annotator].copy()
    if protocol.drop_last:
        is_end[-1] = False  # the film's end is not a boundary, so its neighbour is not marked
    if protocol.mark == "both":
        is_end[1:] |= is_end[:-1].copy()
    labels = is_end.astype(np.int8)
    if protocol.drop_last:
        labels[-1] = NO_LABEL
    return labels


def read_scene_file(path: Path, frames: IntArray, form: str = "auto", snap: str = "nearest") -> tuple[IntArray, int]:
    """Return the shots that one annotator's scenes end with, (E,), and the most frames that an end was moved by.

    Args:
        path: the file.
        frames: (num_shots, 2) first and last frame of each shot.
        form: "first", shots that scenes begin with (BBC's files); "last", shots that they end with; "frames", a line
            per scene with first and last frame (OVSD's). "auto" takes two numbers on every line for frames, a list
            with shot 0 and without the last for "first", one with the last and without shot 0 for "last".
        snap: see `snap_to_shots`.

    Raises:
        InputError: anything else, an ambiguous form, or shots outside the film.
    """
    rows = [_numbers(path, row) for row in read_table(path, "scene file")]
    numbers = np.array([number for row in rows for number in row], np.int64)
    if not len(numbers):
        raise InputError(f"scene file {path} holds no scenes; leave the film out")
    num_shots = len(frames)
    form = _detect_form(path, rows, numbers, num_shots) if form == "auto" else form
    if form == "frames":
        if any(len(row) != 2 or row[1] < row[0] for row in rows):
            raise InputError(f"{path} has a line that is not the first and last frame of a scene; correct it")
        snapped = snap_to_shots(numbers[1::2], frames, snap)
        return np.unique(snapped.shots), int(snapped.distances.max())
    # a list of first shots may close with the number of shots
    if numbers.max() >= num_shots + (form == "first"):
        raise InputError(f"{path}: shot {numbers.max()} lies outside the film of {num_shots} shots; correct it")
    if form == "first":
        numbers = numbers[(numbers > 0) & (numbers < num_shots)] - 1
    return np.unique(numbers), 0


def _numbers(path: Path, row: Row) -> list[int]:
    texts = [text for field in row.fields for text in field.split()]
    numbers = [parse_whole(text) for text in texts]
    if None in numbers:
        wrong = texts[numbers.index(None)]
        raise InputError(f"{path}, line {row.line}: {wrong[:40]!r} is not a shot or frame number; correct it")
    return [number for number in numbers if number is not None]


def _detect_form(path: Path, rows: Sequence[Sequence[int]], numbers: IntArray, num_shots: int) -> str:
    if len(rows) > 1 and all(len(row) == 2 for row in rows):
        return "frames"
    has_first, has_last = 0 in numbers, num_shots - 1 in numbers
    if has_first == has_last:
        raise InputError(f"{path} may list the first shots of scenes or the last; say which with --form")
    return "first" if has_first else "last"


def convert(
    target: Path, shots: Path, annotators: Sequence[Path], protocol: Protocol, form: str = "auto"
) -> tuple[list[str], list[Finding]]:
    """Write shot and label files of every film with a shot list, and return the films and findings.

    A film whose files cannot be read, or that an annotator lacks, is left out and reported.

    Args:
        target: data set to write.
        shots: folder with a shot list per film.
        annotators: a folder each, with a scene file per film.
        protocol: how annotations become labels.
        form: see `read_scene_file`.

    Raises:
        InputError: no film is left.
    """
    layout = Layout.of(target)
    scenes = [_text_files(folder) for folder in annotators]
    films, findings = [], []
    for film, path in sorted(_text_files(shots).items()):
        try:
            frames = read_shot_list(path).frames
            if missing := [str(folder) for folder, files in zip(annotators, scenes, strict=True) if film not in files]:
                raise InputError(f"there is no scene file for it in {missing[0]}")
            read = [read_scene_file(files[film], frames, form, protocol.snap) for files in scenes]
            labels = combine_annotators([ends for ends, _ in read], len(frames), protocol)
        except InputError as error:
            findings.append(Finding(ERROR, "films left out", film, f"{error}: left out"))
            continue
        if moved := max(distance for _, distance in read):
            text = f"moved by {pluralize(moved, 'frame')} at most"
            findings.append(Finding(NOTE, "scene ends snapped", film, text))
        write_label_file(layout.labels / f"{film}.txt", labels)
        write_shot_file(layout.shots / f"{film}.txt", frames)
        films.append(film)
    if not films:
        raise InputError(f"no film of {shots} could be converted; the first: {findings[0].about}: {findings[0].what}")
    return films, findings


def _text_files(folder: Path) -> Mapping[str, Path]:
    """Map the film names of a folder's text files to these. Raises InputError without any, or if two share one."""
    paths = [path for path in sorted(folder.glob("[!.]*.txt")) if path.is_file()]
    if not paths:
        raise InputError(f"{folder} is not a folder with text files; name one with a text file per film")
    names = {str(path): safe_film_name(path.stem) for path in paths}
    if collisions := find_collisions(names):
        name, sources = next(iter(collisions.items()))
        raise InputError(f"{' and '.join(sources[:2])} would both be the film {name}; rename one")
    return {names[str(path)]: path for path in paths}


def _annotator_folders(given: Sequence[Path]) -> list[Path]:
    """Return the folders, or those inside a single one that has no text files itself."""
    if len(given) == 1 and given[0].is_dir() and not any(given[0].glob("[!.]*.txt")):
        inside = sorted(path for path in given[0].iterdir() if path.is_dir() and not path.name.startswith("."))
        return inside or list(given)
    return list(given)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    arguments = _parser().parse_args(argv)
    return run_and_report(lambda: _run(arguments))


def _run(arguments: argparse.Namespace) -> list[Finding]:
    changes = {name: getattr(arguments, name) for name in SETTINGS if getattr(arguments, name) is not None}
    protocol = replace(PROTOCOLS[arguments.protocol], **changes, drop_last=not arguments.keep_last)
    log.info("protocol %s: %s", arguments.protocol, protocol)
    layout = Layout.of(arguments.output)
    with lock_target(arguments.output):
        annotators = _annotator_folders(arguments.scenes)
        films, findings = convert(arguments.output, arguments.shots, annotators, protocol, arguments.form)
        splits, split_findings = choose_splits(arguments, films, shares=None)
        splits = splits or {"test": films}
        write_split_file(layout.split, splits)
        built = build_annotations(layout, splits)
    rows = ", ".join(f"{name} {count}" for name, count in built.rows.items() if count)
    log.info("%s, %s; rows: %s", pluralize(len(films), "film"), pluralize(len(annotators), "annotator"), rows)
    return [*findings, *split_findings, *built.findings]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m bassl.prepare.bbc_ovsd",
        description="Turn shot lists and scene files of BBC Planet Earth, OVSD and such into annotations.",
        epilog=EXIT_STATUS,
    )
    add = parser.add_argument
    add("--protocol", choices=sorted(PROTOCOLS), required=True, help="see docs/data.md")
    add("--shots", type=Path, required=True, metavar="FOLDER", help="first and last frame per line, a file per film")
    text = "scene files, a folder per annotator"
    add("--scenes", type=Path, required=True, nargs="+", metavar="FOLDER", help=text)
    add("--output", "--target", type=Path, required=True, metavar="FOLDER", help="the data set")
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

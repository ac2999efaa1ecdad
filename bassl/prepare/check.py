"""`bassl check-data FOLDER`: report what is missing, unreadable or inconsistent in a data set before a long run.

Exit status: 0 no errors (there may be warnings and notes), 1 errors, 2 the check itself was impossible.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bassl.console import pluralize, printable, run_command
from bassl.dataset.shot_files import read_shot_frames
from bassl.errors import InputError
from bassl.labels.findings import ERROR, NOTE, SEVERITIES, WARNING, Finding, has_errors, text_lines
from bassl.labels.label_files import read_label_file
from bassl.prepare import checks
from bassl.prepare.checks import AnnotationFile, read_annotation_file
from bassl.prepare.keyframe_files import FilmInspection, inspect_film, list_film_folders
from bassl.prepare.layout import ANNOTATION_NAMES, SPLIT_NAMES, Layout, check_shot_frames
from bassl.prepare.splits import fit_splits, read_split_file

DEFAULT = Path(__file__).resolve().parents[1] / "data" / "movienet"


@dataclass
class Report:
    """The outcome of a check.

    Attributes:
        data: the data set.
        counts: films, shots, positive and uncertain labels by annotation file.
        keyframes: totals over all films.
        findings: what was found.
        seconds: how long it took.
    """

    data: Path
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    keyframes: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, severity: str, kind: str, about: object, what: str) -> None:
        """Record a finding."""
        self.findings.append(Finding(severity, kind, str(about), what))

    def as_text(self) -> str:
        """Format the report for people: table, findings, verdict."""
        lines = [f"{'split':<14}{'films':>8}{'shots':>10}{'scene ends':>12}{'uncertain':>11}{'share':>9}"]
        for name, count in self.counts.items():
            ends = count["positive"] + count["uncertain"]
            share = f"{100 * ends / count['shots']:.2f} %" if name != "pretrain" else "-"
            columns = f"{count['films']:>8}{count['shots']:>10}{count['positive']:>12}{count['uncertain']:>11}"
            lines.append(f"{name:<14}{columns}{share:>9}")
        if totals := self.keyframes:
            counts = (pluralize(totals["films"], "film"), pluralize(totals["shots"], "shot"))
            missing = pluralize(totals["missing"], "file")
            broken = f"{totals['broken']} of {totals['looked_at']} looked at broken"
            lines.append(f"key-frames: {', '.join(counts)}, {missing} missing, {broken}")
        lines += text_lines(self.findings)
        severities = [finding.severity for finding in self.findings]
        verdict = ", ".join(pluralize(severities.count(severity), severity) for severity in SEVERITIES)
        lines.append(printable(f"{self.data}: {verdict} in {self.seconds:.0f} s"))
        return "\n".join(lines) + "\n"

    def as_json(self) -> dict[str, Any]:
        """Return the report for programs; docs/data.md has its format."""
        return {
            "format": "bassl-check",
            "version": 1,
            "data": str(self.data),
            "splits": self.counts,
            "keyframes": self.keyframes,
            "findings": [finding._asdict() for finding in self.findings],
            "seconds": round(self.seconds, 3),
        }


def check_data(
    layout: Layout,
    num_sampled: int | None = None,
    decode: bool = False,
    jobs: int = 1,
    stores: Sequence[Path] | None = None,
    progress_bar: bool = False,
) -> Report:
    """Check a data set.

    Args:
        layout: where its parts lie.
        num_sampled: shots per film whose key-frames are opened, see `inspect_film`.
        decode: decode key-frames instead of reading their headers.
        jobs: number of processes.
        stores: feature stores, by default those in the data set.
        progress_bar: show progress over key-frame folders.

    Raises:
        InputError: there is nothing to check.
    """
    began = time.monotonic()
    report = Report(layout.root)
    if not any(place.is_dir() for place in (layout.annotations, layout.keyframes, layout.shots)):
        raise InputError(f"{layout.root} holds no anno, 240P_frames or scene318; name the data set's folder")

    # 1. read annotations, key-frame folders and shot files
    with _start_workers(jobs) as pool:
        files = _read_annotations(layout, report, pool)
        pretrain = {film for file in files if file.name == "pretrain" for film in file.rows.films}
        labelled = {film for file in files if file.name != "pretrain" for film in file.rows.films}
        films = pretrain | labelled
        digits = _shot_id_digits(files, report)
        inspect = partial(inspect_film, layout.keyframes, num_sampled=num_sampled, decode=decode)
        inspections = _inspect_keyframes(layout, digits, inspect, pool=pool, report=report, progress_bar=progress_bar)
    lengths = _read_shot_files(layout, sorted(films), report)
    keyframe_lengths = {film: found.num_shots for film, found in inspections.items() if found.num_shots}

    # 2. compare them
    for file in files:
        report.findings += checks.check_lengths(file, lengths, "its shot file")
        report.findings += checks.check_lengths(file, keyframe_lengths, "its key-frames")
    for film in sorted(set(lengths) & set(keyframe_lengths)):
        if lengths[film] != keyframe_lengths[film]:
            text = f"{lengths[film]} shots in its shot file, key-frames for {keyframe_lengths[film]}"
            report.add(ERROR, "key-frames and shot file differ", film, text)
    report.findings += checks.check_num_shot(files, {**keyframe_lengths, **lengths})
    _check_labels(layout, files, report)

    # 3. feature stores, and films that have neither features nor key-frames
    folders = _find_stores(layout.features) if stores is None else stores
    stored, store_findings = checks.check_stores(folders, files, lengths or keyframe_lengths, layout.root)
    report.findings += store_findings
    if layout.keyframes.is_dir():
        report.findings += checks.check_keyframes(inspections, pretrain, labelled, stored)
    elif pretrain or not labelled <= stored:
        report.add(ERROR, "no key-frames", layout.keyframes, "does not exist, and no stored features replace it")
    _check_numbers(layout, films, report)
    report.seconds = time.monotonic() - began
    return report


def _start_workers(jobs: int) -> Executor:
    return ThreadPoolExecutor(1) if jobs == 1 else ProcessPoolExecutor(jobs, mp_context=get_context("spawn"))


def _read_annotations(layout: Layout, report: Report, pool: Executor) -> list[AnnotationFile]:
    existing = [name for name in ANNOTATION_NAMES if layout.annotation_file(name).is_file()]
    kind = "missing annotations"
    if not existing:
        report.add(ERROR, kind, layout.annotations, "holds no anno.*.ndjson; see docs/data.md")
    if existing == ["pretrain"]:
        report.add(NOTE, kind, layout.annotations, "holds no labels: it is for pre-training only")
    else:
        for name in ANNOTATION_NAMES:
            if name not in existing:
                severity = WARNING if name in ("pretrain", "train", "test") else NOTE
                report.add(severity, kind, layout.annotation_file(name), "does not exist")
    jobs = {name: pool.submit(read_annotation_file, layout.annotation_file(name), name) for name in existing}
    files = []
    for name, job in jobs.items():
        try:
            files.append(job.result())
        except (InputError, OSError) as error:
            report.add(ERROR, "unreadable annotations", f"anno.{name}.ndjson", str(error))
        else:
            report.counts[name] = files[-1].counts()
    return files


def _shot_id_digits(files: Iterable[AnnotationFile], report: Report) -> dict[str, int]:
    """Return the width of each film's shot ids, which key-frames are named with."""
    digits: dict[str, int] = {}
    for file in files:
        for film, width in zip(file.rows.films, file.rows.digits.tolist(), strict=True):
            if digits.setdefault(film, width) != width:
                text = f"shot_id has {pluralize(width, 'digit')} in anno.{file.name}, {digits[film]} elsewhere"
                report.add(ERROR, "digits of shot_id", film, text)
    return digits


def _inspect_keyframes(
    layout: Layout,
    digits: dict[str, int],
    inspect: Callable[[str, int | None], FilmInspection],
    pool: Executor,
    report: Report,
    progress_bar: bool,
) -> dict[str, FilmInspection]:
    """Inspect the folders of annotated films, or all without annotations."""
    if not layout.keyframes.is_dir():
        return {}
    folders = set(list_film_folders(layout.keyframes))
    if digits and (rest := folders - set(digits)):
        text = f"{len(rest)} of {pluralize(len(folders), 'folder')} without a row, such as {min(rest)}: not inspected"
        report.add(NOTE, "folders without rows", layout.keyframes, text)
    wanted = sorted(set(digits) & folders if digits else folders)
    jobs = [pool.submit(inspect, film, digits.get(film)) for film in wanted]
    done = tqdm(as_completed(jobs), "key-frames", len(jobs), unit="film", disable=not progress_bar, smoothing=0)
    inspections = sorted((job.result() for job in done), key=lambda inspection: inspection.film)
    report.keyframes = {
        "films": len(inspections),
        "shots": sum(inspection.num_shots for inspection in inspections),
        "missing": sum(len(found.listing.missing()) for found in inspections if found.listing is not None),
        "looked_at": sum(inspection.num_opened for inspection in inspections),
        "broken": sum(inspection.num_broken for inspection in inspections),
    }
    return {inspection.film: inspection for inspection in inspections}


def _read_shot_files(layout: Layout, films: Sequence[str], report: Report) -> dict[str, int]:
    lengths = {}
    for film in films:
        path = layout.shots / f"{film}.txt"
        if path.is_file():
            try:
                frames = read_shot_frames(path)
                lengths[film] = len(frames)
                check_shot_frames(frames, film)
            except InputError as error:
                report.add(ERROR, "shot files", film, str(error))
    return lengths


def _check_labels(layout: Layout, files: Iterable[AnnotationFile], report: Report) -> None:
    labels = {file.name: file.labels() for file in files if file.name != "pretrain"}
    splits = {name: labels[name] for name in SPLIT_NAMES if name in labels}
    films = {film for labelled in labels.values() for film in labelled}
    listed = None
    if layout.split.is_file():
        try:
            listed = fit_splits(read_split_file(layout.split), films)[0]
        except InputError as error:
            report.add(ERROR, "split file", layout.split, str(error))
    report.findings += checks.check_splits(splits, listed)
    report.findings += checks.check_positives(report.counts, splits)
    label_files = {}
    for film in sorted(films):
        path = layout.labels / f"{film}.txt"
        if path.is_file():
            try:
                label_files[film] = read_label_file(path)
            except InputError as error:
                report.add(ERROR, "label files", film, str(error))
    for rows in [labels["trainvaltest"]] if "trainvaltest" in labels else splits.values():
        report.findings += checks.check_labels(rows, label_files)


def _find_stores(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("[!.]*") if path.is_dir())


def _check_numbers(layout: Layout, films: set[str], report: Report) -> None:
    if not layout.numbers.is_file():
        report.add(NOTE, "vid2idx", layout.numbers, "does not exist")
        return
    try:
        numbers = json.loads(layout.numbers.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        report.add(WARNING, "vid2idx", layout.numbers, f"cannot be read ({error})")
        return
    if not isinstance(numbers, dict) or len(set(map(str, numbers.values()))) < len(numbers):
        report.add(WARNING, "vid2idx", layout.numbers, "does not give every film its own number")
    elif missing := films - set(numbers):
        text = f"lacks {pluralize(len(missing), 'film')}, such as {min(missing)}"
        report.add(WARNING, "vid2idx", layout.numbers, text)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    arguments = _parser().parse_args(argv)
    return run_command(lambda: _check(arguments))


def _check(arguments: argparse.Namespace) -> int:
    places = {name: getattr(arguments, name) for name in ("annotations", "keyframes", "shots")}
    given = {name: path for name, path in places.items() if path is not None}
    layout = replace(Layout.of(arguments.folder), **given)
    for option, value, smallest in (("--jobs", arguments.jobs, 1), ("--sample", arguments.sample, 0)):
        if value is not None and value < smallest:
            raise InputError(f"{option} {value} cannot work; give {smallest} or more")
    try:
        report = check_data(
            layout,
            num_sampled=arguments.sample,
            decode=arguments.decode,
            jobs=arguments.jobs,
            stores=arguments.features,
            progress_bar=sys.stderr.isatty(),
        )
    except OSError as error:
        raise InputError(f"{error}; correct this, and check again") from error
    sys.stdout.write(json.dumps(report.as_json(), indent=1) + "\n" if arguments.json else report.as_text())
    has_warnings = any(finding.severity == WARNING for finding in report.findings)
    return int(has_errors(report.findings) or (arguments.strict and has_warnings))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bassl check-data",
        description="Report what is missing, unreadable or inconsistent in a data set, before a long run does.",
        epilog="exit status: 0 no errors, 1 errors, 2 the check was impossible",
    )
    add = parser.add_argument
    add("folder", type=Path, nargs="?", default=DEFAULT, help="the data set; default: bassl/data/movienet")
    add("--annotations", type=Path, metavar="FOLDER", help="default: anno in it")
    add("--keyframes", type=Path, metavar="FOLDER", help="default: 240P_frames in it")
    add("--shots", type=Path, metavar="FOLDER", help="default: scene318/shot_movie318 in it")
    add("--features", type=Path, nargs="+", metavar="FOLDER", help="feature stores; default: those in features/")
    add("--sample", type=int, metavar="N", help="open the key-frames of N shots per film only; 0: list them only")
    add("--decode", action="store_true", help="decode the key-frames instead of reading their headers")
    text = "processes; default: %(default)s, more for network disks"
    add("--jobs", type=int, default=num_cores(), help=text)
    add("--strict", action="store_true", help="count warnings as errors")
    add("--json", action="store_true", help="print JSON")
    return parser


def num_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


if __name__ == "__main__":
    sys.exit(main())

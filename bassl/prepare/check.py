"""`bassl check-data FOLDER`: what is missing, unreadable or inconsistent in a data set, before a long run finds out.

Exit status: 0 nothing is wrong (there may be warnings and notes), 1 something is, 2 the check itself was impossible.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from tqdm import tqdm

from bassl.console import pluralize, run_command
from bassl.dataset.shot_files import read_shot_frames
from bassl.errors import InputError
from bassl.labels.findings import ERROR, NOTE, WARNING, has_errors
from bassl.labels.label_files import read_label_file
from bassl.prepare import consistency
from bassl.prepare.check_report import Report, as_json, as_text
from bassl.prepare.consistency import AnnotationFile, read_annotation_file
from bassl.prepare.inspection import FilmInspection, inspect_film
from bassl.prepare.keyframe_files import list_film_folders
from bassl.prepare.layout import ANNOTATION_NAMES, SPLIT_NAMES, Layout, check_shot_frames
from bassl.prepare.splits import fit_splits, read_split_file
from bassl.prepare.stores import check_stores, find_stores

log = logging.getLogger(__name__)
DEFAULT = Path(__file__).resolve().parents[1] / "data" / "movienet"


def check_data(
    layout: Layout,
    num_sampled: int | None = None,
    decode: bool = False,
    jobs: int = 1,
    stores: Sequence[Path] | None = None,
    progress_bar: bool = False,
) -> Report:
    """Check a data set. num_sampled, decode: see `inspect_film`. stores: feature stores, None for those in its folder.

    Raises InputError where there is nothing to check.
    """
    began = time.monotonic()
    report = Report(layout.root)
    if not any(place.is_dir() for place in (layout.annotations, layout.keyframes, layout.shots)):
        raise InputError(f"{layout.root} holds no anno, 240P_frames or scene318; name the data set's folder")
    with _workers(jobs) as pool:
        files = _read_annotations(layout, report, pool)
        pretrain = next((set(file.rows.films) for file in files if file.name == "pretrain"), set())
        labelled = {film for file in files if file.name != "pretrain" for film in file.rows.films}
        inspections = _inspect(layout, pretrain | labelled, report, pool, num_sampled, decode, progress_bar)
    lengths = _read_shot_files(layout, sorted(pretrain | labelled), report)
    sizes = {film: found.num_shots for film, found in inspections.items() if found.num_shots}
    for file in files:
        report.findings += consistency.check_lengths(file, lengths, "its shot file")
        report.findings += consistency.check_lengths(file, sizes, "its key-frames")
    for film in sorted(set(lengths) & set(sizes)):
        if lengths[film] != sizes[film]:
            text = f"{lengths[film]} shots in its shot file, key-frames for {sizes[film]}"
            report.add(ERROR, "key-frames and shot file differ", film, text)
    report.findings += consistency.check_num_shot(files, {**sizes, **lengths})
    _check_labels(layout, files, report)
    folders = find_stores(layout.features) if stores is None else stores
    stored = check_stores(folders, files, lengths or sizes, layout.root)
    report.findings += stored.findings
    if layout.keyframes.is_dir():
        found = consistency.check_keyframes(inspections, pretrain, labelled, stored.films)
        report.findings += found
    elif not labelled <= stored.films or pretrain:
        report.add(ERROR, "no key-frames", layout.keyframes, "does not exist, and no stored features replace it")
    _check_numbers(layout, pretrain | labelled, report)
    report.seconds = time.monotonic() - began
    return report


def _workers(jobs: int) -> Executor:
    return ThreadPoolExecutor(1) if jobs == 1 else ProcessPoolExecutor(jobs, mp_context=get_context("spawn"))


def _read_annotations(layout: Layout, report: Report, pool: Executor) -> list[AnnotationFile]:
    there = [name for name in ANNOTATION_NAMES if layout.annotation_file(name).is_file()]
    if there == ["pretrain"]:
        report.add(NOTE, "missing annotations", layout.annotations, "holds no labels: it is for pre-training only")
    else:
        for name in ANNOTATION_NAMES:
            if name not in there:
                severity = WARNING if name in ("pretrain", "train", "test") else NOTE
                report.add(severity, "missing annotations", layout.annotation_file(name), "does not exist")
    if not there:
        report.add(ERROR, "missing annotations", layout.annotations, "holds no anno.*.ndjson; see docs/data.md")
    jobs = {name: pool.submit(read_annotation_file, layout.annotation_file(name), name) for name in there}
    files = []
    for name, job in jobs.items():
        try:
            files.append(job.result())
        except (InputError, OSError) as error:
            report.add(ERROR, "unreadable annotations", f"anno.{name}.ndjson", str(error))
        else:
            report.counts[name] = files[-1].counts()
    return files


def _inspect(
    layout: Layout,
    films: set[str],
    report: Report,
    pool: Executor,
    num_sampled: int | None,
    decode: bool,
    progress_bar: bool,
) -> dict[str, FilmInspection]:
    if not layout.keyframes.is_dir():
        return {}
    folders = set(list_film_folders(layout.keyframes))
    if films and (rest := folders - films):
        text = f"{len(rest)} of {pluralize(len(folders), 'folder')} without a row, such as {min(rest)}: not looked into"
        report.add(NOTE, "folders without rows", layout.keyframes, text)
    wanted = sorted(films & folders if films else folders)
    jobs = [pool.submit(inspect_film, layout.keyframes, film, num_sampled, decode) for film in wanted]
    done = tqdm(as_completed(jobs), "key-frames", len(jobs), unit="film", disable=not progress_bar, smoothing=0)
    found = {inspection.film: inspection for inspection in (job.result() for job in done)}
    report.keyframes = {
        "films": len(found),
        "shots": sum(one.num_shots for one in found.values()),
        "missing": sum(one.num_missing for one in found.values()),
        "looked_at": sum(one.num_looked_at for one in found.values()),
        "broken": sum(one.num_broken for one in found.values()),
    }
    return dict(sorted(found.items()))


def _read_shot_files(layout: Layout, films: Sequence[str], report: Report) -> dict[str, int]:
    lengths = {}
    for film in films:
        path = layout.shots / f"{film}.txt"
        if not path.is_file():
            continue
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
    known = {film for of_split in labels.values() for film in of_split}
    listed = None
    if layout.split.is_file():
        try:
            listed = fit_splits(read_split_file(layout.split), known)[0]
        except InputError as error:
            report.add(ERROR, "split file", layout.split, str(error))
    report.findings += consistency.check_splits(splits, listed)
    report.findings += consistency.check_contents(report.counts, splits)
    label_files = {}
    for film in sorted(known):
        path = layout.labels / f"{film}.txt"
        if path.is_file():
            try:
                label_files[film] = read_label_file(path)
            except InputError as error:
                report.add(ERROR, "label files", film, str(error))
    if "trainvaltest" in labels:
        report.findings += consistency.check_labels(labels["trainvaltest"], label_files)
    else:
        for of_split in splits.values():
            report.findings += consistency.check_labels(of_split, label_files)


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
        report.add(WARNING, "vid2idx", layout.numbers, "does not give every film a number of its own")
    elif lost := films - set(numbers):
        report.add(WARNING, "vid2idx", layout.numbers, f"lacks {pluralize(len(lost), 'film')}, such as {min(lost)}")


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    arguments = _parser().parse_args(argv)
    return run_command(lambda: _check(arguments))


def _check(arguments: argparse.Namespace) -> int:
    layout = Layout.of(arguments.folder)
    places = {name: getattr(arguments, name) for name in ("annotations", "keyframes", "shots")}
    layout = Layout(**{**vars(layout), **{name: path for name, path in places.items() if path is not None}})
    try:
        if arguments.jobs < 1 or (arguments.sample is not None and arguments.sample < 0):
            wrong = f"--jobs {arguments.jobs}" if arguments.jobs < 1 else f"--sample {arguments.sample}"
            raise InputError(f"{wrong} cannot work; give {'1 or more' if arguments.jobs < 1 else '0 or more shots'}")
        report = check_data(
            layout,
            arguments.sample,
            arguments.decode,
            arguments.jobs,
            arguments.features,
            sys.stderr.isatty(),
        )
    except OSError as error:
        raise InputError(f"{error}; see to it, and check again") from error
    sys.stdout.write(json.dumps(as_json(report), indent=1) + "\n" if arguments.json else as_text(report))
    is_bad = has_errors(report.findings)
    is_doubtful = arguments.strict and any(finding.severity == WARNING for finding in report.findings)
    return 1 if is_bad or is_doubtful else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bassl check-data",
        description="Say what is missing, unreadable or inconsistent in a data set, before a long run does.",
        epilog="exit status: 0 nothing is wrong, 1 something is, 2 the check was impossible",
    )
    add = parser.add_argument
    add("folder", type=Path, nargs="?", default=DEFAULT, help="the data set; default: bassl/data/movienet")
    add("--annotations", type=Path, metavar="FOLDER", help="default: anno in it")
    add("--keyframes", type=Path, metavar="FOLDER", help="default: 240P_frames in it")
    add("--shots", type=Path, metavar="FOLDER", help="default: scene318/shot_movie318 in it")
    add(
        "--features",
        type=Path,
        nargs="+",
        metavar="FOLDER",
        help="feature stores; default: those in features/",
    )
    add(
        "--sample",
        type=int,
        metavar="N",
        help="open the key-frames of N shots a film only; 0: list them only",
    )
    add("--decode", action="store_true", help="decode the key-frames instead of reading their headers")
    add(
        "--jobs",
        type=int,
        default=_num_cores(),
        help="processes; default: %(default)s, more for network disks",
    )
    add("--strict", action="store_true", help="count warnings as wrong")
    add("--json", action="store_true", help="print JSON")
    return parser


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


if __name__ == "__main__":
    sys.exit(main())

"""`bassl prepare`: films, or MovieNet's release, into what pre-training, extraction and fine-tuning read."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bassl.console import pluralize
from bassl.errors import InputError
from bassl.labels.findings import ERROR, Finding
from bassl.labels.scene_lists import UNITS
from bassl.prepare.layout import ANNOTATION_NAMES, Layout, alone
from bassl.prepare.movienet import Built, build_annotations, locate
from bassl.prepare.options import EXIT, add_split_options, chosen_splits, finish
from bassl.prepare.splits import write_split_file

log = logging.getLogger(__name__)
ABOUT = """\
Films into a data set in MovieNet's layout, that config.DATA_PATH=FOLDER takes:
  bassl prepare films/ --target FOLDER --labels scenes.csv
MovieNet's own release into annotations:
  bassl prepare --from-movienet FOLDER
Can be stopped and called again: films that are done are not done again."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    arguments = _parser().parse_args(argv)
    return finish(lambda: _from_movienet(arguments) if arguments.from_movienet else _own_films(arguments))


def _from_movienet(arguments: argparse.Namespace) -> list[Finding]:
    if arguments.films or arguments.labels or arguments.shots:
        raise InputError("--from-movienet takes no films, --labels or --shots; MovieNet's release has its own")
    annotations = arguments.target / "anno" if arguments.target else None
    layout = locate(arguments.from_movienet, arguments.keyframes, annotations)
    there = [name for name in ANNOTATION_NAMES if layout.annotation_file(name).exists()]
    if there and not arguments.overwrite:
        raise InputError(
            f"{layout.annotations} holds annotations already (anno.{there[0]}.ndjson); add --overwrite to "
            "replace them, or --target FOLDER to write others"
        )
    with alone(arguments.target or layout.root):
        splits, found = None, list[Finding]()
        if arguments.split_file or arguments.train or arguments.val or arguments.test or arguments.split:
            films = sorted(path.stem for path in layout.labels.glob("[!.]*.txt"))
            splits, found = chosen_splits(arguments, films)
        built = build_annotations(layout, splits, sys.stderr.isatty())
    _tell(built, layout)
    return [*found, *built.findings]


def _own_films(arguments: argparse.Namespace) -> list[Finding]:
    if not arguments.films or arguments.target is None:
        raise InputError("give films and --target FOLDER, or --from-movienet FOLDER; see --help")
    if arguments.keyframes or arguments.overwrite:
        raise InputError("--keyframes and --overwrite go with --from-movienet; leave them out")
    if arguments.jobs < 1:
        raise InputError(f"--jobs {arguments.jobs} cannot work; give 1 or more")
    try:
        import bassl.video.cuts
        import bassl.video.reader  # noqa: F401
    except ImportError as error:
        from bassl.video import missing_extra

        raise missing_extra(error) from error
    from bassl.prepare.own_films import (
        find_films,
        prepare_all,
        prepared_films,
        read_shot_lists,
        write_film_list,
    )
    from bassl.prepare.scene_labels import check_source, import_labels
    from bassl.video.settings import DetectorSettings

    target: Path = arguments.target
    detector = DetectorSettings(arguments.detector, arguments.shot_threshold, arguments.shortest, arguments.transnetv2)
    sources, found = find_films(arguments.films, arguments.name_by == "path")
    with alone(target):
        has_labels = bool(arguments.labels) or any(Layout.of(target).labels.glob("[!.]*.txt"))
        if not has_labels and (arguments.train or arguments.val or arguments.test):
            raise InputError("--train, --val and --test share out labelled films, and none has labels; add --labels")
        shots, odd = read_shot_lists(arguments.shots, sources) if arguments.shots else (None, [])
        found += odd
        known = sorted({*prepared_films(target), *(source.name for source in sources)})
        chosen_splits(arguments, known)
        if arguments.labels:
            left_out = {finding.about for finding in found if finding.severity == ERROR}  # told at the end
            check_source(arguments.labels, arguments.unit, sorted({*known, *left_out}))  # before hours of work
        found += prepare_all(target, sources, detector, shots, arguments.jobs, sys.stderr.isatty())
        films, layout = prepared_films(target), Layout.of(target)
        if not films:
            return found
        if arguments.labels:
            found += import_labels(target, arguments.labels, arguments.unit, films)
        labelled = [film for film in films if (layout.labels / f"{film}.txt").is_file()]
        splits, odd = chosen_splits(arguments, labelled)
        if labelled:
            write_split_file(layout.split, splits)
        else:
            layout.split.unlink(missing_ok=True)
        found += write_film_list(target)
        built = build_annotations(layout, splits)
    _tell(built, layout)
    return [*found, *odd, *built.findings]


def _tell(built: Built, layout: Layout) -> None:
    rows = ", ".join(f"{name} {count}" for name, count in built.rows.items() if count)
    log.info("%s: %s; rows: %s", layout.annotations, pluralize(len(built.films), "film"), rows or "none")
    is_usual = layout == Layout.of(layout.root)
    setting = f"config.DATA_PATH={layout.root}"
    if not is_usual:
        setting += f" config.ANNO_PATH={layout.annotations} config.IMG_PATH={layout.keyframes}"
    if not built.rows["test"]:
        setting += " config.TEST.KNN_VALIDATION=false"
    log.info("pre-train with %s", setting)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bassl prepare",
        description=ABOUT,
        epilog=EXIT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("films", type=Path, nargs="*", metavar="FILM", help="film files, and folders of them")
    add("--target", type=Path, metavar="FOLDER", help="the data set; made if need be")
    add("--jobs", type=int, default=_num_cores(), metavar="N", help="films at a time; default: %(default)s")
    add("--name-by", choices=("file", "path"), default="file", help="name films by file or by folders too")
    group = parser.add_argument_group("shots")
    group.add_argument("--shots", type=Path, metavar="FOLDER", help="shot lists, a file a film; default: detected")
    group.add_argument("--detector", default="adaptive", help="adaptive, content or transnetv2; default: %(default)s")
    group.add_argument("--transnetv2", type=Path, metavar="FILE", help="the network of that detector, ONNX")
    group.add_argument("--shot-threshold", type=float, metavar="X", help="of the detector; higher finds fewer cuts")
    group.add_argument("--shortest", type=float, default=0.6, metavar="S", help="shortest shot; default: 0.6 s")
    group = parser.add_argument_group("scene labels", "default: none, for pre-training")
    group.add_argument("--labels", type=Path, metavar="PATH", help="CSV film,start,end; or a folder, a file a film")
    group.add_argument("--unit", choices=UNITS, default="auto", help="of start and end; default: told by their look")
    group = parser.add_argument_group("MovieNet")
    group.add_argument("--from-movienet", type=Path, metavar="FOLDER", help="that holds scene318 and key-frames")
    group.add_argument("--keyframes", type=Path, metavar="FOLDER", help="of the key-frame folders; default: found")
    group.add_argument("--overwrite", action="store_true", help="replace annotations that are there")
    add_split_options(parser, "default: 0.6 0.2 0.2 of the labelled films; MovieNet's own split file")
    return parser


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


if __name__ == "__main__":
    sys.exit(main())

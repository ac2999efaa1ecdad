"""`bassl prepare`: films, or MovieNet's release, into what pre-training, extraction and fine-tuning read."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from bassl.console import pluralize
from bassl.errors import InputError
from bassl.labels.findings import ERROR, EXIT_STATUS, Finding, run_and_report
from bassl.labels.scene_lists import UNITS
from bassl.prepare.check import num_cores
from bassl.prepare.layout import ANNOTATION_NAMES, Layout, lock_target
from bassl.prepare.movienet import Built, build_annotations, locate
from bassl.prepare.splits import add_split_options, choose_splits, write_split_file

log = logging.getLogger(__name__)
ABOUT = """\
Films into a data set in MovieNet's layout, which config.DATA_PATH=FOLDER takes:
  bassl prepare films/ --output FOLDER --labels scenes.csv
MovieNet's own release into annotations:
  bassl prepare --from-movienet FOLDER
An interrupted command can be repeated: films that are done are skipped."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    arguments = _parser().parse_args(argv)
    return run_and_report(lambda: _from_movienet(arguments) if arguments.from_movienet else _from_films(arguments))


def _from_movienet(arguments: argparse.Namespace) -> list[Finding]:
    if arguments.films or arguments.labels or arguments.shots:
        raise InputError("--from-movienet takes no films, --labels or --shots; MovieNet's release has its own")
    annotations = arguments.output / "anno" if arguments.output else None
    layout = locate(arguments.from_movienet, arguments.keyframes, annotations)
    existing = [name for name in ANNOTATION_NAMES if layout.annotation_file(name).exists()]
    if existing and not arguments.overwrite:
        raise InputError(
            f"{layout.annotations} holds annotations already (anno.{existing[0]}.ndjson); add --overwrite to "
            "replace them, or --output FOLDER to write others"
        )
    splits, findings = None, list[Finding]()
    with lock_target(arguments.output or layout.root):
        if arguments.split_file or arguments.train or arguments.val or arguments.test or arguments.split:
            films = sorted(path.stem for path in layout.labels.glob("[!.]*.txt"))
            splits, findings = choose_splits(arguments, films)
        built = build_annotations(layout, splits, progress_bar=sys.stderr.isatty())
    _log_result(built, layout)
    return [*findings, *built.findings]


def _from_films(arguments: argparse.Namespace) -> list[Finding]:
    # 1. refuse what cannot work before hours of decoding
    if not arguments.films or arguments.output is None:
        missing = "--output FOLDER" if arguments.films else "films and --output FOLDER, or --from-movienet FOLDER"
        raise InputError(f"give {missing}; see --help")
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
    from bassl.prepare.films import find_films, prepare_all, prepared_films, read_shot_lists, write_film_list
    from bassl.prepare.scene_labels import import_labels, read_label_source
    from bassl.video.settings import DetectorSettings

    target: Path = arguments.output
    layout = Layout.of(target)
    detector = DetectorSettings(
        name=arguments.detector,
        threshold=arguments.shot_threshold,
        min_seconds=arguments.shortest_shot,
        network=arguments.transnetv2,
    )
    sources, findings = find_films(arguments.films, by_path=arguments.name_by == "path")
    with lock_target(target):
        has_labels = bool(arguments.labels) or any(layout.labels.glob("[!.]*.txt"))
        if not has_labels and (arguments.train or arguments.val or arguments.test):
            raise InputError("--train, --val and --test share out labelled films, and none has labels; add --labels")
        shots, shot_findings = read_shot_lists(arguments.shots, sources) if arguments.shots else (None, [])
        findings += shot_findings
        known = sorted({*prepared_films(target), *(source.name for source in sources)})
        choose_splits(arguments, known)
        if arguments.labels:
            left_out = {finding.about for finding in findings if finding.severity == ERROR}
            expected = sorted({*known, *left_out})
            read_label_source(arguments.labels, arguments.unit, expected).match(expected)

        # 2. decode the films
        findings += prepare_all(
            target, sources, detector, shots, num_processes=arguments.jobs, progress_bar=sys.stderr.isatty()
        )
        films = prepared_films(target)
        if not films:
            return findings

        # 3. labels, splits and annotations, made anew by every call
        if arguments.labels:
            findings += import_labels(target, read_label_source(arguments.labels, arguments.unit, films), films)
        labelled = [film for film in films if (layout.labels / f"{film}.txt").is_file()]
        splits, split_findings = choose_splits(arguments, labelled)
        if labelled:
            write_split_file(layout.split, splits)
        else:
            layout.split.unlink(missing_ok=True)
        findings += write_film_list(target)
        built = build_annotations(layout, splits)
    _log_result(built, layout)
    return [*findings, *split_findings, *built.findings]


def _log_result(built: Built, layout: Layout) -> None:
    rows = ", ".join(f"{name} {count}" for name, count in built.rows.items() if count)
    log.info("%s: %s; rows: %s", layout.annotations, pluralize(len(built.films), "film"), rows or "none")
    settings = [f"config.DATA_PATH={layout.root}"]
    if layout != Layout.of(layout.root):
        settings += [f"config.ANNO_PATH={layout.annotations}", f"config.IMG_PATH={layout.keyframes}"]
    if not built.rows["test"]:
        settings.append("config.TEST.KNN_VALIDATION=false")
    log.info("pre-train with %s", " ".join(settings))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bassl prepare",
        description=ABOUT,
        epilog=EXIT_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("films", type=Path, nargs="*", metavar="FILM", help="film files, and folders of them")
    add("--output", "--target", type=Path, metavar="FOLDER", help="the data set; made if need be")
    add("--jobs", type=int, default=num_cores(), metavar="N", help="films at a time; default: %(default)s")
    add("--name-by", choices=("file", "path"), default="file", help="name films by file or by folders too")
    add = parser.add_argument_group("shots").add_argument
    add("--shots", type=Path, metavar="FOLDER", help="shot lists, a file per film; default: detected")
    add("--detector", default="adaptive", help="adaptive, content or transnetv2; default: %(default)s")
    add("--transnetv2", type=Path, metavar="FILE", help="the network of that detector, ONNX")
    add("--shot-threshold", type=float, metavar="X", help="of the detector; higher finds fewer cuts")
    text = "seconds; default: %(default)s"
    add("--shortest-shot", "--shortest", type=float, default=0.6, metavar="S", help=text)
    add = parser.add_argument_group("scene labels", "default: none, for pre-training").add_argument
    add("--labels", type=Path, metavar="PATH", help="CSV film,start,end; or a folder, a file per film")
    add("--unit", choices=UNITS, default="auto", help="of start and end; default: inferred")
    add = parser.add_argument_group("MovieNet").add_argument
    add("--from-movienet", type=Path, metavar="FOLDER", help="that holds scene318 and key-frames")
    add("--keyframes", type=Path, metavar="FOLDER", help="of the key-frame folders; default: found")
    add("--overwrite", action="store_true", help="replace annotations that exist")
    add_split_options(parser, "default: 0.6 0.2 0.2 of the labelled films; MovieNet's own split file")
    return parser


if __name__ == "__main__":
    sys.exit(main())

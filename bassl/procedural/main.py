"""Draw procedural films: `python3 -m bassl.procedural.main --target FOLDER`."""

from __future__ import annotations

import argparse
import logging
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from bassl.errors import InputError
from bassl.files import refuse_unwritable
from bassl.labels.findings import EXIT_STATUS, Finding, run_and_report
from bassl.procedural.difficulty import DEFAULT

log = logging.getLogger(__name__)
ABOUT = """\
Draw films from a seed, in MovieNet's layout, with scenes that are known exactly (docs/procedural.md).
Can be stopped and called again: films that are done stay. The same numbers give the same files."""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    arguments = _parser().parse_args(argv)
    return run_and_report(lambda: _write(arguments))


def _write(arguments: argparse.Namespace) -> list[Finding]:
    from bassl.procedural.write import DataSet, write_data_set

    if arguments.jobs < 1:
        raise InputError(f"--jobs {arguments.jobs} cannot work; give 1 or more")
    refuse_unwritable(arguments.target, "--target")
    width, height = _size(arguments.size)
    data = DataSet(
        arguments.films,
        arguments.shots,
        arguments.seed,
        arguments.difficulty,
        width,
        height,
        tuple(arguments.split),
    )
    built = write_data_set(arguments.target, data, arguments.jobs, sys.stderr.isatty())
    rows = ", ".join(f"{name} {count}" for name, count in built.rows.items())
    log.info("%s: %d films; rows: %s", arguments.target, len(built.films), rows)
    setting = "" if built.rows["test"] else " config.TEST.KNN_VALIDATION=false"
    log.info("pre-train with config.DATA_PATH=%s%s", arguments.target, setting)
    return built.findings


def _size(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if found is None:
        raise InputError(f"--size {text!r} cannot be read; give WIDTHxHEIGHT, such as 160x90")
    return int(found[1]), int(found[2])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m bassl.procedural.main",
        description=ABOUT,
        epilog=EXIT_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--target", type=Path, metavar="FOLDER", required=True, help="the data set; made if need be")
    add("--films", type=int, default=20, metavar="N", help="default: %(default)s")
    add("--shots", type=int, default=120, metavar="S", help="shots of each film; default: %(default)s")
    add("--seed", type=int, default=0, metavar="K", help="default: %(default)s")
    add("--difficulty", type=float, default=DEFAULT, metavar="D", help="0 (easy) to 1 (hard); default: %(default)s")
    add("--size", default="160x90", metavar="WxH", help="of the key-frames in pixels; default: %(default)s")
    add(
        "--split",
        type=float,
        nargs=3,
        default=(0.6, 0.2, 0.2),
        metavar=("TRAIN", "VAL", "TEST"),
        help="shares of the films; default: 0.6 0.2 0.2",
    )
    add("--jobs", type=int, default=1, metavar="N", help="films at a time, a process each; default: %(default)s")
    return parser


if __name__ == "__main__":
    sys.exit(main())

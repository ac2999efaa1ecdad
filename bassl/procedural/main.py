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
Equal settings give equal files. An interrupted command resumes when called again: complete films are kept."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = _parser().parse_args(argv)
    return run_and_report(lambda: _write(arguments))


def _write(arguments: argparse.Namespace) -> list[Finding]:
    from bassl.procedural.write import DataSet, write_data_set

    size = re.fullmatch(r"(\d{1,5})x(\d{1,5})", arguments.size)
    if arguments.jobs < 1 or size is None:
        raise InputError(
            f"--jobs {arguments.jobs} --size {arguments.size} is invalid; give 1 job or more and WIDTHxHEIGHT"
        )
    data = DataSet(
        num_films=arguments.films,
        num_shots=arguments.shots,
        seed=arguments.seed,
        difficulty=arguments.difficulty,
        width=int(size[1]),
        height=int(size[2]),
        shares=tuple(arguments.split),
    )
    refuse_unwritable(arguments.target, "--target")
    built = write_data_set(arguments.target, data, arguments.jobs, sys.stderr.isatty())
    rows = ", ".join(f"{name} {count}" for name, count in built.rows.items())
    log.info("%s: %d films; rows: %s", arguments.target, len(built.films), rows)
    setting = "" if built.rows["test"] else " config.TEST.KNN_VALIDATION=false"
    log.info("pre-train with config.DATA_PATH=%s%s", arguments.target, setting)
    return built.findings


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m bassl.procedural.main",
        description=ABOUT,
        epilog=EXIT_STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add, shares, split_names = parser.add_argument, (0.6, 0.2, 0.2), ("TRAIN", "VAL", "TEST")
    add("--target", type=Path, metavar="FOLDER", required=True, help="the data set; created if missing")
    add("--films", type=int, default=20, metavar="N", help="default: %(default)s")
    add("--shots", type=int, default=120, metavar="S", help="per film; default: %(default)s")
    add("--seed", type=int, default=0, metavar="K", help="default: %(default)s")
    add("--difficulty", type=float, default=DEFAULT, metavar="D", help="0 (easy) to 1 (hard); default: %(default)s")
    add("--size", default="160x90", metavar="WxH", help="of the key-frames in pixels; default: %(default)s")
    add("--split", type=float, nargs=3, default=shares, metavar=split_names, help="shares; default: 0.6 0.2 0.2")
    add("--jobs", type=int, default=1, metavar="N", help="films at a time, one process each; default: %(default)s")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""What the commands of this folder share: options about splits, logging, and how an outcome becomes an exit status."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from bassl.console import run_command, setup_logging
from bassl.errors import InputError, RunError
from bassl.labels.findings import Finding, has_errors, text_lines
from bassl.prepare.layout import SPLIT_NAMES
from bassl.prepare.splits import Splits, draw_splits, fit_splits, match_splits, read_split_file

AGAIN = "the same command goes on from here"
SHARES = (0.6, 0.2, 0.2)
EXIT = "exit status: 0 done, 1 done but for what is listed as an error, 2 a mistake in the command"


def add_split_options(parser: argparse.ArgumentParser, default: str) -> None:
    """`--split-file`, `--train`, `--val`, `--test`, `--split`, `--seed`; `default` says what happens without."""
    group = parser.add_argument_group("splits", f"by film; {default}")
    group.add_argument(
        "--split-file", type=Path, metavar="FILE", help="JSON such as split318.json, or CSV with film,split"
    )
    for split in SPLIT_NAMES:
        group.add_argument(f"--{split}", nargs="+", metavar="PATTERN", help=f"films for {split}, such as 'BBC_[1-8]'")
    group.add_argument("--split", type=float, nargs=3, metavar=("TRAIN", "VAL", "TEST"), help="draw by these shares")
    group.add_argument("--seed", type=int, default=0, help="of the draw; default: %(default)s")


def chosen_splits(
    arguments: argparse.Namespace, films: Sequence[str], shares: Sequence[float] | None = SHARES
) -> tuple[Splits, list[Finding]]:
    """The splits of `films` as the options say, and what was odd. Without options: drawn by `shares`, or no splits.

    Raises InputError for options that cannot work, or contradict each other.
    """
    patterns = {split: getattr(arguments, split) for split in SPLIT_NAMES}
    given = [arguments.split_file is not None, any(patterns.values()), arguments.split is not None]
    if sum(given) > 1:
        raise InputError("--split-file, --split and --train/--val/--test exclude one another; give one of them")
    if arguments.split_file is not None:
        return fit_splits(read_split_file(arguments.split_file), films)
    if any(patterns.values()):
        return match_splits(sorted(films), patterns), []
    shares = arguments.split or shares
    return (draw_splits(films, shares, arguments.seed) if shares else {}), []


def finish(run: Callable[[], list[Finding]]) -> int:
    """Run a command's work, show what it found and return the exit status (see EXIT; 130: interrupted)."""
    setup_logging()
    return run_command(lambda: _show(run), interrupted=f"interrupted; {AGAIN}")


def _show(run: Callable[[], list[Finding]]) -> int:
    try:
        found = run()
    except OSError as error:  # of any kind: films, labels and folders are the user's
        raise RunError(f"{error}; see to it, and {AGAIN}") from error
    sys.stderr.write("".join(f"{line}\n" for line in text_lines(found)))
    return 1 if has_errors(found) else 0

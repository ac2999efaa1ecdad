"""The table of stored results, in Markdown: `python3 -m benchmarks.table [FILE] [--readme]`."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bassl.errors import InputError
from bassl.files import write_atomically
from benchmarks.measure import ROOT, Row

RESULTS = ROOT / "benchmarks" / "results"
README = ROOT / "benchmarks" / "README.md"
PLACE = re.compile(r"(<!-- results[^\n]*-->\n).*?(<!-- end of results -->)", re.DOTALL)
COLUMNS = ("work", "unit", "ours", "reference's way", "ratio", "goal", "floor")
VERDICTS = {True: " (reached)", False: " (MISSED)", None: ""}


def table(machine: Mapping[str, Any], results: Mapping[str, Sequence[Row]]) -> str:
    """Return the machine, one line per row, and the notes."""
    rows = [row for rows in results.values() for row in rows]
    lines = [COLUMNS, ("---",) * len(COLUMNS), *map(_cells, rows)]
    about = ", ".join(f"{name} {value}" for name, value in machine.items() if value is not None)
    notes = [f"- {row.work}: {row.note}" for row in rows if row.note]
    return "\n".join([about, "", *("| " + " | ".join(line) + " |" for line in lines), "", *notes])


def stored_table(file: Path) -> str:
    """Return the table of a file of `benchmarks.main --json`, perhaps of several runs on one machine.

    Raises:
        InputError: The file is missing or holds no results.
    """
    try:
        parts = json.loads(file.read_text(encoding="utf-8"))
        machines = [part["machine"] for part in parts.values()]
        results = {name: [Row(**row) for row in part["rows"]] for name, part in parts.items()}
        days = sorted({machine["date"][:10] for machine in machines})
        about = {name: value for name, value in machines[0].items() if name not in ("date", "load")}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(f"{file} cannot be read ({error!r}); name a file of `benchmarks.main --json`") from error
    return table({"date": " to ".join(days[:1] + days[1:][-1:]), **about}, results)


def _cells(row: Row) -> tuple[str, ...]:
    ratio = "" if row.ratio is None else f"{row.ratio:.3g}"
    ours, reference, floor = map(_number, (row.ours, row.reference, row.floor))
    return row.work, row.unit, ours, reference, ratio, row.goal + VERDICTS[row.reached], floor


def _number(value: float | None) -> str:
    """Format with three digits, or as a whole number from 1000 on."""
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table or write it to the README; return the exit status."""
    parser = argparse.ArgumentParser(prog="python3 -m benchmarks.table", description="Show stored results as a table.")
    parser.add_argument("file", type=Path, nargs="?", default=RESULTS / "cpu.json", help="default: %(default)s")
    parser.add_argument("--readme", action="store_true", help="write it to benchmarks/README.md")
    arguments = parser.parse_args(argv)
    try:
        shown = stored_table(arguments.file)
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    if arguments.readme:
        text = PLACE.sub(lambda match: f"{match[1]}{shown}\n{match[2]}", README.read_text(encoding="utf-8"))
        write_atomically(README, lambda path: path.write_text(text, encoding="utf-8"))
    else:
        sys.stdout.write(shown + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

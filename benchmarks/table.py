"""The table that the benchmarks print, in Markdown; of stored results: `python3 -m benchmarks.table [FILE]`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import Row

RESULTS = Path(__file__).parent / "results"

COLUMNS = ("work", "unit", "ours", "reference's way", "ratio", "goal", "floor")


def table(machine: Mapping[str, Any], results: Mapping[str, Sequence[Row]]) -> str:
    """Machine, a line a row, and the notes below."""
    rows = [row for rows in results.values() for row in rows]
    cells = [COLUMNS, *[_cells(row) for row in rows]]
    widths = [max(len(line[column]) for line in cells) for column in range(len(COLUMNS))]
    head, *body = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in cells
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    about = ", ".join(f"{name} {value}" for name, value in machine.items() if value is not None)
    notes = [f"- {row.work}: {row.note}" for row in rows if row.note]
    return "\n".join([about, "", head, rule, *body, "", *notes])


def stored_table(file: Path) -> str:
    """The table of a file that `benchmarks.main --json` has written, perhaps by several runs on one machine."""
    parts = json.loads(file.read_text(encoding="utf-8"))
    days = sorted({part["machine"]["date"][:10] for part in parts.values()})
    same = {
        name: value for name, value in next(iter(parts.values()))["machine"].items() if name not in ("date", "load")
    }
    results = {name: [Row(**row) for row in part["rows"]] for name, part in parts.items()}
    return table({"date": " to ".join(days[:1] + days[1:][-1:]), **same}, results)


def _cells(row: Row) -> tuple[str, ...]:
    ratio = "" if row.ratio is None else f"{row.ratio:.3g}"
    return (
        row.work,
        row.unit,
        number(row.ours),
        number(row.reference),
        ratio,
        row.goal + verdict(row.reached),
        number(row.floor),
    )


def verdict(reached: bool | None) -> str:
    """What stands behind a goal."""
    return {True: " (reached)", False: " (MISSED)", None: ""}[reached]


def number(value: float | None) -> str:
    """Three figures, or whole numbers from 1000 on; nothing for None."""
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python3 -m benchmarks.table", description="Print stored results as a table.")
    parser.add_argument("file", type=Path, nargs="?", default=RESULTS / "cpu.json", help="default: %(default)s")
    file = parser.parse_args(argv).file
    try:
        found = stored_table(file)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
        sys.stderr.write(f"error: {file} cannot be read ({error!r}); name a file of `benchmarks.main --json`\n")
        return 2
    sys.stdout.write(found + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

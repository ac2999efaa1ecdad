"""The README's table of speed, from stored results: `python3 -m benchmarks.readme` writes it to its place.

The results are those of `python3 -m benchmarks.main --json benchmarks/results/cpu.json`; benchmarks/README.md shows all of them.
"""

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
from benchmarks.table import RESULTS, number, verdict

README = Path(__file__).parents[1] / "README.md"
STORED = RESULTS / "cpu.json"
PLACE = re.compile(r"(<!-- speed: [^\n]*-->\n)(.*?)(<!-- end of speed -->)", re.DOTALL)
LEFT_OUT = ("cost_check", "cold_start", "finetune_entry", "profile_step")
"""Benchmarks whose rows benchmarks/README.md alone shows, unless a goal was missed."""
HEAD = ("work", "unit", "here", "reference's way", "ratio", "goal")


def speed_table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown of stored results: which machine, then a line for each work done both ways and each size with a goal."""
    machines = {describe(found["machine"]) for found in results.values()}
    rows = [row for name, found in results.items() for row in found["rows"] if _is_shown(name, row)]
    lines = [HEAD, *(("---",) * len(HEAD),), *(_cells(row) for row in rows)]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"{'; '.join(sorted(machines))}.\n\n{table}\n"


def describe(machine: Mapping[str, Any]) -> str:
    """A machine and a day in a few words."""
    device = machine["gpu"] or machine["processor"]
    return f"{device}, torch {machine['torch']}, {machine['date'][:10]}"


def in_place(text: str, table: str) -> str:
    """The README with this table; InputError where its place is not marked once."""
    found, count = PLACE.subn(lambda match: match[1] + table + match[3], text)
    if count != 1:
        raise InputError(f"README.md has {count} places marked for the table of speed; mark one")
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    about = f"Write the table of speed, from {STORED}, to its place in {README}."
    argparse.ArgumentParser(prog="python3 -m benchmarks.readme", description=about).parse_args(argv)
    if not STORED.is_file():
        sys.stderr.write(f"error: {STORED} does not exist; run `python3 -m benchmarks.main --json {STORED}` first\n")
        return 2
    text = in_place(README.read_text(encoding="utf-8"), speed_table(json.loads(STORED.read_text(encoding="utf-8"))))
    write_atomically(README, lambda path: path.write_text(text, encoding="utf-8"))
    return 0


def _is_shown(benchmark: str, row: Mapping[str, Any]) -> bool:
    is_compared = row["reference"] is not None or (row["goal"] and row["ratio"] is None)
    return row["reached"] is False or (benchmark not in LEFT_OUT and is_compared)


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    shown = (number(row[name]) for name in ("ours", "reference", "ratio"))
    return (row["work"], row["unit"], *shown, row["goal"] + verdict(row["reached"]))


if __name__ == "__main__":
    sys.exit(main())

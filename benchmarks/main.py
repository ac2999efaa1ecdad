"""Run the benchmarks and print their table: `python3 -m benchmarks.main [--only NAME] [--device cpu|cuda] [--quick]`."""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch

from bassl.console import setup_logging
from bassl.files import write_json
from benchmarks.measure import Row, Settings, machine
from benchmarks.table import table

log = logging.getLogger(__name__)
NAMES = (
    "samples",
    "extraction",
    "feeding",
    "finetune_epoch",
    "finetune_entry",
    "alignment",
    "validation",
    "memory",
    "pretrain_step",
    "profile_step",
    "cold_start",
    "cost_check",
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmarks; return 1 if a goal was missed, except in quick mode."""
    arguments = _parser().parse_args(argv)
    setup_logging()
    logging.getLogger("bassl").setLevel(logging.ERROR)
    if arguments.device == "cuda" and not torch.cuda.is_available():
        sys.stderr.write("error: this machine has no CUDA device; leave out --device cuda\n")
        return 2
    torch.set_num_threads(arguments.threads)
    results: dict[str, list[Row]] = {}
    with tempfile.TemporaryDirectory(prefix="bassl-benchmarks-") as folder:
        settings = Settings(
            Path(folder),
            device=torch.device(arguments.device),
            quick=arguments.quick,
            threads=arguments.threads,
        )
        about = machine(settings)
        for name in arguments.only or NAMES:
            log.info("measuring %s", name)
            part = replace(settings, folder=settings.folder / name)
            part.folder.mkdir()
            results[name] = importlib.import_module(f"benchmarks.{name}").run(part)
    sys.stdout.write(table(about, results) + "\n")
    if arguments.json:
        file = arguments.json
        stored = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        measured = {name: {"machine": about, "rows": [asdict(row) for row in rows]} for name, rows in results.items()}
        write_json(file, {**stored, **measured})
    is_missed = any(row.reached is False for rows in results.values() for row in rows)
    return 1 if is_missed and not arguments.quick else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m benchmarks.main", description=__doc__)
    parser.add_argument("--only", action="append", choices=NAMES, help="run this benchmark only (can be repeated)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where the models run")
    parser.add_argument("--quick", action="store_true", help="small sizes: shows that it works, measures nothing")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="of both sides (default: all)")
    parser.add_argument("--json", type=Path, help="add the numbers to this file")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""The command `bassl sweep`: experiments in, a table and a picture out. Only the steps import torch."""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from bassl.config.paths import PACKAGE
from bassl.console import run_command, setup_logging
from bassl.errors import InputError
from bassl.files import refuse_unwritable
from bassl.sweep.execute import execute
from bassl.sweep.experiment import Experiment, read_experiment, shipped_experiments
from bassl.sweep.folder import DONE, SweepFolder
from bassl.sweep.preflight import check_runs
from bassl.sweep.results import RowResult, collect
from bassl.sweep.runs import Run, plan_runs
from bassl.sweep.table import markdown, write_tables

log = logging.getLogger(__name__)
SWEEPS = PACKAGE.parent / "outputs" / "sweep"
AGAIN = "run the same command to resume"
EPILOG = """\
A setting is config.KEY=VALUE and applies to every row; pretrain:config.KEY=VALUE, extract:... or finetune:...
is for that step alone. Stopped or killed, the same command resumes. docs/sweep.md describes the output and how to
write an experiment.
exit status: 0 done, 1 some runs failed, 2 a mistake in the command, 75 stopped by a signal, 130 interrupted"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    arguments = _parser().parse_intermixed_args(argv)
    setup_logging()
    return run_command(lambda: _sweep(arguments), AGAIN, f"interrupted; {AGAIN}")


def _sweep(arguments: argparse.Namespace) -> int:
    # 1. plan and check everything
    experiment = read_experiment(arguments.experiment)
    folder = SweepFolder((arguments.output or SWEEPS / experiment.name).expanduser().resolve())
    rows, seeds = _chosen_rows(experiment, arguments.rows), _chosen_seeds(experiment, arguments.seeds)
    devices = arguments.devices.split(",") if arguments.devices else []
    if arguments.jobs < 1 or (devices and len(devices) < arguments.jobs):
        raise InputError(f"--jobs {arguments.jobs} with {len(devices)} --devices is invalid; give one device per job")
    runs = plan_runs(experiment, arguments.settings, folder.root, seeds, rows)
    if arguments.list:
        sys.stdout.write(listing(runs, folder))
        return 0
    check_runs(runs, devices)
    refuse_unwritable(folder.root, "--output")
    # 2. run it; the tables grow with every run
    with folder.hold():
        folder.begin(experiment.name, runs)
        log.info("%s: %d rows x %d seeds, in %s", experiment.name, len(rows), len(seeds), folder.root)

        def report() -> list[RowResult]:
            results = collect(folder, experiment)
            write_tables(folder.root, experiment, results)
            return results

        show_progress = sys.stderr.isatty()
        execute(runs, folder, jobs=arguments.jobs, devices=devices, show_progress=show_progress, after_run=report)
        results = report()
        has_picture = _draw(folder.root / "results.png", results, experiment)
    # 3. show the table
    names = "results.md, results.csv" + (", results.png" if has_picture else "")
    sys.stdout.write(f"{markdown(experiment, results)}\n{folder.root}/{names}\n")
    return 1 if any(run.failure for row in results for run in row.runs) else 0


def listing(runs: Sequence[Run], folder: SweepFolder) -> str:
    """Return every command of every run as one would type it, in the order of their execution."""
    lines = []
    for run in runs:
        lines.append(f"# {run.name}")
        for step in run.steps:
            is_done = folder.record(run.name, step.name).status == DONE
            lines.append(f"# done: {step.name}" if is_done else shlex.join(step.command))
        lines.append("")
    return "\n".join(lines)


def _draw(path: Path, rows: Sequence[RowResult], experiment: Experiment) -> bool:
    """Draw the picture if there is an AP to draw, otherwise remove a previous one; return whether there is one."""
    path.unlink(missing_ok=True)
    if any(row.spread("AP").values for row in rows):
        from bassl.plots.style import optional_picture, save_figure
        from bassl.sweep.picture import results_figure

        with optional_picture(path):
            save_figure(path, results_figure(rows, experiment.name, experiment.about))
    return path.is_file()


def _chosen_rows(experiment: Experiment, given: str | None) -> list[str]:
    chosen = list(experiment.rows) if given is None else given.split(",")
    unknown = [row for row in chosen if row not in experiment.rows]
    if unknown:
        raise InputError(f"{experiment.name} has no row {unknown[0]!r}; choose from {', '.join(experiment.rows)}")
    return [row for row in experiment.rows if row in chosen]


def _chosen_seeds(experiment: Experiment, given: str | None) -> list[int]:
    try:
        return sorted(set(experiment.seeds if given is None else map(int, given.split(","))))
    except ValueError as error:
        raise InputError(f"--seeds {given} is invalid; give whole numbers such as 0,1,2") from error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bassl sweep",
        description="Pre-train, extract and fine-tune every row of an experiment with every seed; one table comes out.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("experiment", metavar="EXPERIMENT", help=f"{', '.join(shipped_experiments())}, or a YAML file")
    add("settings", nargs="*", metavar="SETTING", help="config.KEY=VALUE or STEP:config.KEY=VALUE, of every row")
    add("--rows", metavar="LIST", help="only these rows, such as random,bassl")
    add("--seeds", metavar="LIST", help="these seeds instead of the experiment's, such as 0,1,2")
    add("-o", "--output", type=Path, metavar="FOLDER", help="folder of all results; default: outputs/sweep/EXPERIMENT")
    add("--list", action="store_true", help="print the commands and run nothing")
    add("--jobs", type=int, default=1, metavar="N", help="runs at a time; default: %(default)s")
    add("--devices", metavar="LIST", help="with --jobs: the CUDA device of each, such as 0,1,2")
    return parser


if __name__ == "__main__":
    sys.exit(main())

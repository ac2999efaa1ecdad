"""The command `bassl sweep`: experiments in, a table and a picture out. Torch is left to the steps."""

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
from bassl.sweep.execute import command, execute
from bassl.sweep.experiment import Experiment, read_experiment, ready_names
from bassl.sweep.feasible import check_feasible
from bassl.sweep.folder import DONE, SweepFolder
from bassl.sweep.results import RowResult, collect
from bassl.sweep.runs import Run, plan_runs
from bassl.sweep.table import markdown, write_tables

log = logging.getLogger(__name__)
SWEEPS = PACKAGE.parent / "outputs" / "sweep"
EPILOG = """\
A setting is config.KEY=VALUE and applies to every row; pretrain:config.KEY=VALUE, extract:... or finetune:...
is for that step alone. Stopped or killed, the same command goes on. docs/sweep.md says what lies where, and how
to write an experiment of your own.
exit status: 0 done, 1 some runs failed, 2 a mistake in the command, 75 stopped by a signal, 130 interrupted"""


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    arguments = _parser().parse_intermixed_args(argv)
    setup_logging()
    return run_command(
        lambda: _run(arguments),
        "run the same command to resume",
        "interrupted; run the same command to resume",
    )


def _run(arguments: argparse.Namespace) -> int:
    experiment = read_experiment(arguments.experiment)
    folder = SweepFolder((arguments.output or SWEEPS / experiment.name).expanduser().resolve())
    rows = _chosen_rows(experiment, arguments.rows)
    seeds = _chosen_seeds(experiment, arguments.seeds)
    if arguments.jobs < 1:
        raise InputError(f"--jobs {arguments.jobs} cannot work; give 1 or more")
    devices = arguments.devices.split(",") if arguments.devices else []
    if devices and len(devices) < arguments.jobs:
        raise InputError(f"--devices names {len(devices)} for --jobs {arguments.jobs}; name one for each")
    runs = plan_runs(experiment, arguments.settings, folder.root, seeds, rows)
    if arguments.list:
        sys.stdout.write(listing(runs, folder))
        return 0
    _check_annotations(runs)
    check_feasible(runs, devices)
    refuse_unwritable(folder.root, "--output")
    with folder.taken() as lock:
        folder.begin(experiment.name, runs)
        log.info("%s: %d rows x %d seeds, in %s", experiment.name, len(rows), len(seeds), folder.root)

        def report() -> list[RowResult]:
            found = collect(folder, list(experiment.rows), experiment.published_ap)
            write_tables(folder.root, experiment, found)
            return found

        execute(
            runs,
            folder,
            lock,
            jobs=arguments.jobs,
            devices=devices,
            show_progress=sys.stderr.isatty(),
            after_run=report,
        )
        found = report()
        picture = _draw(folder.root / "results.png", found, experiment)
    names = ", ".join(["results.md", "results.csv", *([picture.name] if picture else [])])
    sys.stdout.write(f"{markdown(experiment, found)}\n{folder.root}/{names}\n")
    return 1 if any(run.failure for row in found for run in row.runs) else 0


def listing(runs: Sequence[Run], folder: SweepFolder) -> str:
    """Every command of every run as one would type it, in the order in which they are run."""
    lines = []
    for run in runs:
        lines.append(f"# {run.name}")
        for step in run.steps:
            if folder.record(run, step).status == DONE:
                lines.append(f"# done: {step.name}")
            else:
                lines.append(shlex.join(command(step)))
        lines.append("")
    return "\n".join(lines)


def _draw(path: Path, rows: Sequence[RowResult], experiment: Experiment) -> Path | None:
    """Draw the picture; where there is no AP to draw, an earlier one goes."""
    if not any(row.spread("AP").values for row in rows):
        path.unlink(missing_ok=True)
        return None
    from bassl.sweep.picture import draw

    draw(path, rows, experiment.name, experiment.about)
    return path


def _chosen_rows(experiment: Experiment, given: str | None) -> list[str]:
    chosen = list(experiment.rows) if given is None else given.split(",")
    strange = [row for row in chosen if row not in experiment.rows]
    if strange:
        raise InputError(f"{experiment.name} has no row {strange[0]!r}; choose of {', '.join(experiment.rows)}")
    return [row for row in experiment.rows if row in chosen]


def _chosen_seeds(experiment: Experiment, given: str | None) -> list[int]:
    try:
        return sorted(set(experiment.seeds if given is None else map(int, given.split(","))))
    except ValueError as error:
        raise InputError(f"--seeds {given} are no whole numbers; give some such as 0,1,2") from error


def _check_annotations(runs: Sequence[Run]) -> None:
    for path in dict.fromkeys(path for run in runs for step in run.steps for path in step.annotations):
        if not path.is_file():
            raise InputError(
                f"there is no {path}; name the folder of the data by config.DATA_PATH=..., or see what it lacks by "
                "bassl check-data"
            )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bassl sweep",
        description="Pre-train, extract and fine-tune every row of an experiment with every seed; one table comes out.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("experiment", metavar="EXPERIMENT", help=f"{', '.join(ready_names())}, or a YAML file of your own")
    add("settings", nargs="*", metavar="SETTING", help="config.KEY=VALUE or STEP:config.KEY=VALUE, of every row")
    add("--rows", metavar="LIST", help="these rows alone, such as random,bassl")
    add("--seeds", metavar="LIST", help="these seeds instead of the experiment's, such as 0,1,2")
    add("-o", "--output", type=Path, metavar="FOLDER", help="where everything goes; default: outputs/sweep/EXPERIMENT")
    add("--list", action="store_true", help="print what would be run, and run nothing")
    add("--jobs", type=int, default=1, metavar="N", help="runs at a time; default: %(default)s")
    add("--devices", metavar="LIST", help="with --jobs: the CUDA device of each, such as 0,1,2")
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""Write the tables of a sweep: `results.md`, `results.csv` with a line per row, `runs.csv` with a line per run."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bassl.files import write_atomically
from bassl.sweep.experiment import Experiment
from bassl.sweep.results import METRICS, RowResult, RunResult, Spread
from bassl.sweep.runs import MODULES

COLUMNS = {
    "AP": "AP",
    "mAP": "mAP",
    "zero_shot_AP": "zero-shot AP",
    "training_free_AP": "training-free AP",
    "knn@1": "k-NN@1",
    "distance": "boundary distance",
}
"""Metric and title of each column of the Markdown table."""
TIMED = ("pretrain", "extract", "finetune")
LEGEND = """\
Mean ± sample standard deviation over seeds, on the test rows; in percent except for the distance. AP: fine-tuned, all
shots pooled; mAP: mean of the films' AP. Zero-shot AP: the boundary head of pre-training, before any label.
Training-free AP: the training-free scorer on the row's features. k-NN@1: how often the nearest shot of a film is of
the same scene; boundary distance: shots from the pseudo-boundary to the nearest labelled one; both before →
after pre-training. Time: wall time per run, mean over seeds; ≥ where an interrupted part is not counted."""


def write_tables(folder: Path, experiment: Experiment, rows: Sequence[RowResult]) -> None:
    """Write all three tables."""
    text = markdown(experiment, rows)
    write_atomically(folder / "results.md", lambda path: path.write_text(text, encoding="utf-8"))
    _write_csv(folder / "results.csv", [_row_line(row) for row in rows])
    _write_csv(folder / "runs.csv", [_run_line(row, run) for row in rows for run in row.runs])


def markdown(experiment: Experiment, rows: Sequence[RowResult]) -> str:
    """Return the table with its legend and what failed; empty columns are omitted."""
    shown = [metric for metric in COLUMNS if any(row.spread(metric).values for row in rows)]
    has_published = any(row.published_ap is not None for row in rows)
    head = ["row", "seeds", *(["published AP"] if has_published else []), *(COLUMNS[metric] for metric in shown)]
    head += [f"{step} time" for step in TIMED]
    lines = [f"# {experiment.name}", "", experiment.about, "", _line(head), _line(["---"] * len(head))]
    for row in rows:
        cells = [
            row.label,
            f"{row.num_done}" if row.num_done == len(row.runs) else f"{row.num_done} of {len(row.runs)}",
        ]
        if has_published:
            cells.append("" if row.published_ap is None else f"{row.published_ap:.2f}")
        cells += [_format_change(row, metric) for metric in shown]
        cells += [_format_time(row, step) for step in TIMED]
        lines.append(_line(cells))
    lines += ["", LEGEND]
    chance = [value for row in rows for value in row.spread("random_distance").values]
    if chance:
        lines.append(f"The boundary distance of chance is {min(chance):.2f} shots.")
    failures = [
        f"- {run.row}, seed {run.seed}, {': '.join(run.failure)}" for row in rows for run in row.runs if run.failure
    ]
    if failures:
        lines += ["", "Failed; run the same command to try again:", "", *dict.fromkeys(failures)]
    return "\n".join(lines) + "\n"


def format_spread(values: Spread) -> str:
    """Format mean ± spread with two digits; the mean alone of one value, nothing of none."""
    if math.isnan(values.mean):
        return ""
    return f"{values.mean:.2f}" if math.isnan(values.sd) else f"{values.mean:.2f} ± {values.sd:.2f}"


def format_seconds(seconds: float) -> str:
    """Format a duration: 43 s, 12 min, 3.4 h."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 99.5 * 60 else f"{seconds / 3600:.1f} h"


def _format_change(row: RowResult, metric: str) -> str:
    """Format a metric, after its value before training if that is known and training has changed it."""
    before, after = row.spread(f"{metric}_before"), row.spread(metric)
    if math.isnan(before.mean) or before.values == after.values:
        return format_spread(after)
    return f"{before.mean:.2f} → {format_spread(after)}"


def _format_time(row: RowResult, step: str) -> str:
    seconds = row.seconds(step)
    return "" if math.isnan(seconds) else ("≥ " if row.is_resumed(step) else "") + format_seconds(seconds)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _row_line(row: RowResult) -> dict[str, Any]:
    line: dict[str, Any] = {"row": row.name, "seeds": row.num_done, "published_AP": row.published_ap}
    for metric in METRICS:
        values = row.spread(metric)
        line |= {f"{metric}_mean": _cell(values.mean), f"{metric}_sd": _cell(values.sd)}
    line |= {f"{step}_seconds": _cell(row.seconds(step)) for step in MODULES}
    return line | {"labelled_films": row.num_films}


def _run_line(row: RowResult, run: RunResult) -> dict[str, Any]:
    line: dict[str, Any] = {"row": run.row, "seed": run.seed}
    line |= {metric: _cell(run.values.get(metric)) for metric in METRICS}
    line |= {f"{step}_seconds": _cell(run.seconds.get(step)) for step in MODULES}
    line |= {"resumed": " ".join(sorted(run.resumed)), "failed": ": ".join(run.failure or ())}
    return line | {"labelled_films": row.num_films}


def _cell(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.6g}"


def _write_csv(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    def write(temporary: Path) -> None:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, list(lines[0]))
            table.writeheader()
            table.writerows(lines)

    write_atomically(path, write)

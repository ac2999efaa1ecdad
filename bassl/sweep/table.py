"""The table of a sweep: Markdown to read, `results.csv` with a line a row, `runs.csv` with a line a run."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bassl.files import write_atomically
from bassl.sweep.experiment import Experiment
from bassl.sweep.results import METRICS, RowResult, RunResult, Spread
from bassl.sweep.runs import STEPS

COLUMNS = {
    "AP": "AP",
    "mAP": "mAP",
    "zero_shot_AP": "zero-shot AP",
    "training_free_AP": "training-free AP",
    "knn@1": "k-NN@1",
    "distance": "boundary distance",
}
"""Columns of the Markdown table: metric, title."""
TIMED = ("pretrain", "extract", "finetune")
LEGEND = """\
Mean ± sample standard deviation over seeds, on the test rows; all but the distance in percent. AP: fine-tuned, all
shots pooled; mAP: mean of the films' AP. Zero-shot AP: the boundary head of pre-training, before any label.
Training-free AP: similarity of the features across a boundary, turned round. k-NN@1: how often the nearest shot of
a film is of the same scene; boundary distance: shots from the pseudo-boundary to the nearest true one; both before →
after pre-training. Time: wall time of a run, mean over seeds; ≥ where an interrupted part is not counted."""


def write_tables(folder: Path, experiment: Experiment, rows: Sequence[RowResult]) -> None:
    """Write `results.md`, `results.csv` and `runs.csv`."""
    text = markdown(experiment, rows)
    write_atomically(folder / "results.md", lambda path: path.write_text(text, encoding="utf-8"))
    _write_csv(folder / "results.csv", [_row_line(row) for row in rows])
    _write_csv(folder / "runs.csv", [_run_line(run) for row in rows for run in row.runs])


def markdown(experiment: Experiment, rows: Sequence[RowResult]) -> str:
    """The table with its legend, what failed, and what is not done yet. Columns that nothing fills are left
    out."""
    shown = [metric for metric in COLUMNS if any(row.spread(metric).values for row in rows)]
    is_published = any(row.published_ap is not None for row in rows)
    head = ["row", "seeds", *(["published AP"] if is_published else []), *(COLUMNS[metric] for metric in shown)]
    head += [f"{step} time" for step in TIMED]
    lines = [f"# {experiment.name}", "", experiment.about, "", _line(head), _line(["---"] * len(head))]
    for row in rows:
        done = f"{row.num_done}" if row.num_done == len(row.runs) else f"{row.num_done} of {len(row.runs)}"
        cells = [row.name, done]
        if is_published:
            cells.append("" if row.published_ap is None else f"{row.published_ap:.2f}")
        cells += [_shown_change(row, metric) for metric in shown]
        cells += [_shown_time(row, step) for step in TIMED]
        lines.append(_line(cells))
    lines += ["", LEGEND]
    chance = [value for row in rows for value in row.spread("random_distance").values]
    if chance:
        lines.append(f"A boundary drawn at random would lie {min(chance):.2f} shots off.")
    failed = [run for row in rows for run in row.runs if run.failure]
    if failed:
        lines += ["", "Failed; the same command tries again:", ""]
        lines += [f"- {run.row}, seed {run.seed}, {run.failure[0]}: {run.failure[1]}" for run in failed if run.failure]
    return "\n".join(lines) + "\n"


def shown_spread(values: Spread) -> str:
    """Mean ± spread with two digits; the mean alone for one value, nothing for none."""
    if math.isnan(values.mean):
        return ""
    return f"{values.mean:.2f}" if math.isnan(values.sd) else f"{values.mean:.2f} ± {values.sd:.2f}"


def shown_seconds(seconds: float) -> str:
    """A duration as one would say it: 43 s, 12 min, 3.4 h."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 99.5 * 60 else f"{seconds / 3600:.1f} h"


def _shown_change(row: RowResult, metric: str) -> str:
    """The metric, behind what it was before training where that is known and training has changed it."""
    before, after = row.spread(f"{metric}_before"), row.spread(metric)
    if math.isnan(before.mean) or before.values == after.values:
        return shown_spread(after)
    return f"{before.mean:.2f} → {shown_spread(after)}"


def _shown_time(row: RowResult, step: str) -> str:
    seconds = row.seconds(step)
    return "" if math.isnan(seconds) else ("≥ " if row.is_resumed(step) else "") + shown_seconds(seconds)


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _row_line(row: RowResult) -> dict[str, Any]:
    line: dict[str, Any] = {"row": row.name, "seeds": row.num_done, "published_AP": row.published_ap}
    for metric in METRICS:
        found = row.spread(metric)
        line |= {f"{metric}_mean": _cell(found.mean), f"{metric}_sd": _cell(found.sd)}
    for step in STEPS:
        line[f"{step}_seconds"] = _cell(row.seconds(step))
    return line


def _run_line(run: RunResult) -> dict[str, Any]:
    line: dict[str, Any] = {"row": run.row, "seed": run.seed}
    line |= {metric: _cell(run.values.get(metric)) for metric in METRICS}
    line |= {f"{step}_seconds": _cell(run.seconds.get(step)) for step in STEPS}
    return line | {"resumed": " ".join(sorted(run.resumed)), "failed": ": ".join(run.failure or ())}


def _cell(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.6g}"


def _write_csv(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    def write(temporary: Path) -> None:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, list(lines[0]))
            table.writeheader()
            table.writerows(lines)

    write_atomically(path, write)

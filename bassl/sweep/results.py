"""What came out: the numbers of every run, and their mean and spread over the seeds of a row."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bassl.errors import InputError
from bassl.sweep.folder import DONE, FAILED, StepRecord, SweepFolder
from bassl.sweep.runs import STEPS, run_name

EPOCHS = "config.TRAINER.max_epochs"
METRICS = ("AP", "mAP", "zero_shot_AP", "training_free_AP", "knn@1", "knn@5")
"""Numbers of a run, all in percent: fine-tuned AP and mean-per-film AP, AP of the pre-trained boundary head
and of the training-free scorer, k-NN precision of the features."""


@dataclass(frozen=True)
class RunResult:
    """One run. values: those of METRICS that there are, in percent. seconds: wall time of each step that is
    done; of those in `resumed` only the last part of it. failure: the step that failed and why. is_untrained:
    its encoder is as it was initialised."""

    row: str
    seed: int
    values: Mapping[str, float]
    seconds: Mapping[str, float]
    resumed: frozenset[str]
    failure: tuple[str, str] | None
    is_untrained: bool = False

    @property
    def is_done(self) -> bool:
        """Whether every step is."""
        return set(self.seconds) == set(STEPS)


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation of some values; NaN where there are none, or one."""

    mean: float
    sd: float
    values: tuple[float, ...]


@dataclass(frozen=True)
class RowResult:
    """A row over its seeds. published_ap: in percent, None where nothing is published."""

    name: str
    runs: tuple[RunResult, ...]
    published_ap: float | None = None

    def spread(self, metric: str) -> Spread:
        """Mean and spread over the runs that have the metric."""
        return spread([run.values[metric] for run in self.runs if metric in run.values])

    def seconds(self, step: str) -> float:
        """Mean wall time of a step over the runs in which it is done; NaN where it is in none."""
        return spread([run.seconds[step] for run in self.runs if step in run.seconds]).mean

    def is_resumed(self, step: str) -> bool:
        """Whether a wall time lacks what was done before an interruption."""
        return any(step in run.resumed for run in self.runs)

    @property
    def is_untrained(self) -> bool:
        """Whether this row's encoders are as they were initialised."""
        return any(run.is_untrained for run in self.runs)

    @property
    def num_done(self) -> int:
        """Runs that are through."""
        return sum(run.is_done for run in self.runs)


def spread(values: Sequence[float]) -> Spread:
    """Mean and sample standard deviation."""
    mean = statistics.fmean(values) if values else math.nan
    return Spread(mean, statistics.stdev(values) if len(values) > 1 else math.nan, tuple(values))


def collect(folder: SweepFolder, rows: Sequence[str], published_ap: Mapping[str, float]) -> list[RowResult]:
    """The results of every run that was ever asked for in a folder: rows in the given order, then any
    others."""
    known = folder.known_runs()
    order = [*rows, *sorted({row for row, _ in known} - set(rows))]
    found = []
    for row in order:
        seeds = sorted(seed for name, seed in known if name == row)
        if seeds:
            found.append(RowResult(row, tuple(_run(folder, row, seed) for seed in seeds), published_ap.get(row)))
    return found


def _run(folder: SweepFolder, row: str, seed: int) -> RunResult:
    name = run_name(row, seed)
    records: dict[str, StepRecord] = {step: folder.record(name, step) for step in STEPS}
    done = {step: record for step, record in records.items() if record.status == DONE}
    failed = [(step, record.error or "") for step, record in records.items() if record.status == FAILED]
    values: dict[str, float | None] = {}
    if "finetune" in done:
        scores = _read(folder.root / "finetune" / "logs" / name / "all_score.json")
        values |= {metric: scores["test"][metric] for metric in ("AP", "mAP")}
        values["training_free_AP"] = scores["training_free"].get("AP")
    if "measure" in done:
        measured = _read(folder.root / "measures" / f"{name}.json")
        values["zero_shot_AP"] = (measured["zero_shot"] or {}).get("AP")
    percent = {metric: 100 * value for metric, value in values.items() if value is not None}
    if "measure" in done:
        percent |= {f"knn@{k}": p for k in (1, 5) if (p := measured["knn"][str(k)]) is not None}
    return RunResult(
        row,
        seed,
        percent,
        {step: record.seconds or 0.0 for step, record in done.items()},
        frozenset(step for step, record in done.items() if record.attempts > 1),
        failed[0] if failed else None,
        records["pretrain"].settings.get(EPOCHS) == 0,
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); remove the sweep's folder and start again") from error

"""What came out: the numbers of every run, and their mean and spread over the seeds of a row."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from bassl.errors import InputError
from bassl.sweep.folder import DONE, FAILED, StepRecord, SweepFolder
from bassl.sweep.runs import STEPS, run_name

VALIDATED = {
    "knn@1": "knn/precision@1",
    "knn@5": "knn/precision@5",
    "distance": "val/pseudo_boundary_distance",
    "random_distance": "val/pseudo_boundary_distance_random",
}
"""What pre-training logs before its first step and after an epoch: here each has a `_before` as well."""
METRICS = (
    "AP",
    "mAP",
    "zero_shot_AP",
    "training_free_AP",
    *(f"{name}{when}" for name in VALIDATED for when in ("_before", "")),
)
"""Numbers of a run. In percent: fine-tuned AP and mean-per-film AP, AP of the pre-trained boundary head and of the
training-free scorer, k-NN precision. In shots: distance of the pseudo-boundary, and of a random one, to the nearest
true boundary."""


@dataclass(frozen=True)
class RunResult:
    """One run. values: those of METRICS that there are. seconds: wall time of each step that is done; of those in
    `resumed` only the last part of it. failure: the step that failed and why."""

    row: str
    seed: int
    values: Mapping[str, float]
    seconds: Mapping[str, float]
    resumed: frozenset[str]
    failure: tuple[str, str] | None

    @property
    def is_done(self) -> bool:
        """Whether its last step is."""
        return STEPS[-1] in self.seconds


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
    def num_done(self) -> int:
        """Runs that are through."""
        return sum(run.is_done for run in self.runs)


def spread(values: Sequence[float]) -> Spread:
    """Mean and sample standard deviation."""
    mean = statistics.fmean(values) if values else math.nan
    return Spread(mean, statistics.stdev(values) if len(values) > 1 else math.nan, tuple(values))


def collect(folder: SweepFolder, rows: Sequence[str], published_ap: Mapping[str, float]) -> list[RowResult]:
    """The results of every run that was ever asked for in a folder: rows in the given order, then any others."""
    known = folder.known_runs()
    order = [*rows, *sorted({row for row, _ in known} - set(rows))]
    found = []
    for row in order:
        seeds = sorted(seed for name, seed in known if name == row)
        if seeds:
            found.append(RowResult(row, tuple(_run(folder, row, seed) for seed in seeds), published_ap.get(row)))
    return found


def _run(folder: SweepFolder, row: str, seed: int) -> RunResult:
    """What a run has left. A step whose record or scores are damaged counts as failed, and in no mean."""
    name = run_name(row, seed)
    done: dict[str, StepRecord] = {}
    failed: list[tuple[str, str]] = []
    values: dict[str, float] = {}
    for step in STEPS:
        try:
            record = folder.record(name, step)
            if record.status == DONE:
                values |= _values(folder, name, step)
                done[step] = record
            elif record.status == FAILED:
                failed.append((step, record.error or ""))
        except InputError as error:
            failed.append((step, str(error)))
    return RunResult(
        row,
        seed,
        values,
        {step: record.seconds or 0.0 for step, record in done.items()},
        frozenset(step for step, record in done.items() if record.attempts > 1),
        failed[0] if failed else None,
    )


def _values(folder: SweepFolder, run: str, step: str) -> dict[str, float]:
    """The numbers of a step that is done; those that are not finite (nothing to measure) are left out."""
    if step == "extract":
        return {}
    logs = folder.root / step / "logs" / run
    if step == "pretrain":
        found: Mapping[str, float | None] = validated(logs)
    else:
        path = logs / "all_score.json"
        try:
            found = _scored(step, json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path} cannot be read ({error!r}); remove {folder.record_path(run, step)} first, and only that step "
                "and those behind it are done again"
            ) from error
    return {name: value for name, value in found.items() if value is not None and math.isfinite(value)}


def _scored(step: str, scores: Any) -> dict[str, float | None]:
    """The numbers of `all_score.json`, in percent."""
    if step == "zero_shot":
        found = {"zero_shot_AP": scores["test"]["AP"]}
    else:
        found = {metric: scores["test"][metric] for metric in ("AP", "mAP")}
        found["training_free_AP"] = scores["training_free"].get("AP")
    return {name: None if value is None else 100 * float(value) for name, value in found.items()}


@cache
def validated(logs: Path) -> Mapping[str, float]:
    """What a finished pre-training run logged before its first step (`..._before`) and last, by name in VALIDATED.

    An untrained model has the same number for both, a run without validation none.
    """
    from bassl.plots.scalars import read_scalars

    try:
        logged = read_scalars(logs)
    except InputError:
        return {}
    found = {}
    for name, tag in VALIDATED.items():
        if tag in logged:
            step, value = logged[tag]
            found[name] = float(value[-1])
            if step[0] == 0:
                found[f"{name}_before"] = float(value[0])
    return found

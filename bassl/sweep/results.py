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
from bassl.sweep.folder import DONE, FAILED, SweepFolder
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
    name = run_name(row, seed)
    records = {step: folder.record(name, step) for step in STEPS}
    done = {step: record for step, record in records.items() if record.status == DONE}
    failed = [(step, record.error or "") for step, record in records.items() if record.status == FAILED]
    values: dict[str, float] = {}
    if "finetune" in done:
        scores = _scores(folder.root / "finetune" / "logs" / name)
        values |= _percent({metric: scores["test"][metric] for metric in ("AP", "mAP")})
        values |= _percent({"training_free_AP": scores["training_free"].get("AP")})
    if "zero_shot" in done:
        values |= _percent({"zero_shot_AP": _scores(folder.root / "zero_shot" / "logs" / name)["test"]["AP"]})
    if "pretrain" in done:
        values |= validated(folder.root / "pretrain" / "logs" / name)
    return RunResult(
        row,
        seed,
        values,
        {step: record.seconds or 0.0 for step, record in done.items()},
        frozenset(step for step, record in done.items() if record.attempts > 1),
        failed[0] if failed else None,
    )


@cache
def validated(logs: Path) -> Mapping[str, float]:
    """What a finished pre-training run logged before its first step (`..._before`) and last, by name in VALIDATED.

    An untrained model has the same number for both, a run without validation none.
    """
    from bassl.diagnostics.scalars import read_scalars

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


def _percent(values: Mapping[str, float | None]) -> dict[str, float]:
    return {name: 100 * value for name, value in values.items() if value is not None}


def _scores(logs: Path) -> dict[str, Any]:
    path = logs / "all_score.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read ({error}); remove the sweep's folder and start again") from error

"""Collect the numbers of every run, with mean and spread over the seeds of a row."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bassl.errors import InputError
from bassl.sweep.experiment import Experiment
from bassl.sweep.folder import DONE, FAILED, SweepFolder
from bassl.sweep.runs import MODULES, finetune_step, run_name

VALIDATED = {
    "knn@1": "knn/precision@1",
    "knn@5": "knn/precision@5",
    "distance": "val/pseudo_boundary_distance",
    "random_distance": "val/pseudo_boundary_distance_random",
}
"""Values that pre-training logs before its first step and after an epoch; each has a `_before` as well."""
METRICS = (
    "AP",
    "mAP",
    "zero_shot_AP",
    "training_free_AP",
    *(f"{name}{when}" for name in VALIDATED for when in ("_before", "")),
)
"""Numbers of a run. Percent: fine-tuned AP and mean-per-film AP, AP of the pre-trained boundary head and of the
training-free scorer, k-NN precision. Shots: distance of the pseudo-boundary, and of a random one, to the nearest
labelled boundary."""


@dataclass(frozen=True)
class RunResult:
    """One run, fine-tuned on one number of films.

    Attributes:
        values: the known ones of METRICS.
        seconds: wall time of each step that is done, by its kind.
        resumed: steps whose wall time leaves out the part before an interruption.
        failure: the step that failed and why.
    """

    row: str
    seed: int
    values: Mapping[str, float]
    seconds: Mapping[str, float]
    resumed: frozenset[str] = frozenset()
    failure: tuple[str, str] | None = None

    @property
    def is_done(self) -> bool:
        """Whether its last step is done."""
        return "finetune" in self.seconds


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation of some values; NaN of none, and of one."""

    mean: float
    sd: float
    values: tuple[float, ...]


@dataclass(frozen=True)
class RowResult:
    """A row over its seeds.

    Attributes:
        published_ap: in percent, None if unknown.
        num_films: labelled films of fine-tuning, None for all.
    """

    name: str
    runs: tuple[RunResult, ...]
    published_ap: float | None = None
    num_films: int | None = None

    @property
    def label(self) -> str:
        """The row's name, with its number of films if it is limited."""
        if self.num_films is None:
            return self.name
        return f"{self.name}, {self.num_films} film{'s' if self.num_films > 1 else ''}"

    @property
    def num_done(self) -> int:
        """Number of runs that are done."""
        return sum(run.is_done for run in self.runs)

    def spread(self, metric: str) -> Spread:
        """Return mean and spread over the runs that have the metric."""
        return spread([run.values[metric] for run in self.runs if metric in run.values])

    def seconds(self, step: str) -> float:
        """Return the mean wall time of a step, NaN where no run has done it."""
        return spread([run.seconds[step] for run in self.runs if step in run.seconds]).mean

    def is_resumed(self, step: str) -> bool:
        """Return whether a wall time leaves out the part before an interruption."""
        return any(step in run.resumed for run in self.runs)


def spread(values: Sequence[float]) -> Spread:
    """Return mean and sample standard deviation."""
    mean = statistics.fmean(values) if values else math.nan
    return Spread(mean, statistics.stdev(values) if len(values) > 1 else math.nan, tuple(values))


def collect(folder: SweepFolder, experiment: Experiment) -> list[RowResult]:
    """Collect every run that was ever requested in a folder: rows in the experiment's order, then any others.

    A row has one result per number of labelled films.
    """
    known = folder.known_runs()
    rows = [*experiment.rows, *sorted({row for row, _ in known} - set(experiment.rows))]
    sizes: Sequence[int | None] = experiment.labelled_films or (None,)
    results = []
    for row in rows:
        seeds = sorted(seed for name, seed in known if name == row)
        for num_films in sizes:
            runs = tuple(_run_result(folder, row, seed, num_films) for seed in seeds)
            if runs:
                results.append(RowResult(row, runs, experiment.published_ap.get(row), num_films))
    return results


def _run_result(folder: SweepFolder, row: str, seed: int, num_films: int | None) -> RunResult:
    """Read what a run has left. A step whose record or scores are damaged counts as failed, and in no mean."""
    run = run_name(row, seed)
    values: dict[str, float] = {}
    seconds: dict[str, float] = {}
    resumed: set[str] = set()
    failures: list[tuple[str, str]] = []
    for kind in MODULES:
        step = finetune_step(num_films) if kind == "finetune" else kind
        try:
            record = folder.record(run, step)
            if record.status == FAILED:
                failures.append((step, record.error or ""))
            elif record.status == DONE:
                values |= _values(folder, run, kind, step)
                seconds[kind] = record.seconds or 0.0
                resumed |= {kind} if record.attempts > 1 else set()
        except InputError as error:
            failures.append((step, str(error)))
    failure = failures[0] if failures else None
    return RunResult(row, seed, values, seconds, frozenset(resumed), failure)


def _values(folder: SweepFolder, run: str, kind: str, step: str) -> dict[str, float]:
    """Read the numbers of a step that is done, without those that are not finite: there was nothing to measure."""
    logs = folder.root / kind / "logs" / f"{run}{step.removeprefix(kind)}"
    if kind == "extract":
        return {}
    if kind == "pretrain":
        return {name: value for name, value in validated(logs).items() if math.isfinite(value)}
    path = logs / "all_score.json"
    try:
        scores = json.loads(path.read_text(encoding="utf-8"))
        if kind == "zero_shot":
            found = {"zero_shot_AP": scores["test"]["AP"]}
        else:
            found = {metric: scores["test"][metric] for metric in ("AP", "mAP")}
            found["training_free_AP"] = scores["training_free"].get("AP")
        return {name: 100 * value for name, value in found.items() if value is not None and math.isfinite(value)}
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(
            f"{path} cannot be read ({error!r}); remove {folder.record_path(run, step)}, and only that step and later "
            "ones are run again"
        ) from error


@cache
def validated(logs: Path) -> Mapping[str, float]:
    """Read what a finished pre-training run logged before its first step (`..._before`) and last, by VALIDATED.

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

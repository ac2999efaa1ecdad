"""A sweep's folder: what is done, step by step, and that it never mixes two experiments.

sweep.json                the experiment and the runs that were requested so far
steps/<run>.<step>.json   status, attempts, seconds, settings and annotations of each step
output/<run>.<step>.txt   output of the step
pretrain/{ckpt,logs}/<run>, features/<run>, zero_shot/logs/<run>, finetune/{ckpt,logs}/<run>[-<N>films]
results.md, results.csv, runs.csv, results.png
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any

from bassl.errors import InputError
from bassl.files import lock_folder, sha256_of, write_json
from bassl.sweep.runs import MODULES, Run, Step, run_name

WAITING, DONE, FAILED = "waiting", "done", "failed"
RECORD = re.compile(rf"(?P<row>.+)-seed(?P<seed>\d+)\.(?P<step>(?:{'|'.join(MODULES)})(?:-\d+films)?)\.json")


@dataclass(frozen=True)
class StepRecord:
    """How far a step is; ValueError for values that no version wrote.

    Attributes:
        status: waiting (also after an interruption), done or failed.
        attempts: how often it was started.
        seconds: wall time of the last attempt, None if it was interrupted.
        error: why it failed.
        annotations: SHA-256 of the files of labels, by path.
    """

    status: str = WAITING
    attempts: int = 0
    seconds: float | None = None
    error: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        is_valid = self.status in (WAITING, DONE, FAILED) and isinstance(self.attempts, int)
        is_valid &= isinstance(self.seconds, (int, float, type(None))) and isinstance(self.error, (str, type(None)))
        if not is_valid or not isinstance(self.settings, Mapping) or not isinstance(self.annotations, Mapping):
            raise ValueError("it holds unexpected values")


@dataclass(frozen=True)
class SweepFolder:
    """The folder of one experiment."""

    root: Path

    # --- steps --------------------------------------------------------------------------------------------------------

    def record(self, run: str, step: str) -> StepRecord:
        """Return what is known of a step; InputError for a damaged record."""
        path = self.record_path(run, step)
        if not path.is_file():
            return StepRecord()
        try:
            stored = _read_object(path)
            known = {entry.name: stored[entry.name] for entry in fields(StepRecord) if entry.name in stored}
            return StepRecord(**{"status": None, **known})
        except ValueError as error:
            raise InputError(
                f"{path} is damaged ({error}); remove it, and only that step and later ones are run again"
            ) from error

    def write_record(self, run: str, step: str, record: StepRecord) -> None:
        """Record how far a step is."""
        write_json(self.record_path(run, step), asdict(record))

    def record_path(self, run: str, step: str) -> Path:
        """Return the file of a step's record."""
        return self.root / "steps" / f"{run}.{step}.json"

    def output_path(self, run: str, step: str) -> Path:
        """Return the file of a step's output."""
        return self.root / "output" / f"{run}.{step}.txt"

    def remaining(self, run: Run) -> list[Step]:
        """List the steps of a run from the first that is not done."""
        done = [self.record(run.name, step.name).status == DONE for step in run.steps]
        return list(run.steps[done.index(False) :]) if False in done else []

    # --- the folder as a whole ----------------------------------------------------------------------------------------

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep other sweeps out. Raises InputError while another one is at work, and for a folder of other things."""
        self._refuse_other_contents()
        with lock_folder(self.root, f"another sweep works in {self.root}; wait for it, or name another --output"):
            yield

    def begin(self, experiment: str, runs: Sequence[Run]) -> None:
        """Record what is requested.

        Raises InputError where the folder holds another experiment or other things, or where a run, or its row with
        another seed, was made with other settings or annotations.
        """
        self._refuse_other_contents()
        holds = self._stored().get("experiment", experiment)
        if holds != experiment:
            raise InputError(f"{self.root} holds the experiment {holds}, not {experiment}; name another --output")
        for run in runs:
            for step in run.steps:
                self.refuse_mixing(run, step)
        known = self.known_runs()
        known += [(run.row, run.seed) for run in runs if (run.row, run.seed) not in known]
        write_json(self.root / "sweep.json", {"experiment": experiment, "runs": known})

    def known_runs(self) -> list[tuple[str, int]]:
        """List row and seed of every run that was ever requested here."""
        return [(row, seed) for row, seed in self._stored().get("runs", [])]

    def refuse_mixing(self, run: Run, step: Step) -> None:
        """Raise InputError where existing results differ from a step's settings or annotations.

        A step that has left nothing may change. A row has the same settings for all seeds, and everything in the
        folder the same annotations. Keys that only one version of the code knows do not count.
        """
        previous, annotations = self.record(run.name, step.name), annotation_hashes(step)
        if previous.status == DONE or step.output.exists():
            self._refuse_other_settings(run.name, step, previous)
            self._refuse_other_annotations(run.name, step.name, annotations, previous)
        for row, seed, name in self._recorded_steps():
            record = self.record(run_name(row, seed), name)
            if record.status == DONE:
                if row == run.row and name == step.name:
                    self._refuse_other_settings(run_name(row, seed), step, record)
                self._refuse_other_annotations(run_name(row, seed), name, annotations, record)

    def _refuse_other_settings(self, run: str, step: Step, record: StepRecord) -> None:
        now, then = json.loads(json.dumps(step.settings)), record.settings
        for key in now:
            if key in then and now[key] != then[key]:
                raise InputError(
                    f"{run} in {self.root} was made with {key}={then[key]} ({step.name}), now it is {now[key]}; "
                    "name another --output, or remove that folder"
                )

    def _refuse_other_annotations(self, run: str, step: str, now: Mapping[str, str], record: StepRecord) -> None:
        for path in now:
            if path in record.annotations and now[path] != record.annotations[path]:
                raise InputError(
                    f"{path} has changed since {run} in {self.root} was made with it ({step}); restore the file, "
                    "name another --output, or remove that folder"
                )

    def _refuse_other_contents(self) -> None:
        if not self.root.is_dir() or (self.root / "sweep.json").is_file() or self._recorded_steps():
            return
        others = sorted(entry.name for entry in self.root.iterdir() if not entry.name.startswith("."))
        if others:
            raise InputError(f"{self.root} holds other things ({others[0]}); name a new --output")

    def _stored(self) -> dict[str, Any]:
        """Read `sweep.json`; where it was removed, take the runs from the steps' records."""
        path = self.root / "sweep.json"
        if not path.is_file():
            return {"runs": sorted({(row, seed) for row, seed, _ in self._recorded_steps()})}
        try:
            stored = _read_object(path)
            is_valid = isinstance(stored.get("experiment"), str) and isinstance(stored.get("runs"), list)
            if not is_valid or any([type(value) for value in run] != [str, int] for run in stored["runs"]):
                raise ValueError("it holds unexpected values")
        except (ValueError, TypeError) as error:
            raise InputError(
                f"{path} is damaged ({error}); remove it, and it is made from {self.root}/steps"
            ) from error
        return stored

    def _recorded_steps(self) -> list[tuple[str, int, str]]:
        """List row, seed and step of every record."""
        found = [RECORD.fullmatch(path.name) for path in sorted((self.root / "steps").glob("*.json"))]
        return [(match["row"], int(match["seed"]), match["step"]) for match in found if match]


def annotation_hashes(step: Step) -> dict[str, str]:
    """Return the SHA-256 of each existing annotation file that a step reads, by path."""
    found = {}
    for path in step.annotations:
        if path.is_file():
            state = path.stat()
            found[str(path.resolve())] = _sha256(path.resolve(), state.st_mtime_ns, state.st_size)
    return found


@cache
def _sha256(path: Path, _changed: int, _size: int) -> str:
    return sha256_of(path)


def _read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object; ValueError for anything else."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(stored, dict):
        raise ValueError(f"it holds {type(stored).__name__}, not an object")
    return stored

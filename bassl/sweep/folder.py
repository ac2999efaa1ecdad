"""A sweep's folder: what has been done in it, step by step, and that it is never used for two things.

sweep.json                the experiment, and the runs that were asked for so far
steps/<run>.<step>.json   status, attempts, seconds and settings of each step
output/<run>.<step>.txt   what the step said
pretrain/{ckpt,logs}/<run>, features/<run>, zero_shot/logs/<run>, finetune/{ckpt,logs}/<run>
results.md, results.csv, runs.csv, results.png
"""

from __future__ import annotations

import fcntl
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bassl.errors import InputError
from bassl.files import write_json
from bassl.sweep.runs import Run, Step

WAITING, DONE, FAILED = "waiting", "done", "failed"
PATIENCE = 60.0  # seconds for the steps of a sweep that was killed to save themselves and end


@dataclass(frozen=True)
class StepRecord:
    """How far a step is. status: waiting (also: was interrupted), done or failed. attempts: how often it was
    started. seconds: wall time of the last attempt, None where it was interrupted. error: why it failed."""

    status: str = WAITING
    attempts: int = 0
    seconds: float | None = None
    error: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SweepFolder:
    """The folder of one experiment."""

    root: Path

    def record(self, run: Run | str, step: Step | str) -> StepRecord:
        """What is known of a step."""
        path = self._record_path(run, step)
        if not path.is_file():
            return StepRecord()
        return StepRecord(**_read(path))

    def note(self, run: Run, step: Step, record: StepRecord) -> None:
        """Write down how far a step is."""
        write_json(self._record_path(run, step), asdict(record))

    def output(self, run: Run, step: Step) -> Path:
        """Where a step's messages go."""
        return self.root / "output" / f"{run.name}.{step.name}.txt"

    def remaining(self, run: Run) -> list[Step]:
        """The steps of a run that are not done, in order."""
        done = [self.record(run, step).status == DONE for step in run.steps]
        return list(run.steps[done.index(False) :]) if False in done else []

    def _record_path(self, run: Run | str, step: Step | str) -> Path:
        run_name = run if isinstance(run, str) else run.name
        step_name = step if isinstance(step, str) else step.name
        return self.root / "steps" / f"{run_name}.{step_name}.json"

    @contextmanager
    def taken(self) -> Iterator[int]:
        """Hold the folder. The file descriptor is handed to the steps, so that one which outlives a killed
        sweep holds it too; those are given a minute to end. Raises InputError where another sweep is at
        work."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / ".lock").open("w") as lock:
            deadline = time.monotonic() + PATIENCE
            while not _locked(lock.fileno()):
                if time.monotonic() > deadline or self._is_held_by_a_sweep():
                    raise InputError(f"another sweep works in {self.root}; wait for it, or name another --output")
                time.sleep(0.2)
            with (self.root / ".sweep").open("w") as mine:  # this one is not handed on
                _locked(mine.fileno())
                yield lock.fileno()

    def _is_held_by_a_sweep(self) -> bool:
        with (self.root / ".sweep").open("w") as theirs:
            return not _locked(theirs.fileno())

    def begin(self, experiment: str, runs: Sequence[Run]) -> None:
        """Write down what is asked for. Raises InputError where the folder holds another experiment or
        something else, or where a run has been begun under other settings."""
        path = self.root / "sweep.json"
        if not path.is_file():
            others = [entry.name for entry in self.root.iterdir() if not entry.name.startswith(".")]
            if others:
                raise InputError(f"{self.root} holds other things ({others[0]}); name a new --output")
            write_json(path, {"experiment": experiment, "runs": []})
        stored = _read(path)
        if stored["experiment"] != experiment:
            raise InputError(
                f"{self.root} holds the experiment {stored['experiment']}, not {experiment}; name another --output"
            )
        for run in runs:
            for step in run.steps:
                self._refuse_other_settings(run, step)
        known = [tuple(entry) for entry in stored["runs"]]
        known += [(run.row, run.seed) for run in runs if (run.row, run.seed) not in known]
        write_json(path, {"experiment": experiment, "runs": known})

    def known_runs(self) -> list[tuple[str, int]]:
        """Row and seed of every run that was ever asked for here."""
        path = self.root / "sweep.json"
        return [(row, seed) for row, seed in _read(path)["runs"]] if path.is_file() else []

    def _refuse_other_settings(self, run: Run, step: Step) -> None:
        """What has left nothing may change, what has may not; keys of one version of the code only do not count."""
        record = self.record(run, step)
        if not record.settings or (record.status != DONE and not step.output.exists()):
            return
        now, then = _as_stored(step.settings), record.settings
        for key in [key for key in now if key in then]:
            if now[key] != then[key]:
                raise InputError(
                    f"{run.name} in {self.root} was made with {key}={then[key]} ({step.name}), now it is {now[key]}; "
                    "name another --output, or remove that folder"
                )


def _as_stored(settings: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(settings))


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path} is damaged ({error}); remove it, and what it was about is done again") from error

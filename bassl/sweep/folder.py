"""A sweep's folder: what has been done in it, step by step, and that it is never used for two things.

sweep.json                the experiment, and the runs that were asked for so far
steps/<run>.<step>.json   status, attempts, seconds, settings and annotations of each step
output/<run>.<step>.txt   what the step said
pretrain/{ckpt,logs}/<run>, features/<run>, zero_shot/logs/<run>, finetune/{ckpt,logs}/<run>
results.md, results.csv, runs.csv, results.png
"""

from __future__ import annotations

import fcntl
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any

from bassl.errors import InputError
from bassl.files import sha256_of, write_json
from bassl.sweep.runs import STEPS, Run, Step, run_name

WAITING, DONE, FAILED = "waiting", "done", "failed"
PATIENCE = 60.0  # seconds for the steps of a sweep that was killed to save themselves and end
RECORD = re.compile(rf"(?P<row>.+)-seed(?P<seed>\d+)\.(?:{'|'.join(STEPS)})\.json")


@dataclass(frozen=True)
class StepRecord:
    """How far a step is. status: waiting (also: was interrupted), done or failed. attempts: how often it was
    started. seconds: wall time of the last attempt, None where it was interrupted. error: why it failed.
    annotations: SHA-256 of the files that it read, by path."""

    status: str = WAITING
    attempts: int = 0
    seconds: float | None = None
    error: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.status not in (WAITING, DONE, FAILED):
            raise ValueError(f"status is {self.status!r}")
        if not isinstance(self.attempts, int) or not isinstance(self.seconds, (int, float, type(None))):
            raise ValueError(f"attempts are {self.attempts!r}, seconds {self.seconds!r}")
        if not isinstance(self.error, (str, type(None))):
            raise ValueError(f"error is {self.error!r}")
        if not isinstance(self.settings, Mapping) or not isinstance(self.annotations, Mapping):
            raise ValueError("settings and annotations are no tables")


@dataclass(frozen=True)
class SweepFolder:
    """The folder of one experiment."""

    root: Path

    def record(self, run: Run | str, step: Step | str) -> StepRecord:
        """What is known of a step. Raises InputError for a record that is damaged."""
        path = self.record_path(run, step)
        if not path.is_file():
            return StepRecord()
        try:
            stored = _read(path)
            known = {entry.name: stored[entry.name] for entry in fields(StepRecord) if entry.name in stored}
            return StepRecord(**{"status": None, **known})
        except ValueError as error:
            raise InputError(
                f"{path} is damaged ({error}); remove it, and only that step and those behind it are done again"
            ) from error

    def note(self, run: Run, step: Step, record: StepRecord) -> None:
        """Write down how far a step is."""
        write_json(self.record_path(run, step), asdict(record))

    def output(self, run: Run, step: Step) -> Path:
        """Where a step's messages go."""
        return self.root / "output" / f"{run.name}.{step.name}.txt"

    def remaining(self, run: Run) -> list[Step]:
        """The steps of a run that are not done, in order."""
        done = [self.record(run, step).status == DONE for step in run.steps]
        return list(run.steps[done.index(False) :]) if False in done else []

    def record_path(self, run: Run | str, step: Step | str) -> Path:
        """Where a step's record lies."""
        names = (one if isinstance(one, str) else one.name for one in (run, step))
        return self.root / "steps" / f"{'.'.join(names)}.json"

    @contextmanager
    def taken(self) -> Iterator[int]:
        """Hold the folder. The file descriptor is handed to the steps, so that one which outlives a killed
        sweep holds it too; those are given a minute to end. Raises InputError where another sweep is at
        work, and where the folder holds something else, which stays as it is."""
        self._refuse_other_things()
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
        something else, or where a run, or its row with another seed, has been made with other settings or
        annotations."""
        self._refuse_other_things()
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
        """Row and seed of every run that was ever asked for here."""
        return [(row, seed) for row, seed in self._stored().get("runs", [])]

    def _refuse_other_things(self) -> None:
        if not self.root.is_dir() or (self.root / "sweep.json").is_file() or self._recorded_runs():
            return
        others = sorted(entry.name for entry in self.root.iterdir() if not entry.name.startswith("."))
        if others:
            raise InputError(f"{self.root} holds other things ({others[0]}); name a new --output")

    def _stored(self) -> dict[str, Any]:
        """`sweep.json`; where it was removed, the runs as their steps' records name them."""
        path = self.root / "sweep.json"
        if not path.is_file():
            return {"runs": self._recorded_runs()}
        try:
            stored = _read(path)
            if not isinstance(stored.get("experiment"), str) or not isinstance(stored.get("runs"), list):
                raise ValueError("no experiment or no runs")
            if not all(isinstance(run, list) and list(map(type, run)) == [str, int] for run in stored["runs"]):
                raise ValueError("runs that are no row and seed")
        except ValueError as error:
            raise InputError(
                f"{path} is damaged ({error}); remove it, and it is made again from {self.root / 'steps'}"
            ) from error
        return stored

    def _recorded_runs(self) -> list[tuple[str, int]]:
        found = [RECORD.fullmatch(path.name) for path in (self.root / "steps").glob("*.json")]
        return sorted({(match["row"], int(match["seed"])) for match in found if match})

    def refuse_mixing(self, run: Run, step: Step) -> None:
        """Raise InputError where a step has been begun with other settings or annotations, its row is done with
        others for another seed, or anything is done with another version of its annotations.

        What has left nothing may change, what has may not; keys of one version of the code only do not count.
        """
        own, annotations = self.record(run, step), annotation_hashes(step)
        if own.status == DONE or step.output.exists():
            self._refuse_other_settings(run.name, step, own)
            self._refuse_other_annotations(run.name, step.name, annotations, own)
        for row, seed in self.known_runs():
            name = run_name(row, seed)
            for other in STEPS:
                record = self.record(name, other)
                if record.status == DONE and row == run.row and other == step.name:
                    self._refuse_other_settings(name, step, record)
                if record.status == DONE:
                    self._refuse_other_annotations(name, other, annotations, record)

    def _refuse_other_settings(self, name: str, step: Step, record: StepRecord) -> None:
        now, then = _as_stored(step.settings), record.settings
        for key in [key for key in now if key in then]:
            if now[key] != then[key]:
                raise InputError(
                    f"{name} in {self.root} was made with {key}={then[key]} ({step.name}), now it is {now[key]}; "
                    "name another --output, or remove that folder"
                )

    def _refuse_other_annotations(self, name: str, step: str, now: Mapping[str, str], record: StepRecord) -> None:
        for path in [path for path in now if path in record.annotations]:
            if now[path] != record.annotations[path]:
                raise InputError(
                    f"{path} has changed since {name} in {self.root} was made with it ({step}); put the former file "
                    "back, name another --output, or remove that folder"
                )


def annotation_hashes(step: Step) -> dict[str, str]:
    """SHA-256 of the annotations that a step reads, by path; those that are not there are left out."""
    found = {}
    for path in step.annotations:
        if path.is_file():
            state = path.stat()
            found[str(path.resolve())] = _hashed(path.resolve(), state.st_mtime_ns, state.st_size)
    return found


@cache
def _hashed(path: Path, _changed: int, _size: int) -> str:
    return sha256_of(path)


def _as_stored(settings: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(settings))


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(path: Path) -> dict[str, Any]:
    """A JSON object. Raises ValueError for anything else."""
    stored = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(stored, dict):
        raise ValueError(f"it holds {type(stored).__name__}, not an object")
    return stored

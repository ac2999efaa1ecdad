"""A sweep's folder as it lies there when its runs are through, written by hand."""

from __future__ import annotations

import json
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from bassl.files import write_json
from bassl.sweep.folder import DONE, FAILED, StepRecord, SweepFolder
from bassl.sweep.runs import STEPS, run_name
from tests.sweep.pretend import pretended_run


def write_run(
    folder: SweepFolder,
    row: str,
    seed: int,
    scores: dict[str, float] | None,
    *,
    zero_shot: float | None = None,
    validated: dict[str, list[tuple[int, float]]] | None = None,
    seconds: float = 10.0,
    attempts: int = 1,
    error: str = "no key-frames",
) -> None:
    """A run with its scores as fractions; without scores its fine-tuning has failed."""
    name = run_name(row, seed)
    stored = folder.root / "sweep.json"
    known = json.loads(stored.read_text())["runs"] if stored.is_file() else []
    write_json(stored, {"experiment": "mine", "runs": [*known, [row, seed]]})
    run = pretended_run(folder.root, row, [], seed)
    steps = [step for step in STEPS if step != "zero_shot" or zero_shot is not None]
    for number, step in enumerate(steps):
        record = StepRecord(DONE, attempts, seconds * (number + 1))
        if scores is None and number >= 2:
            record = StepRecord(FAILED, 1, 1.0, error) if number == 2 else StepRecord()
        path: Path = folder.root / "steps" / f"{run.name}.{step}.json"
        write_json(path, vars(record) | {"settings": {}})
    if scores is not None:
        write_json(scores_of(folder, "finetune", name), {"test": scores, "training_free": {"AP": 0.25}})
        if zero_shot is not None:
            write_json(scores_of(folder, "zero_shot", name), {"test": {"AP": zero_shot}, "training_free": {}})
    if validated:
        write_scalars(folder.root / "pretrain" / "logs" / name, validated)


def scores_of(folder: SweepFolder, step: str, name: str) -> Path:
    return folder.root / step / "logs" / name / "all_score.json"


def write_scalars(logs: Path, validated: dict[str, list[tuple[int, float]]]) -> None:
    """TensorBoard's file of a run: (step, value) by tag."""
    writer = EventFileWriter(str(logs))
    for tag, points in validated.items():
        for step, value in points:
            logged = Summary(value=[Summary.Value(tag=tag, simple_value=value)])
            writer.add_event(Event(step=step, wall_time=step, summary=logged))
    writer.close()

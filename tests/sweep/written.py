"""The folder of a finished sweep, written by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from bassl.files import write_json
from bassl.sweep.folder import DONE, FAILED, StepRecord, SweepFolder
from bassl.sweep.runs import MODULES, finetune_step, run_name


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
    films: Sequence[int | None] = (None,),
) -> None:
    """Write a run with its scores as fractions, by number of films if `films` are given; without scores it failed."""
    name = run_name(row, seed)
    stored = folder.root / "sweep.json"
    known = json.loads(stored.read_text())["runs"] if stored.is_file() else []
    write_json(stored, {"experiment": "mine", "runs": [*known, [row, seed]]})
    kinds = [kind for kind in MODULES if kind != "zero_shot" or zero_shot is not None]
    steps = [*kinds[:-1], *(finetune_step(number) for number in films)]
    for number, step in enumerate(steps):
        record = StepRecord(DONE, attempts, seconds * (number + 1))
        if scores is None and number >= 2:
            record = StepRecord(FAILED, 1, 1.0, error) if number == 2 else StepRecord()
        folder.write_record(name, step, record)
    if scores is not None:
        for number in films:
            ending = finetune_step(number).removeprefix("finetune")
            scaled = scores if number is None else {metric: value * number for metric, value in scores.items()}
            report = {"test": scaled, "training_free": {"AP": 0.25}}
            write_json(scores_of(folder, "finetune", f"{name}{ending}"), report)
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

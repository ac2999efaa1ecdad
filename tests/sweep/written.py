"""A sweep's folder as it lies there when its runs are through, written by hand."""

from __future__ import annotations

import json
from pathlib import Path

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
    knn: float | None = 50.0,
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
    for number, step in enumerate(STEPS):
        record = StepRecord(DONE, attempts, seconds * (number + 1))
        if scores is None and number >= 2:
            record = StepRecord(FAILED, 1, 1.0, error) if number == 2 else StepRecord()
        path: Path = folder.root / "steps" / f"{run.name}.{step}.json"
        write_json(path, vars(record) | {"settings": {"config.TRAINER.max_epochs": 0 if row == "random" else 5}})
    if scores is not None:
        logs = folder.root / "finetune" / "logs" / name
        write_json(logs / "all_score.json", {"test": scores, "training_free": {"AP": 0.25}})
        measured = {"knn": {"1": knn, "5": None}, "zero_shot": None if zero_shot is None else {"AP": zero_shot}}
        write_json(folder.root / "measures" / f"{name}.json", measured)

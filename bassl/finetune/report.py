"""What a fine-tuning run leaves to read: scores, per-shot predictions, and the training-free scorer beside them."""

from __future__ import annotations

import csv
import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from bassl.config.paths import data_paths
from bassl.config.schema import Finetune
from bassl.dataset.features import FeatureTable
from bassl.dataset.keyframes import Keyframes
from bassl.errors import InputError
from bassl.files import sha256_of, write_atomically, write_json
from bassl.finetune.inputs import Split
from bassl.finetune.metrics import ShotPredictions, scene_metrics
from bassl.finetune.module import FinetuneModule
from bassl.model.checkpoint_names import LAST
from bassl.model.similarity import boundary_probabilities
from bassl.plots.film_timelines import draw_film_timelines
from bassl.training.run_folder import RunFolder

log = logging.getLogger(__name__)
FINETUNED, ZERO_SHOT = "fine-tuned", "zero-shot"
SIMILARITY_WINDOW = 8
MAX_TIMELINES = 8
SHOWN = ("AP", "mAP", "AUC", "F1", "Recall", "Recall@3s", "mIoU", "mIoU_shots")


def report(
    config: Finetune,
    run: RunFolder,
    module: FinetuneModule,
    test: Split,
    table: FeatureTable | None,
    *,
    kind: str,
    checkpoint: Path,
) -> None:
    """Write scores, predictions and timelines of a scored module; print the scores beside a training-free scorer.

    Args:
        kind: FINETUNED or ZERO_SHOT.
        checkpoint: File that holds the weights that were scored.
    """
    baseline = similarity_results(table, test, config.TEST.UNCERTAIN_LABEL) if table is not None else {}
    write_report(run.logs, module, test, baseline, kind=kind, checkpoint=checkpoint)
    keyframes = Keyframes(data_paths(config).keyframes, test.annotations)
    pictures = draw_film_timelines(
        run.logs,
        module.evaluations[test.name].predictions,
        keyframes,
        test.frames,
        threshold=module.threshold,
        fps=config.TEST.FPS,
        max_films=MAX_TIMELINES,
    )
    log.info("picture: %s", pictures[0])


def similarity_results(table: FeatureTable, split: Split, uncertain: str) -> dict[str, float]:
    """Metrics of the training-free scorer (see `bassl.model.similarity`) on the rows of a split.

    Its probability has no natural threshold, so F1 and the metrics after it are left out.
    """
    annotations, first = split.annotations, split.first
    assert first is not None
    probability = np.zeros(len(annotations))
    for film in range(len(annotations.films)):
        rows = np.flatnonzero(annotations.film == film)
        start, count = int(first[film]), int(annotations.num_shots[film])
        scores = boundary_probabilities(table.values[start : start + count].float().cpu(), SIMILARITY_WINDOW)
        probability[rows] = scores.numpy()[annotations.shot[rows]]
    predictions = ShotPredictions(annotations.film, annotations.shot, probability, annotations.label)
    results = scene_metrics(predictions, None, uncertain=uncertain)
    return {name: results[name] for name in ("AP", "mAP", "AUC")}


def refuse_to_replace(run: RunFolder) -> None:
    """Raise InputError where an evaluation alone would write over the report of a training run."""
    try:
        recorded = json.loads((run.logs / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        recorded = None
    is_training = isinstance(recorded, dict) and not (recorded.get("LOAD_FROM") or recorded.get("ZERO_SHOT"))
    if is_training or (run.checkpoints / LAST).is_file():
        raise InputError(
            f"{run.logs} holds the report of the training run {run.name}, which an evaluation alone would "
            "replace; set config.EXPR_NAME to another name"
        )


def write_report(
    folder: Path,
    module: FinetuneModule,
    split: Split,
    baseline: Mapping[str, float],
    *,
    kind: str = FINETUNED,
    checkpoint: Path | None = None,
) -> None:
    """Write `all_score.json` and `predictions.csv` of a split, and print its scores as a table.

    kind: what the model is, FINETUNED or ZERO_SHOT. checkpoint: the file that holds the weights that were scored.
    """
    evaluation = module.evaluations[split.name]
    results = evaluation.results
    scores = {
        "kind": kind,
        "model": _identity(checkpoint),
        "epoch": module.trained_epochs,
        split.name: {name: _number(value) for name, value in results.items()},
        "threshold": module.threshold,
        "val": module.metadata.get("val"),
        "training_free": {name: _number(value) for name, value in baseline.items()},
        "threshold_from_val": module.metadata.get("threshold"),
    }
    write_json(folder / "all_score.json", scores)
    write_atomically(folder / "predictions.csv", lambda path: write_predictions(path, evaluation.predictions, split))
    names = [name for name in SHOWN if name in results]
    lines = [" " * 14 + "".join(f"{name:>11}" for name in names)]
    title_of_model = "model" if kind == FINETUNED else kind
    for title, row in ((title_of_model, results), ("training-free", baseline)):
        if row:
            lines.append(
                f"{title:14}" + "".join(f"{100 * row[name]:11.2f}" if name in row else f"{'-':>11}" for name in names)
            )
    log.info("%s (%%, %d shots):\n%s", split.name, len(split.annotations), "\n".join(lines))
    log.info("scores: %s\npredictions: %s", folder / "all_score.json", folder / "predictions.csv")


def write_predictions(path: Path, predictions: ShotPredictions, split: Split) -> None:
    """A table with one row a shot: film, shot, probability, label; sorted by film and shot."""
    order = np.lexsort((predictions.shot, predictions.film))
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("film", "shot", "probability", "label"))
        for row in order:
            film, shot = int(predictions.film[row]), int(predictions.shot[row])
            name, shot_id = split.annotations.films[film], split.annotations.shot_id(film, shot)
            table.writerow((name, shot_id, f"{predictions.probability[row]:.6f}", int(predictions.label[row])))


def _identity(checkpoint: Path | None) -> dict[str, str] | None:
    """Path and SHA-256 of a model's file; None where there is none."""
    if checkpoint is None or not checkpoint.is_file():
        return None
    return {"path": str(checkpoint), "sha256": sha256_of(checkpoint)}


def _number(value: float) -> float | None:
    """NaN, a metric without anything to measure, is null in JSON."""
    return None if math.isnan(value) else value

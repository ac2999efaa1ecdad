"""Report a fine-tuning run: scores beside those of a training-free scorer, predictions per shot, timelines."""

from __future__ import annotations

import csv
import json
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bassl.config.paths import data_paths
from bassl.config.schema import Finetune
from bassl.dataset.features import FeatureTable
from bassl.dataset.keyframes import Keyframes
from bassl.errors import InputError
from bassl.files import sha256_of, write_atomically, write_json
from bassl.finetune.decoding import posterior_metrics, posterior_predictions, similarity_metrics
from bassl.finetune.inputs import Split
from bassl.finetune.metrics import ShotPredictions
from bassl.finetune.module import Evaluation, FinetuneModule
from bassl.model import LAST
from bassl.plots.film_timelines import draw_film_timelines
from bassl.training.run_folder import RunFolder

log = logging.getLogger(__name__)
FINETUNED, ZERO_SHOT, TRAINING_FREE = "fine-tuned", "zero-shot", "training-free"
MAX_TIMELINES = 8
REFERENCE_KEYS = {
    "ap": "AP",
    "auc": "AUC",
    "f1": "F1",
    "recall": "Recall",
    "recall@3s": "Recall@3s",
    "mIoU": "mIoU",
    "acc": "Accuracy",
    "acc0": "Accuracy0",
    "acc1": "Accuracy1",
}
SHOWN = ("AP", "mAP", "AUC", "F1", "Recall", "Recall@3s", "mIoU", "mIoU_shots")


@dataclass(frozen=True)
class Scored:
    """Scores of a model on a split.

    Attributes:
        kind: FINETUNED, ZERO_SHOT or TRAINING_FREE.
        threshold: Probability from which a shot counts as a boundary; None for one per film.
        checkpoint: File that holds the weights, if there are any.
        epoch: Epochs of training behind them.
        val: Metrics on val of the selected epoch.
        val_threshold: Threshold with the best F1 on val.
    """

    kind: str
    evaluation: Evaluation
    threshold: float | None
    checkpoint: Path | None = None
    epoch: int = 0
    val: Mapping[str, float] | None = None
    val_threshold: float | None = None

    @classmethod
    def of(cls, module: FinetuneModule, kind: str, checkpoint: Path) -> Scored:
        """Return the scores of a module on test."""
        return cls(
            kind=kind,
            evaluation=module.evaluations["test"],
            threshold=module.threshold,
            checkpoint=checkpoint,
            epoch=module.trained_epochs,
            val=module.metadata.get("val"),
            val_threshold=module.metadata.get("threshold"),
        )


def report(config: Finetune, run: RunFolder, test: Split, table: FeatureTable | None, scored: Scored) -> None:
    """Write scores, predictions and timelines; print the scores beside those of the training-free scorers."""
    # 1. Rows of the table: the model, decoded by the posterior if asked for, and no training at all.
    settings: dict[str, Any] = {"fps": config.TEST.FPS, "uncertain": config.TEST.UNCERTAIN_LABEL}
    rows: dict[str, Mapping[str, float]] = {}
    if table is not None and config.TEST.DECODER == "posterior" and scored.kind != TRAINING_FREE:
        decoded, thresholds = posterior_predictions(test, table, scored.evaluation.predictions)
        rows["decoder"] = posterior_metrics(test, decoded, thresholds, **settings)
    if table is not None and scored.kind != TRAINING_FREE:
        free, thresholds = posterior_predictions(test, table)
        rows["training_free"] = posterior_metrics(test, free, thresholds, **settings)
    if table is not None:
        rows["similarity"] = similarity_metrics(test, table, uncertain=config.TEST.UNCERTAIN_LABEL)

    # 2. Files.
    results = scored.evaluation.results
    scores = {
        **reference_scores(results),
        "kind": scored.kind,
        "model": _identity(scored.checkpoint),
        "epoch": scored.epoch,
        test.name: _json_numbers(results),
        "threshold": scored.threshold,
        "val": scored.val,
        "threshold_from_val": scored.val_threshold,
        **{name: _json_numbers(row) for name, row in rows.items()},
    }
    write_json(run.logs / "all_score.json", scores)
    predictions = scored.evaluation.predictions
    write_atomically(run.logs / "predictions.csv", lambda path: write_predictions(path, predictions, test))

    # 3. The table, and pictures.
    model = {FINETUNED: "model"}.get(scored.kind, scored.kind)
    titles = {"decoder": f"{model}, posterior", "training_free": "training-free", "similarity": "similarity"}
    shown = {model: results} | {titles[name]: row for name, row in rows.items()}
    log.info("%s (%%, %d shots):\n%s", test.name, len(test.annotations), score_table(shown))
    log.info("scores: %s\npredictions: %s", run.logs / "all_score.json", run.logs / "predictions.csv")
    draw_timelines(config, run, test, scored)


def reference_scores(results: Mapping[str, float]) -> dict[str, float | None]:
    """Return the keys that the reference's all_score.json has, in percent."""
    percent = {name: 100 * value for name, value in results.items()}
    return _json_numbers({key: percent[name] for key, name in REFERENCE_KEYS.items() if name in percent})


def score_table(rows: Mapping[str, Mapping[str, float]]) -> str:
    """Lay out metrics in percent, one line per scorer; "-" for a metric that a scorer does not have."""
    names = [name for name in SHOWN if any(name in row for row in rows.values())]
    width = max(map(len, rows)) + 1
    lines = [" " * width + "".join(f"{name:>11}" for name in names)]
    for title, row in rows.items():
        cells = (f"{100 * row[name]:11.2f}" if name in row else f"{'-':>11}" for name in names)
        lines.append(f"{title:{width}}" + "".join(cells))
    return "\n".join(lines)


def draw_timelines(config: Finetune, run: RunFolder, test: Split, scored: Scored) -> None:
    """Draw the timelines of the first films; a failing picture is a warning, since the scores are written."""
    try:
        pictures = draw_film_timelines(
            run.logs,
            scored.evaluation.predictions,
            Keyframes(data_paths(config).keyframes, test.annotations),
            test.frames,
            threshold=1.0 if scored.threshold is None else scored.threshold,
            fps=config.TEST.FPS,
            max_films=MAX_TIMELINES,
        )
    except Exception as error:
        log.warning("no timeline was drawn: %s", error)
    else:
        for picture in pictures[:1]:
            log.info("picture: %s", picture)


def refuse_to_replace(run: RunFolder) -> None:
    """Raise InputError if an evaluation would replace the report of a training run."""
    try:
        recorded = json.loads((run.logs / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        recorded = None
    is_training = isinstance(recorded, dict) and not (recorded.get("LOAD_FROM") or recorded.get("ZERO_SHOT"))
    if is_training or (run.checkpoints / LAST).is_file():
        raise InputError(
            f"{run.logs} holds the report of the training run {run.name}, which an evaluation would "
            "replace; set config.EXPR_NAME to another name"
        )


def write_predictions(path: Path, predictions: ShotPredictions, split: Split) -> None:
    """Write one row per shot (film, shot, probability, label), sorted by film and shot."""
    order = np.lexsort((predictions.shot, predictions.film))
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("film", "shot", "probability", "label"))
        for row in order:
            film, shot = int(predictions.film[row]), int(predictions.shot[row])
            name, shot_id = split.annotations.films[film], split.annotations.shot_id(film, shot)
            table.writerow((name, shot_id, f"{predictions.probability[row]:.6f}", int(predictions.label[row])))


def _identity(checkpoint: Path | None) -> dict[str, str] | None:
    """Return path and SHA-256 of a checkpoint file, None if there is none."""
    if checkpoint is None or not checkpoint.is_file():
        return None
    return {"path": str(checkpoint), "sha256": sha256_of(checkpoint)}


def _json_numbers(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """Replace NaN, a metric without anything to measure, by null."""
    return {name: None if math.isnan(value) else value for name, value in metrics.items()}

"""Fit and evaluate the structure scorer: the regression of few labelled films, which scores whole films.

Nothing is drawn at random and there is no loop over epochs, so neither Trainer nor seed nor resuming is involved.
"""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from bassl.config.paths import data_paths, pretrained_checkpoint
from bassl.config.schema import Finetune
from bassl.console import process_rank, setup_logging
from bassl.dataset.datamodule import fingerprint
from bassl.dataset.features import FeatureStore, FeatureTable
from bassl.files import write_atomically
from bassl.finetune.decoding import film_features, shot_lengths
from bassl.finetune.inputs import Split, Window, open_store, read_splits
from bassl.finetune.metrics import ShotPredictions, best_f1_threshold, scene_metrics
from bassl.finetune.module import Evaluation
from bassl.finetune.report import FINETUNED, Scored, refuse_to_replace, report
from bassl.finetune.scorer import model_metadata
from bassl.finetune.shrunk_regression import fit_shrunk_regression
from bassl.model import LAST
from bassl.model.checkpoint import Checkpoint, read_checkpoint
from bassl.model.loading import load_frozen_encoder, load_structure_scorer
from bassl.model.structure import TRAINING_FREE_WEIGHTS, StructureScorer, structure_inputs
from bassl.training.run_folder import archive_previous_run, lock_run, record_run, run_folder

log = logging.getLogger(__name__)


def fit_structure(config: Finetune) -> None:
    """Fit a structure scorer to the labelled films, save it as `last.ckpt`, and score it on test."""
    # 1. Features and labelled rows.
    setup_logging()
    run = run_folder(config, job="finetune")
    source = pretrained_checkpoint(config)
    pretrained = read_checkpoint(source) if source else None
    store = open_store(config, pretrained=pretrained)
    window = Window.of(config)
    names = ["train", "val", "test"] if config.TEST.SELECT_ON == "val" else ["train", "test"]
    splits, table = read_splits(config, names, store, window)
    assert table is not None, "USE_RAW_SHOT is refused with this scorer"

    # 2. The regression, and the threshold with the best F1 on val.
    scorer = fit(splits["train"], table, strength=config.MODEL.structure.strength)
    metadata = model_metadata(config, None, window, seed=0, store=store)
    if "val" in splits:
        val = score(splits["val"], table, scorer)
        rows = val.deduplicated(config.TEST.UNCERTAIN_LABEL)
        metadata["threshold"] = best_f1_threshold(rows.probability, rows.label)
        metadata["val"] = _metrics(config, splits["val"], val, _threshold(config, metadata))
    if process_rank() != 0:
        return
    if run.dry_run:
        log.info("dry run: it works; nothing was written")
        return

    # 3. A whole model in one file, and its scores.
    state = {f"structure.{name}": value for name, value in scorer.state_dict().items()}
    encoder = load_frozen_encoder(pretrained)
    if encoder is not None:
        state |= {f"shot_encoder.{name}": value for name, value in encoder.state_dict().items()}
    checkpoint = {"state_dict": state, "bassl": metadata, "epoch": 0, "global_step": 0}
    path = run.checkpoints / LAST
    with lock_run(run, is_writer=True):
        archive_previous_run(run)
        read = fingerprint(data_paths(config).annotations, names, None, store)
        for folder in (run.checkpoints, run.logs):
            record_run(folder, metadata["config"], None, read)
        write_atomically(path, lambda temporary: torch.save(checkpoint, temporary))
    _report(config, splits["test"], table, scorer, metadata, store=store, checkpoint=path)


def evaluate_structure(config: Finetune, tuned: Checkpoint) -> None:
    """Score the structure scorer of a checkpoint on test."""
    setup_logging()
    run = run_folder(config, job="finetune")
    refuse_to_replace(run)
    scorer = load_structure_scorer(tuned)
    assert scorer is not None, "the checkpoint holds one"
    store = open_store(config, pretrained=None, tuned=tuned)
    splits, table = read_splits(config, ["test"], store, Window.of(config, tuned.metadata.get("bassl")))
    assert table is not None, "USE_RAW_SHOT is refused with this scorer"
    metadata = tuned.metadata.get("bassl", {})
    if run.dry_run:
        log.info("dry run: it works; nothing was written")
    elif process_rank() == 0:
        archive_previous_run(run)
        read = fingerprint(data_paths(config).annotations, ["test"], None, store)
        record_run(run.logs, {**asdict(config), "EXPR_NAME": run.name}, None, read)
        _report(config, splits["test"], table, scorer, metadata, store=store, checkpoint=tuned.path)


def fit(train: Split, table: FeatureTable, *, strength: float) -> StructureScorer:
    """Fit the regression to the rows of a split; label -1 counts as 1."""
    inputs, labels = [], []
    for film, film_inputs in _inputs(train, table):
        rows = np.flatnonzero(train.annotations.film == film)
        inputs.append(film_inputs[train.annotations.shot[rows]])
        labels.append(np.abs(train.annotations.label[rows]))
    weight, bias = fit_shrunk_regression(
        np.concatenate(inputs), np.concatenate(labels), TRAINING_FREE_WEIGHTS, strength
    )
    scorer = StructureScorer()
    scorer.weight.copy_(torch.from_numpy(weight))
    scorer.bias.fill_(bias)
    scorer.uses_lengths.fill_(train.frames is not None)
    return scorer


def score(split: Split, table: FeatureTable, scorer: StructureScorer) -> ShotPredictions:
    """Return the probability of each row of a split."""
    rows = split.annotations
    probability = np.zeros(len(rows))
    for film, features in film_features(split, table):
        logits = scorer.logits(features.numpy(), shot_lengths(split, film, len(features)))
        film_rows = np.flatnonzero(rows.film == film)
        probability[film_rows] = (1 / (1 + np.exp(-logits)))[rows.shot[film_rows]]
    return ShotPredictions(rows.film, rows.shot, probability, rows.label)


def _inputs(split: Split, table: FeatureTable) -> Any:
    for film, features in film_features(split, table):
        yield film, structure_inputs(features.numpy(), shot_lengths(split, film, len(features)))


def _metrics(config: Finetune, split: Split, predictions: ShotPredictions, threshold: float) -> dict[str, float]:
    return scene_metrics(
        predictions, split.frames, threshold=threshold, fps=config.TEST.FPS, uncertain=config.TEST.UNCERTAIN_LABEL
    )


def _threshold(config: Finetune, metadata: dict[str, Any]) -> float:
    given = config.TEST.THRESHOLD
    return float(metadata.get("threshold", 0.5)) if isinstance(given, str) else float(given)


def _report(
    config: Finetune,
    test: Split,
    table: FeatureTable,
    scorer: StructureScorer,
    metadata: dict[str, Any],
    *,
    store: FeatureStore | None,
    checkpoint: Any,
) -> None:
    threshold = _threshold(config, metadata)
    predictions = score(test, table, scorer)
    scored = Scored(
        kind=FINETUNED,
        evaluation=Evaluation(_metrics(config, test, predictions, threshold), predictions),
        threshold=threshold,
        checkpoint=checkpoint,
        val=metadata.get("val"),
        val_threshold=metadata.get("threshold"),
    )
    report(config, run_folder(config, job="finetune"), test, table, scored)

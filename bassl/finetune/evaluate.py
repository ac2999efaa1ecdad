"""Evaluation on test without training: a fine-tuned model, a pre-trained one by its pseudo-boundary head, or none."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import pytorch_lightning as pl

from bassl.config.batches import scaled_lr
from bassl.config.paths import data_paths, evaluated_checkpoint, pretrained_checkpoint
from bassl.config.schema import Finetune
from bassl.console import setup_logging
from bassl.dataset.datamodule import fingerprint
from bassl.errors import InputError
from bassl.finetune.decoding import posterior_metrics, posterior_predictions
from bassl.finetune.few_labels import evaluate_structure
from bassl.finetune.inputs import Window, build_data, centered_table, open_store, read_splits
from bassl.finetune.module import Evaluation, FinetuneModule
from bassl.finetune.report import FINETUNED, TRAINING_FREE, ZERO_SHOT, Scored, refuse_to_replace, report
from bassl.finetune.scorer import build_zero_shot_scorer, check_fit, model_metadata
from bassl.model.boundary_scorer import BoundaryScorer
from bassl.model.checkpoint import Checkpoint, log_unused_keys, read_checkpoint
from bassl.model.loading import load_frozen_encoder, load_scorer, load_structure_scorer
from bassl.training.device import choose_device
from bassl.training.run_folder import archive_previous_run, record_run, run_folder
from bassl.training.trainer import build_trainer

log = logging.getLogger(__name__)


def evaluate(config: Finetune) -> None:
    """Score the fine-tuned model `config.LOAD_FROM`."""
    path = evaluated_checkpoint(config)
    assert path is not None, "LOAD_FROM is required"
    tuned = read_checkpoint(path)
    stored = tuned.metadata.get("bassl", {})
    if config.TEST.THRESHOLD == "val" and "threshold" not in stored:
        raise InputError(
            f"{tuned.path} stores no threshold, because its training did not score val: "
            "give config.TEST.THRESHOLD=<number>, or fine-tune with config.TEST.SELECT_ON=val"
        )
    if load_structure_scorer(tuned) is not None:
        evaluate_structure(config, tuned)
        return
    kept = {name: stored[name] for name in ("threshold", "val") if name in stored}

    def build(dimension: int, window: Window) -> BoundaryScorer:
        scorer = load_scorer(tuned)
        check_fit(scorer, tuned, dimension, window)
        return scorer

    _score(config, tuned, build, window=Window.of(config, stored), kind=FINETUNED, kept=kept)


def zero_shot(config: Finetune) -> None:
    """Score the pre-trained model `config.PRETRAINED_LOAD_FROM` by its pseudo-boundary head, without labels."""
    path = pretrained_checkpoint(config)
    assert path is not None, "PRETRAINED_LOAD_FROM is required"
    pretrained = read_checkpoint(path)

    def build(dimension: int, window: Window) -> BoundaryScorer:
        return build_zero_shot_scorer(pretrained, dimension, window)

    _score(config, pretrained, build, window=Window.of(config), kind=ZERO_SHOT, kept={})


def training_free(config: Finetune) -> None:
    """Score the feature store `config.FEATURE_PATH` by the posterior over segmentations: no model, no label."""
    # 1. Features and rows.
    setup_logging()
    run = run_folder(config, job="finetune")
    refuse_to_replace(run)
    store = open_store(config, pretrained=None)
    splits, table = read_splits(config, ["test"], store, Window.of(config))
    assert table is not None, "USE_RAW_SHOT is refused without a model"

    # 2. Scores, and what it takes to repeat them.
    predictions, thresholds = posterior_predictions(splits["test"], table)
    results = posterior_metrics(
        splits["test"], predictions, thresholds, fps=config.TEST.FPS, uncertain=config.TEST.UNCERTAIN_LABEL
    )
    if run.dry_run:
        log.info("dry run: it works; nothing was written")
        return
    archive_previous_run(run)
    read = fingerprint(data_paths(config).annotations, ["test"], None, store)
    record_run(run.logs, {**asdict(config), "EXPR_NAME": run.name}, None, read)
    scored = Scored(kind=TRAINING_FREE, evaluation=Evaluation(results, predictions), threshold=None)
    report(config, run, splits["test"], table, scored)


def _score(
    config: Finetune,
    source: Checkpoint,
    build: Any,
    *,
    window: Window,
    kind: str,
    kept: Mapping[str, Any],
) -> None:
    """Score `source` on test and write the report.

    Args:
        build: Makes the scorer, of the feature dimension and the window.
        kept: What the model stores about val.
    """
    # 1. Device, features and rows.
    setup_logging()
    run = run_folder(config, job="finetune")
    refuse_to_replace(run)
    if str(config.RESUME).lower() not in ("none", "false"):
        log.warning("config.RESUME has no effect: an evaluation trains nothing")
    device = choose_device(config, half=False)
    path = pretrained_checkpoint(config)
    pretrained = source if kind == ZERO_SHOT else read_checkpoint(path) if path else None
    store = open_store(config, pretrained=pretrained, tuned=source if kind == FINETUNED else None)
    splits, table = read_splits(config, ["test"], store, window)

    # 2. Model.
    seed = max(config.SEED or 0, 0)
    pl.seed_everything(seed, verbose=False)
    encoder = load_frozen_encoder(source)
    dimension = table.values.shape[1] if table is not None else encoder.feature_dim if encoder is not None else 0
    scorer = build(dimension, window)
    read = centered_table(table) if scorer.centers_films and table is not None else table
    log_unused_keys(source)
    module = FinetuneModule(
        scorer,
        encoder,
        read,
        evaluations={"test": splits["test"]},
        validated="test",
        optimizer=config.TRAIN.OPTIMIZER,
        lr=scaled_lr(config),
        seed=seed,
        metadata={**model_metadata(config, scorer, window, seed=seed, store=store), **kept},
        threshold=config.TEST.THRESHOLD,
        fps=config.TEST.FPS,
        uncertain=config.TEST.UNCERTAIN_LABEL,
        trained_epochs=(source.epoch or 0) + 1 if kind == FINETUNED else 0,
    )

    # 3. Scores, and what it takes to repeat them.
    trainer = build_trainer(config, run, device=device, callbacks=[], title="evaluation")
    data = build_data(config, splits["test"], seed, on_gpu=device.kind == "cuda")
    trainer.test(module, datamodule=data, verbose=False)
    if run.dry_run:
        log.info("dry run: it works; nothing was written")
    elif trainer.is_global_zero:
        archive_previous_run(run)
        data_read = fingerprint(data_paths(config).annotations, ["test"], splits["test"].keyframes, store)
        record_run(run.logs, {**module.metadata["config"], "EXPR_NAME": run.name}, seed, data_read)
        report(config, run, splits["test"], table, Scored.of(module, kind, source.path))

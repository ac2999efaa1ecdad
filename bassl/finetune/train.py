"""Fine-tune: build data, model and trainer, fit, then score test (BaSSL, section 4.2)."""

from __future__ import annotations

import logging
from pathlib import Path

import pytorch_lightning as pl

from bassl.config.batches import num_processes, scaled_lr, train_batch_size
from bassl.config.paths import data_paths, pretrained_checkpoint
from bassl.config.schema import Finetune
from bassl.console import setup_logging
from bassl.dataset.datamodule import FinetuneData, fingerprint
from bassl.finetune.inputs import Split, Window, build_data, centered_table, open_store, read_splits
from bassl.finetune.module import FinetuneModule
from bassl.finetune.report import FINETUNED, Scored, report
from bassl.finetune.scorer import build_scorer, model_metadata
from bassl.model import BEST, LAST
from bassl.model.checkpoint import check_compatible, log_unused_keys, read_checkpoint
from bassl.model.loading import load_frozen_encoder
from bassl.training.checkpointing import SaveBest, checkpoint_callbacks, find_resume, resume_position
from bassl.training.device import choose_device
from bassl.training.run_folder import (
    RunFolder,
    archive_previous_run,
    lock_run,
    record_run,
    run_folder,
    warn_of_changes,
)
from bassl.training.trainer import build_trainer, choose_seed

log = logging.getLogger(__name__)
FEW_FILMS = 20


def finetune(config: Finetune) -> None:
    """Train a boundary scorer on frozen shot features, then score it on test."""
    # 1. Device, features and labelled rows.
    setup_logging()
    run = run_folder(config, job="finetune")
    device = choose_device(config, half=False)
    source = pretrained_checkpoint(config)
    pretrained = read_checkpoint(source) if source else None
    store = open_store(config, pretrained=pretrained)
    window = Window.of(config)
    names = ["train", "val", "test"] if config.TEST.SELECT_ON == "val" else ["train", "test"]
    splits, table = read_splits(config, names, store, window)
    recommend_presets(config, splits["train"])
    resumed = find_resume(config, run)
    seed = choose_seed(config, resumed)

    # 2. The scorer; the frozen encoder is stored with it, so that a checkpoint is a whole model.
    pl.seed_everything(seed, verbose=False)
    encoder = load_frozen_encoder(pretrained)
    dimension = table.values.shape[1] if table is not None else encoder.feature_dim if encoder is not None else 0
    is_projected = config.MODEL.contextual_relation_network.projection is not None and "crn" in config.MODEL.scorer
    read = centered_table(table) if is_projected and table is not None else table
    scorer = build_scorer(config, pretrained, dimension=dimension, window=window, train=splits["train"], table=read)
    log_unused_keys(pretrained)
    # Without val, test is scored after each epoch, as in the reference.
    validated = "val" if "val" in splits else "test"
    module = FinetuneModule(
        scorer,
        encoder,
        read,
        evaluations={name: split for name, split in splits.items() if name != "train"},
        validated=validated,
        optimizer=config.TRAIN.OPTIMIZER,
        lr=scaled_lr(config),
        seed=seed,
        metadata=model_metadata(config, scorer, window, seed=seed, store=store),
        threshold=config.TEST.THRESHOLD,
        fps=config.TEST.FPS,
        uncertain=config.TEST.UNCERTAIN_LABEL,
    )
    data = _training_data(config, splits["train"], splits[validated], seed, on_gpu=device.kind == "cuda")

    # 3. Where a resumed run continues.
    resume: Path | None = None
    if resumed is not None:
        check_compatible(module, resumed, ignore=("shot_encoder.",))
        resume_position(resumed.metadata, data)
        warn_of_changes(resumed, module.metadata["config"])
        resume, resumed = resumed.path, None  # Lightning reads the weights again

    # 4. Fit.
    callbacks = [] if run.dry_run else checkpoint_callbacks(config, run)
    if config.TEST.SELECT_ON == "val" and not run.dry_run:
        callbacks = [SaveBest(run.checkpoints, "val/AP"), *callbacks]
    trainer = build_trainer(config, run, device=device, callbacks=callbacks, title="fine-tuning")
    with lock_run(run, is_writer=trainer.is_global_zero):
        if trainer.is_global_zero and not run.dry_run:
            archive_previous_run(run, resume)
            data_read = fingerprint(data_paths(config).annotations, names, splits["train"].keyframes, store)
            for folder in (run.checkpoints, run.logs):
                record_run(folder, module.metadata["config"], seed, data_read)
        trainer.fit(module, datamodule=data, ckpt_path=resume)
        if run.dry_run:
            log.info("dry run: it works; nothing was written")
            return

        # 5. Score test with the weights that count: the best on val, or the last.
        scored, is_scored = _load_selected_weights(config, run, trainer, module, resume)
        if not is_scored:
            on_gpu = trainer.strategy.root_device.type == "cuda"
            test = build_data(config, splits["test"], seed, on_gpu=on_gpu)
            trainer.test(module, datamodule=test, verbose=False)
    if trainer.is_global_zero:
        report(config, run, splits["test"], table, Scored.of(module, FINETUNED, scored))


def recommend_presets(config: Finetune, train: Split) -> None:
    """Log the presets for few labelled films if the training set is small and the recipe is the paper's."""
    num_films = len(train.annotations.films)
    crn = config.MODEL.contextual_relation_network
    if num_films < FEW_FILMS and config.MODEL.scorer == "crn" and crn.projection is None:
        log.info(
            "%d labelled films are few for a CRN; +preset=small_data and +preset=crn_small_data are made for them",
            num_films,
        )


def _training_data(config: Finetune, train: Split, validated: Split, seed: int, *, on_gpu: bool) -> FinetuneData:
    return build_data(
        config, validated, seed, on_gpu=on_gpu, train=train, batch_size=train_batch_size(config),
        accumulate=config.TRAINER.accumulate_grad_batches, processes=num_processes(config),
    )  # fmt: skip


def _load_selected_weights(
    config: Finetune, run: RunFolder, trainer: pl.Trainer, module: FinetuneModule, resume: Path | None
) -> tuple[Path, bool]:
    """Return the checkpoint to report, with its weights in the module, and whether test is scored with them already.

    It is `resume` if nothing was left to train and the run has no last.ckpt of its own.
    """
    last, best = run.checkpoints / LAST, run.checkpoints / BEST
    if resume is not None and not module.has_trained:
        log.info("nothing was left to train: %s is the end of its run", resume)
        last = last if last.is_file() else resume
    if config.TEST.SELECT_ON == "last":
        is_whole = config.TRAINER.limit_val_batches is None
        return last, is_whole and module.scored_step == trainer.global_step
    if best.is_file() and ("val" in module.evaluations or resume is not None):
        module.restore(best)
        return best, False
    reason = "val has no boundary, so no AP" if "val" in module.evaluations else "the run ended before val was scored"
    log.warning("%s; the last weights are scored instead of the best", reason)
    return last, False

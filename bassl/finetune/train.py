"""A fine-tuning run or an evaluation alone, from its plan: check the inputs, build, fit, report."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytorch_lightning as pl
import torch

from bassl.builders import architecture_of, fresh_crn, stored_crn, stored_encoder
from bassl.checkpointing import BEST, SaveBest, checkpoint_callbacks, keep_earlier, resume_path
from bassl.config.plan import FinetunePlan
from bassl.dataset.datamodule import FinetuneData
from bassl.errors import InputError
from bassl.finetune.inputs import Split, open_store, read_splits
from bassl.finetune.module import FinetuneModule
from bassl.finetune.report import draw_timelines, similarity_results, write_report
from bassl.model.checkpoint import Checkpoint, load_weights, read_checkpoint
from bassl.model.crn import ContextualRelationNetwork
from bassl.model.shot_encoder import ShotEncoder
from bassl.runtime import build_trainer, choose_device, draw_seed, record_run, set_up_logging

log = logging.getLogger(__name__)


def finetune(plan: FinetunePlan, config: Mapping[str, Any]) -> None:
    """Fine-tune and evaluate, or only evaluate where the plan names a fine-tuned model."""
    set_up_logging()
    device = choose_device(plan.compute, cpu_half=False)
    seed = draw_seed(plan.run.seed)
    tuned = read_checkpoint(plan.evaluate) if plan.evaluate else None
    pretrained = read_checkpoint(plan.pretrained) if plan.pretrained else None
    if tuned is not None:
        plan = with_stored_window(plan, tuned)
    store = open_store(plan, tuned, pretrained)
    names = ["test"] if tuned else ["train", "val", "test"] if plan.select_on == "val" else ["train", "test"]
    splits, table = read_splits(plan, names, store)
    resume = resume_path(plan.run) if tuned is None else None

    pl.seed_everything(seed, verbose=False)
    source = tuned or pretrained
    encoder = stored_encoder(source) if source is not None and architecture_of(source).encoder_depth else None
    crn = build_crn(plan, source, encoder, table.values.shape[1] if table is not None else None)
    metadata = {
        "config": dict(config),
        "seed": seed,
        "neighbor_size": plan.neighbor_size,
        "neighbor_interval": plan.neighbor_interval,
        "features": store.folder.name if store else None,
        "feature_model": dict(store.model) if store and store.model else None,
        "transform": {"resize": plan.test_transform.resize, "crop": plan.test_transform.crop},
    }
    module = FinetuneModule(
        crn, encoder, table, plan.optimizer, seed, metadata, plan.threshold, plan.fps, plan.uncertain
    )
    trainer = build_trainer(plan.run, plan.compute, plan.loop, device, [] if tuned else _callbacks(plan))
    if tuned is not None:
        load_weights(module.head_sbd, tuned.state_dict, prefix="head_sbd.", source=tuned.path)
        stored = tuned.metadata.get("bassl", {})
        module.metadata |= {name: stored[name] for name in ("threshold", "val") if name in stored}
        module.trained_epochs = (tuned.epoch or 0) + 1
        _evaluate(plan, module, trainer, splits["test"], seed)
    else:
        module.evaluations = [splits["val" if plan.select_on == "val" else "test"]]
        if trainer.is_global_zero and not plan.run.dry_run:
            if resume is None:
                keep_earlier(plan.run.checkpoint_folder)
            for folder in (plan.run.checkpoint_folder, plan.run.log_folder):
                record_run(folder, config, seed, {"annotations": str(plan.data.annotations)})
        trainer.fit(module, datamodule=_data(plan, splits["train"], module.evaluations, seed), ckpt_path=resume)
        if plan.select_on == "val" and not plan.run.dry_run:
            _load_best(plan, module)
            _evaluate(plan, module, trainer, splits["test"], seed)
    if plan.run.dry_run:
        log.info("dry run: it works; nothing was written")
    elif trainer.is_global_zero:
        baseline = similarity_results(table, splits["test"], plan) if table is not None else {}
        write_report(plan.run.log_folder, module, splits["test"], baseline)
        draw_timelines(plan.run.log_folder, module, splits["test"], plan)


def with_stored_window(plan: FinetunePlan, tuned: Checkpoint) -> FinetunePlan:
    """The plan with the window that a fine-tuned model was trained on."""
    stored = tuned.metadata.get("bassl", {})
    names = ("neighbor_size", "neighbor_interval")
    return replace(plan, **{name: stored[name] for name in names if name in stored})


def build_crn(
    plan: FinetunePlan, source: Checkpoint | None, encoder: ShotEncoder | None, dimension: int | None
) -> ContextualRelationNetwork:
    """The CRN of the source checkpoint where it has one that fits, else a fresh one.

    dimension: features a shot of the feature table, None where the encoder makes them.
    """
    if dimension is None:
        assert encoder is not None
        dimension = encoder.feature_dim
    num_shots = 2 * plan.neighbor_size + 1
    has_crn = source is not None and architecture_of(source).crn is not None
    key = "config.MODEL.contextual_relation_network.transfer"
    if plan.transfer and not has_crn:
        raise InputError(f"{key}=true, but {plan.pretrained or 'the feature store'} has no CRN; leave it out to train one from scratch")
    if source is None or not has_crn or (plan.transfer is False and plan.evaluate is None):
        log.info("CRN: from scratch, %d features a shot", dimension)
        return fresh_crn(plan.crn, dimension, num_shots)
    crn = stored_crn(source)
    if (crn.input_dim, crn.num_shots) != (dimension, num_shots):
        raise InputError(
            f"{source.path} holds a CRN for windows of {crn.num_shots} shots with {crn.input_dim} features each, the run has "
            f"{num_shots} with {dimension}; use its own features and "
            f"config.LOSS.sampling_method.params.neighbor_size={crn.num_shots // 2}, or set {key}=false"
        )
    log.info("CRN: from %s", source.path)
    return crn


def _callbacks(plan: FinetunePlan) -> list[pl.Callback]:
    if plan.run.dry_run:
        return []
    best = [SaveBest(plan.run.checkpoint_folder, "val/AP")] if plan.select_on == "val" else []
    return [*best, *checkpoint_callbacks(plan.run, plan.loop)]


def _data(plan: FinetunePlan, train: Split | None, evaluations: list[Split], seed: int) -> FinetuneData:
    return FinetuneData(
        train.windows if train else None,
        [split.windows for split in evaluations],
        plan.compute.batch_size,
        plan.compute.eval_batch_size,
        seed,
        plan.compute.num_workers,
    )


def _evaluate(plan: FinetunePlan, module: FinetuneModule, trainer: pl.Trainer, test: Split, seed: int) -> None:
    module.evaluations = [test]
    trainer.test(module, datamodule=_data(plan, None, [test], seed), verbose=False)


def _load_best(plan: FinetunePlan, module: FinetuneModule) -> None:
    """The weights of the epoch that val chose, and the threshold that was best there."""
    best = torch.load(plan.run.checkpoint_folder / BEST, map_location="cpu", weights_only=True)
    weights = {name: value for name, value in best["state_dict"].items() if not name.startswith("shot_encoder.")}
    module.load_state_dict(weights)
    module.metadata |= best["bassl"]
    module.trained_epochs = int(best["epoch"]) + 1
    log.info("best on val: epoch %d, AP %.4f", module.trained_epochs, best["bassl"]["val"]["AP"])

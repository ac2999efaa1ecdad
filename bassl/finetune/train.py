"""A fine-tuning run or an evaluation alone, from its plan: check the inputs, build, fit, report."""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from bassl.config.plan import FinetunePlan
from bassl.dataset.datamodule import FinetuneData, LoaderSpec, fingerprint, usable_workers
from bassl.dataset.features import FeatureStore, FeatureTable
from bassl.dataset.movienet import RawWindows
from bassl.errors import InputError
from bassl.finetune.inputs import Split, open_store, read_splits
from bassl.finetune.module import FinetuneModule
from bassl.finetune.report import (
    FINETUNED,
    ZERO_SHOT,
    draw_timelines,
    refuse_to_replace,
    similarity_results,
    write_report,
)
from bassl.model import BEST, LAST, loading
from bassl.model.boundary_scorer import BoundaryScorer, SimilarityHead
from bassl.model.checkpoint import Checkpoint, check_compatible, log_unused_keys, read_checkpoint
from bassl.model.crn import ContextualRelationNetwork
from bassl.model.loading import architecture_of, load_crn, load_encoder, load_scorer, zero_shot_scorer
from bassl.training.checkpointing import (
    SaveBest,
    checkpoint_callbacks,
    owned,
    resume_position,
    resumed_checkpoint,
    run_seed,
)
from bassl.training.records import record_run, warn_of_changes
from bassl.training.run_folder import keep_earlier
from bassl.training.trainer import build_trainer, choose_device, draw_seed, set_up_logging

log = logging.getLogger(__name__)
TRANSFER = "config.MODEL.contextual_relation_network.transfer"


def finetune(plan: FinetunePlan, config: Mapping[str, Any]) -> None:
    """Fine-tune and evaluate, or only evaluate where the plan names a fine-tuned model, or is zero-shot."""
    set_up_logging()
    evaluates = plan.evaluate is not None or plan.zero_shot
    if evaluates:
        refuse_to_replace(plan.run)
        if plan.run.resume is not False:
            log.warning("config.RESUME has no effect: this is an evaluation, nothing is trained")
    device = choose_device(plan.compute, half=False)
    tuned = read_checkpoint(plan.evaluate) if plan.evaluate else None
    pretrained = read_checkpoint(plan.pretrained) if plan.pretrained else None
    if tuned is not None:
        plan = with_stored_window(plan, tuned)
        if plan.threshold is None and "threshold" not in tuned.metadata.get("bassl", {}):
            raise InputError(
                f"{tuned.path} stores no threshold, because its training did not score val: "
                "give config.TEST.THRESHOLD=<number>, or fine-tune with config.TEST.SELECT_ON=val"
            )
    store = open_store(plan, tuned, pretrained)
    names = ["test"] if evaluates else ["train", "val", "test"] if plan.select_on == "val" else ["train", "test"]
    splits, table = read_splits(plan, names, store)
    resumed = None if evaluates else resumed_checkpoint(plan.run)
    seed = plan.run.seed or 0 if evaluates else draw_seed(run_seed(plan.run, resumed), plan.compute)

    pl.seed_everything(seed, verbose=False)
    source = tuned or pretrained
    encoder = load_encoder(source) if source is not None and architecture_of(source).encoder_depth else None
    dimension = table.values.shape[1] if table is not None else encoder.feature_dim if encoder is not None else 0
    scorer = build_scorer(plan, pretrained, tuned, dimension, splits.get("train"), table)
    log_unused_keys(source)
    config = as_built(config, scorer, plan)
    metadata = {
        "config": config,
        "seed": seed,
        "neighbor_size": plan.neighbor_size,
        "neighbor_interval": plan.neighbor_interval,
        "features": store.folder.name if store else None,
        "feature_model": dict(store.model) if store and store.model else None,
        "transform": {"resize": plan.test_transform.resize, "crop": plan.test_transform.crop},
    }
    module = FinetuneModule(
        scorer, encoder, table, plan.optimizer, seed, metadata, plan.threshold, plan.fps, plan.uncertain
    )
    module.evaluations = [splits["val" if "val" in splits else "test"]]
    data = _data(plan, splits.get("train"), module.evaluations, seed, device.kind == "cuda")
    resume = None
    if resumed is not None:
        check_compatible(module, resumed, ignore=("shot_encoder.",))
        resume_position(resumed.metadata, data)
        warn_of_changes(resumed, config)
        resume, resumed = resumed.path, None  # Lightning reads its weights again
    callbacks = [] if evaluates else _callbacks(plan)
    trainer = build_trainer(plan.run, plan.compute, plan.loop, device, callbacks, "fine-tuning")
    scored = source.path if source is not None else None
    if evaluates:
        if tuned is not None:
            stored = tuned.metadata.get("bassl", {})
            module.metadata |= {name: stored[name] for name in ("threshold", "val") if name in stored}
            module.trained_epochs = (tuned.epoch or 0) + 1
        trainer.test(module, datamodule=data, verbose=False)
    else:
        with owned(plan.run, trainer.is_global_zero):
            if trainer.is_global_zero and not plan.run.dry_run:
                keep_earlier(plan.run, resume)
                windows = splits["train"].windows
                keyframes = windows.keyframes if isinstance(windows, RawWindows) else None
                for folder in (plan.run.checkpoint_folder, plan.run.log_folder):
                    record_run(folder, config, seed, fingerprint(plan.data.annotations, names, keyframes, store))
            trainer.fit(module, datamodule=data, ckpt_path=resume)
            if not plan.run.dry_run:
                scored = _finish(plan, module, trainer, splits["test"], seed, resume)
    if plan.run.dry_run:
        log.info("dry run: it works; nothing was written")
    elif trainer.is_global_zero:
        baseline = similarity_results(table, splits["test"], plan) if table is not None else {}
        kind = ZERO_SHOT if plan.zero_shot else FINETUNED
        if evaluates:
            _record_evaluation(plan, config, seed, splits["test"], store)
        write_report(plan.run.log_folder, module, splits["test"], baseline, kind, scored)
        draw_timelines(plan.run.log_folder, module, splits["test"], plan)


def with_stored_window(plan: FinetunePlan, tuned: Checkpoint) -> FinetunePlan:
    """The plan with the window that a fine-tuned model was trained on."""
    stored = tuned.metadata.get("bassl", {})
    names = ("neighbor_size", "neighbor_interval")
    return replace(plan, **{name: stored[name] for name in names if name in stored})


def build_scorer(
    plan: FinetunePlan,
    pretrained: Checkpoint | None,
    tuned: Checkpoint | None,
    dimension: int,
    train: Split | None,
    table: FeatureTable | None,
) -> BoundaryScorer:
    """The fine-tuned scorer, or a new one for shots of `dimension` features with the parts that the plan names.

    The similarity head takes the mean of the training films' features off, where there is a table of them.
    """
    num_shots = 2 * plan.neighbor_size + 1
    if tuned is not None:
        scorer = load_scorer(tuned)
        _check_fit(scorer, tuned, dimension, num_shots)
        return scorer
    if plan.zero_shot:
        assert pretrained is not None
        return build_zero_shot_scorer(pretrained, dimension, num_shots)
    crn = build_crn(plan, pretrained, dimension, num_shots) if "crn" in plan.scorer else None
    similarity = None
    if "similarity" in plan.scorer:
        similarity = SimilarityHead(dimension, num_shots, plan.similarity_hidden_dim, plan.similarity_dropout)
        if table is not None and train is not None and train.first is not None:
            similarity.mean.copy_(table.mean(train.first, train.annotations.num_shots))
    return BoundaryScorer(crn, similarity)


def build_zero_shot_scorer(pretrained: Checkpoint, dimension: int, num_shots: int) -> BoundaryScorer:
    """The pre-trained CRN with the pseudo-boundary head of pre-training. Raises InputError where it has none."""
    scorer = zero_shot_scorer(pretrained)
    if scorer is None:
        raise InputError(
            f"{pretrained.path} has no pseudo-boundary head to score with (shot-level pre-training, or "
            "pseudo_boundary_prediction was off); fine-tune it instead: leave config.ZERO_SHOT out"
        )
    _check_fit(scorer, pretrained, dimension, num_shots)
    log.info("zero-shot: the pseudo-boundary head of %s, which has seen no label", pretrained.path)
    return scorer


def build_crn(
    plan: FinetunePlan, pretrained: Checkpoint | None, dimension: int, num_shots: int
) -> ContextualRelationNetwork:
    """The CRN of the pre-trained checkpoint where it has one that fits, else a fresh one."""
    has_crn = pretrained is not None and architecture_of(pretrained).crn is not None
    if plan.transfer and not has_crn:
        where = plan.pretrained or "the feature store"
        raise InputError(f"{TRANSFER}=true, but {where} has no CRN; leave it out to train one from scratch")
    if pretrained is None or not has_crn or plan.transfer is False:
        log.info("CRN: from scratch, %d features a shot", dimension)
        return loading.build_crn(dimension, num_shots, **asdict(plan.crn))
    crn = load_crn(pretrained)
    crn.set_dropout(plan.crn.dropout)
    crn.pooling = plan.crn.pooling  # pre-training reads every token
    _check_fit(crn, pretrained, dimension, num_shots)
    log.info("CRN: from %s, with its sizes %s", pretrained.path, crn_sizes(crn))
    return crn


def crn_sizes(crn: ContextualRelationNetwork) -> dict[str, int]:
    """What a CRN's size keys (`params.trn` of the configuration) would have to be for it."""
    return {
        "hidden_size": crn.hidden_dim,
        "num_hidden_layers": crn.num_layers,
        "num_attention_heads": crn.num_heads,
        "intermediate_size": crn.intermediate_dim,
    }


def as_built(config: Mapping[str, Any], scorer: BoundaryScorer, plan: FinetunePlan) -> dict[str, Any]:
    """The configuration with the sizes of the scorer's CRN, which a transferred one brings along, and the window.

    It is stored with the weights, from which nobody could tell the number of attention heads.
    """
    built = copy.deepcopy(dict(config))
    window = {"neighbor_size": plan.neighbor_size, "neighbor_interval": plan.neighbor_interval}
    built["LOSS"]["sampling_method"]["params"] |= window
    if scorer.crn is not None:
        built["MODEL"]["contextual_relation_network"]["params"]["trn"] |= crn_sizes(scorer.crn)
    return built


def _check_fit(
    part: ContextualRelationNetwork | BoundaryScorer, source: Checkpoint, dimension: int, num_shots: int
) -> None:
    if (part.input_dim, part.num_shots) != (dimension, num_shots):
        raise InputError(
            f"{source.path} is made for windows of {part.num_shots} shots with {part.input_dim} features each, "
            f"the run has {num_shots} with {dimension}; use its own features and "
            f"config.LOSS.sampling_method.params.neighbor_size={part.num_shots // 2}, or set {TRANSFER}=false"
        )


def _callbacks(plan: FinetunePlan) -> list[pl.Callback]:
    if plan.run.dry_run:
        return []
    best = [SaveBest(plan.run.checkpoint_folder, "val/AP")] if plan.select_on == "val" else []
    return [*best, *checkpoint_callbacks(plan.run, plan.loop)]


def _data(plan: FinetunePlan, train: Split | None, scored: list[Split], seed: int, on_gpu: bool) -> FinetuneData:
    compute = plan.compute
    spec = LoaderSpec(
        batch_size=compute.batch_size,
        eval_batch_size=compute.eval_batch_size,
        num_processes=compute.world_size,
        local_processes=compute.num_processes,
        accumulate=compute.accumulate,
        num_workers=usable_workers(compute.num_workers, compute.num_processes),
        pin_memory=on_gpu,
    )
    return FinetuneData(train.windows if train else None, [split.windows for split in scored], spec, seed=seed)


def _record_evaluation(
    plan: FinetunePlan, config: Mapping[str, Any], seed: int, test: Split, store: FeatureStore | None
) -> None:
    """Write beside the report what it takes to repeat an evaluation alone; the records of an earlier one are kept."""
    keep_earlier(plan.run)
    keyframes = test.windows.keyframes if isinstance(test.windows, RawWindows) else None
    data = fingerprint(plan.data.annotations, ["test"], keyframes, store)
    record_run(plan.run.log_folder, {**config, "EXPR_NAME": plan.run.name}, seed, data)


def _finish(
    plan: FinetunePlan, module: FinetuneModule, trainer: pl.Trainer, test: Split, seed: int, resume: Path | None
) -> Path:
    """Score test with the weights that count: the best on val, or the last, which VAL_FREQ may have passed over.

    Returns the checkpoint that holds them: `resume` where nothing was left to train and none is in the run's folder.
    """
    scored = plan.run.checkpoint_folder / LAST
    if not module.trained_epochs and resume is not None:
        log.info("nothing was left to train: %s is of the end of its run", resume)
        module.trained_epochs = trainer.fit_loop.epoch_progress.current.processed  # type: ignore[attr-defined]
        scored = scored if scored.is_file() else resume
    if plan.select_on == "val":
        best = plan.run.checkpoint_folder / BEST
        if best.is_file() and ("val" in module.results or resume is not None):
            _load_best(plan, module)
            scored = best
        else:
            log.warning(
                "%s; the last weights are scored instead of the best",
                "val has no AP, as no boundary is among the scored rows"
                if "val" in module.results
                else "the run ended before val was scored",
            )
    elif module.scored_step == trainer.global_step:
        return scored
    module.evaluations = [test]
    on_gpu = trainer.strategy.root_device.type == "cuda"
    trainer.test(module, datamodule=_data(plan, None, [test], seed, on_gpu), verbose=False)
    return scored


def _load_best(plan: FinetunePlan, module: FinetuneModule) -> None:
    """The weights of the epoch that val chose, and the threshold that was best there."""
    best = torch.load(plan.run.checkpoint_folder / BEST, map_location="cpu", weights_only=True)
    weights = {name: value for name, value in best["state_dict"].items() if not name.startswith("shot_encoder.")}
    module.load_state_dict(weights)
    module.metadata |= best["bassl"]
    module.trained_epochs = int(best["epoch"]) + 1
    log.info("best on val: epoch %d, AP %.4f", module.trained_epochs, best["bassl"]["val"]["AP"])

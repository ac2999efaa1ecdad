"""A pre-training run, from its plan: check the inputs, build, fit."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

import pytorch_lightning as pl
from torch import nn

from bassl.config.plan import PretrainPlan
from bassl.dataset.annotation import read_annotations
from bassl.dataset.augmentation import AugmentationSettings
from bassl.dataset.datamodule import LoaderSpec, PretrainData, fingerprint, usable_workers
from bassl.dataset.keyframes import NUM_KEYFRAMES, open_keyframes
from bassl.dataset.movienet import PretrainShots
from bassl.dataset.window import WindowSpec
from bassl.model.checkpoint import check_compatible
from bassl.model.loading import build_crn
from bassl.model.shot_encoder import ShotEncoder
from bassl.pretrain.module import PretrainModule
from bassl.pretrain.objective import PretextObjective
from bassl.training.checkpointing import checkpoint_callbacks, owned, resume_position, resumed_checkpoint, run_seed
from bassl.training.records import record_run, warn_of_changes
from bassl.training.run_folder import keep_earlier
from bassl.training.sync_batch_norm import synchronised
from bassl.training.trainer import Throughput, build_trainer, choose_device, draw_seed, set_up_logging

log = logging.getLogger(__name__)


def train(
    plan: PretrainPlan,
    config: Mapping[str, Any],
    encoder: Callable[[], nn.Module] | None = None,
    objective: type[PretextObjective] = PretextObjective,
) -> None:
    """Pre-train; `config` is what is written beside the checkpoints.

    encoder: makes an encoder of one's own in place of the plan's: key-frames (N, 3, H, W) to (N, feature_dim), a number
    that is its attribute. objective: the class of the loss terms (docs/extending.md).
    """
    set_up_logging()
    device = choose_device(plan.compute, half=True)
    resumed = resumed_checkpoint(plan.run)
    seed = draw_seed(run_seed(plan.run, resumed), plan.compute)
    data = build_data(plan, seed, pin_memory=device.kind == "cuda")
    pl.seed_everything(seed, verbose=False)
    module = build_module(plan, seed, config, encoder, objective)
    resume, first_step = None, 0
    if resumed is not None:
        check_compatible(module, resumed)
        resume_position(resumed.metadata, data)
        warn_of_changes(resumed, config)
        first_step = resumed.global_step or 0
        resume, resumed = resumed.path, None  # Lightning reads its weights again
    if plan.sync_bn:
        module.shot_encoder = synchronised(module.shot_encoder, device.kind)
    if plan.compile:
        module.shot_encoder.compile()
    callbacks = [
        Throughput(plan.compute.batch_size * plan.compute.world_size, plan.loop.log_every_steps),
        *checkpoint_callbacks(plan.run, plan.loop),
    ]
    if plan.run.dry_run:
        callbacks = []
    trainer = build_trainer(plan.run, plan.compute, plan.loop, device, callbacks, "pre-training")
    log.info("pre-training %s: %s", plan.method.name, " + ".join(module.loss.terms))
    is_untrained = plan.loop.max_epochs == 0
    with owned(plan.run, trainer.is_global_zero):
        if trainer.is_global_zero and not plan.run.dry_run:
            keep_earlier(plan.run, resume)
            splits = ["pretrain", "test"] if plan.knn_validation else ["pretrain"]
            for folder in (plan.run.checkpoint_folder, plan.run.log_folder):
                record_run(folder, config, seed, fingerprint(plan.data.annotations, splits, data.train_set.keyframes))
        if plan.knn_validation and (plan.validate_first or is_untrained) and resume is None and not plan.run.dry_run:
            trainer.validate(module, datamodule=data, verbose=False)
        trainer.fit(module, datamodule=data, ckpt_path=resume)
    if is_untrained and not plan.run.dry_run:
        log.info("config.TRAINER.max_epochs=0: the weights are saved as they were drawn")
    if plan.run.dry_run:
        log.info("dry run: two steps and one validation batch worked; nothing was written")
    elif resume is not None and trainer.global_step == first_step:
        log.info("nothing was left to train: %s is of the end of its run", resume)
    else:
        log.info("checkpoint: %s\nlogs: %s", plan.run.checkpoint_folder / "last.ckpt", plan.run.log_folder)


def build_data(plan: PretrainPlan, seed: int, pin_memory: bool = False) -> PretrainData:
    """Training samples and validation films, checked to be there. pin_memory: for a GPU."""
    annotations = read_annotations(plan.data.annotations / "anno.pretrain.ndjson")
    folder = None if plan.run.dry_run else plan.run.log_folder
    faults: dict[str, Any] = {
        "strict": plan.data.strict,
        "max_fraction": plan.data.max_faulty_share,
        "list_file": folder / "broken_keyframes.txt" if folder else None,
    }
    validation = None
    chunks: dict[str, int] = {}
    if plan.knn_validation:
        rows = read_annotations(plan.data.annotations / "anno.test.ndjson")
        validation = open_keyframes(plan.data.keyframes, rows, **faults)
        chunks = {
            "chunk_size": max(1, plan.compute.eval_batch_size // NUM_KEYFRAMES),
            "resize": plan.test_transform.resize,
            "crop": plan.test_transform.crop,
        }
    method = plan.method
    samples = PretrainShots(
        open_keyframes(plan.data.keyframes, annotations, **faults),
        AugmentationSettings(**plan.augmentation),
        seed=seed,
        sampling=method.sampling,
        sparse=method.sparse,
        window=WindowSpec(method.neighbor_size, method.neighbor_interval),
        masking_probability=method.masking_probability,
    )
    compute = plan.compute
    spec = LoaderSpec(
        batch_size=compute.batch_size,
        num_processes=compute.world_size,
        accumulate=compute.accumulate,
        num_workers=usable_workers(compute.num_workers, compute.num_processes),
        pin_memory=pin_memory,
    )
    return PretrainData(samples, spec, seed=seed, validation=validation, chunks=chunks)


def build_module(
    plan: PretrainPlan,
    seed: int,
    config: Mapping[str, Any],
    encoder: Callable[[], nn.Module] | None = None,
    objective: type[PretextObjective] = PretextObjective,
) -> PretrainModule:
    """Encoder, CRN where a loss reads it, heads and optimiser settings; `encoder` and `objective` as of `train`."""
    method, chosen = plan.method, plan.encoder
    network: Any = (
        encoder() if encoder else ShotEncoder.build(chosen.depth, chosen.zero_init_residual, chosen.imagenet_pretrained)
    )
    crn = build_crn(network.feature_dim, method.num_shots, **asdict(plan.crn)) if plan.crn else None
    if crn is not None and "msm" not in method.terms:
        crn.shot_embedding.mask_embedding.requires_grad_(False)  # nothing is masked, so it would never get a gradient
    loss = objective(
        method.terms,
        num_sparse=len(method.sparse),
        center=method.center,
        feature_dim=network.feature_dim,
        hidden_dim=plan.crn.hidden_dim if plan.crn else None,
        temperature=method.temperature,
        num_negatives=method.num_negatives,
    )
    metadata = {"method": method.name, "terms": list(loss.terms), "config": dict(config), "seed": seed}
    neighbors = (method.neighbor_size, method.neighbor_interval)
    return PretrainModule(network, crn, loss, plan.optimizer, seed, metadata, neighbors)

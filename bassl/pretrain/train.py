"""Pre-train: build data, model and trainer, then fit (Mun et al., BaSSL, section 4)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import pytorch_lightning as pl
from torch import nn

from bassl.config.batches import eval_batch_size, num_processes, scaled_lr, train_batch_size
from bassl.config.methods import crn_arguments, method_of
from bassl.config.paths import data_paths, fault_options
from bassl.config.schema import Pretrain
from bassl.console import setup_logging
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
from bassl.training.checkpointing import checkpoint_callbacks, find_resume, resume_position
from bassl.training.device import choose_device
from bassl.training.run_folder import (
    RunFolder,
    archive_previous_run,
    lock_run,
    record_run,
    run_folder,
    warn_of_changes,
)
from bassl.training.sync_batch_norm import synchronize
from bassl.training.trainer import Throughput, build_trainer, choose_seed

log = logging.getLogger(__name__)


def train(
    config: Pretrain,
    encoder: Callable[[], nn.Module] | None = None,
    objective: type[PretextObjective] = PretextObjective,
) -> None:
    """Pre-train a shot encoder and CRN.

    Args:
        encoder: Makes a custom encoder, key-frames (N, 3, H, W) to (N, feature_dim) with an attribute `feature_dim`;
            None: the configured ResNet.
        objective: Class that sums the loss terms (docs/extending.md).
    """
    # 1. Device, seed, data and model.
    setup_logging()
    run = run_folder(config, job="pretrain")
    device = choose_device(config, half=True)
    resumed = find_resume(config, run)
    seed = choose_seed(config, resumed)
    data = build_data(config, run, seed, pin_memory=device.kind == "cuda")
    pl.seed_everything(seed, verbose=False)
    module = build_module(config, seed, encoder=encoder, objective=objective)

    # 2. Where a resumed run continues.
    resume, first_step = None, 0
    if resumed is not None:
        check_compatible(module, resumed)
        resume_position(resumed.metadata, data)
        warn_of_changes(resumed, asdict(config))
        first_step = resumed.global_step or 0
        resume, resumed = resumed.path, None  # Lightning reads the weights again

    # 3. Trainer.
    if config.MODEL.use_sync_bn and num_processes(config) > 1:
        module.shot_encoder = synchronize(module.shot_encoder, device.kind)
    if config.TRAINER.compile:
        module.shot_encoder.compile()
    callbacks: list[pl.Callback] = []
    if not run.dry_run:
        samples_per_batch = train_batch_size(config) * num_processes(config)
        callbacks = [
            Throughput(samples_per_batch, config.TRAINER.log_every_n_steps),
            *checkpoint_callbacks(config, run),
        ]
    trainer = build_trainer(config, run, device=device, callbacks=callbacks, title="pre-training")

    # 4. Fit; checkpoints are saved by callbacks, config.json and environment.json lie beside them.
    is_untrained = config.TRAINER.max_epochs == 0
    validates_first = config.TEST.KNN_VALIDATION and (config.TEST.VAL_FIRST or is_untrained)
    log.info("pre-training %s: %s", config.LOSS.sampling_method.name, " + ".join(module.loss.terms))
    with lock_run(run, is_writer=trainer.is_global_zero):
        if trainer.is_global_zero and not run.dry_run:
            archive_previous_run(run, resume)
            splits = ["pretrain", "test"] if config.TEST.KNN_VALIDATION else ["pretrain"]
            read = fingerprint(data_paths(config).annotations, splits, data.train_set.keyframes)
            for folder in (run.checkpoints, run.logs):
                record_run(folder, asdict(config), seed, read)
        if validates_first and resume is None and not run.dry_run:
            trainer.validate(module, datamodule=data, verbose=False)
        trainer.fit(module, datamodule=data, ckpt_path=resume)

    if run.dry_run:
        log.info("dry run: two steps and one validation batch worked; nothing was written")
    elif resume is not None and trainer.global_step == first_step:
        log.info("nothing was left to train: %s is the end of its run", resume)
    else:
        log.info("checkpoint: %s\nlogs: %s", run.checkpoints / "last.ckpt", run.logs)


def build_data(config: Pretrain, run: RunFolder, seed: int, *, pin_memory: bool = False) -> PretrainData:
    """Build training samples and validation films; raise InputError if key-frames are missing."""
    paths, method = data_paths(config), method_of(config)
    faults = fault_options(config, None if run.dry_run else run.logs)
    annotations = read_annotations(paths.annotations / "anno.pretrain.ndjson")
    samples = PretrainShots(
        open_keyframes(paths.keyframes, annotations, **faults),
        settings=augmentation_settings(config),
        seed=seed,
        sampling=method.sampling,
        sparse=method.sparse,
        window=WindowSpec(method.neighbor_size, method.neighbor_interval),
        masking_probability=config.LOSS.masked_shot_modeling.masking_prob,
    )
    validation, chunks = None, {}
    if config.TEST.KNN_VALIDATION:
        validation = open_keyframes(paths.keyframes, read_annotations(paths.annotations / "anno.test.ndjson"), **faults)
        chunks = {
            "chunk_size": max(1, eval_batch_size(config) // NUM_KEYFRAMES),
            "resize": config.TRANSFORM.test.resize,
            "crop": config.TRANSFORM.test.crop,
        }
    spec = LoaderSpec(
        batch_size=train_batch_size(config),
        num_processes=num_processes(config),
        accumulate=config.TRAINER.accumulate_grad_batches,
        num_workers=usable_workers(config.TRAIN.NUM_WORKERS, config.DISTRIBUTED.NUM_PROC_PER_NODE),
        pin_memory=pin_memory,
    )
    return PretrainData(samples, spec, seed=seed, validation=validation, chunks=chunks)


def augmentation_settings(config: Pretrain) -> AugmentationSettings:
    """Return the distributions that augmentation draws from."""
    train = config.TRANSFORM.train
    jitter = train.color_jitter
    return AugmentationSettings(
        size=config.TRANSFORM.size,
        scale=(train.scale[0], train.scale[1]),
        ratio=(train.ratio[0], train.ratio[1]),
        flip_probability=train.flip,
        jitter_probability=jitter.p,
        brightness=jitter.brightness,
        contrast=jitter.contrast,
        saturation=jitter.saturation,
        hue=jitter.hue,
        jitter_consistent=jitter.consistent,
        blur_probability=train.blur,
        blur_sigma=(train.blur_sigma[0], train.blur_sigma[1]),
    )


def build_module(
    config: Pretrain,
    seed: int,
    *,
    encoder: Callable[[], nn.Module] | None = None,
    objective: type[PretextObjective] = PretextObjective,
) -> PretrainModule:
    """Build encoder, CRN if a loss reads it, heads and optimiser settings; `encoder`, `objective` as of `train`."""
    method, resnet = method_of(config), config.MODEL.shot_encoder.resnet
    network: Any = (
        encoder()
        if encoder
        else ShotEncoder.build(resnet.depth, resnet.params.zero_init_residual, resnet.use_imagenet_pretrained)
    )
    trn = config.MODEL.contextual_relation_network.params.trn
    crn = build_crn(network.feature_dim, method.num_shots, **crn_arguments(trn)) if method.uses_crn else None
    if crn is not None and "msm" not in method.terms:
        crn.shot_embedding.mask_embedding.requires_grad_(False)  # never used, so it would never get a gradient
    loss = objective(
        method.terms,
        num_sparse=len(method.sparse),
        center=method.center,
        feature_dim=network.feature_dim,
        hidden_dim=trn.hidden_size if crn is not None else None,
        temperature=method.temperature,
        num_negatives=config.LOSS.pseudo_boundary_prediction.num_neg_sample,
    )
    return PretrainModule(
        network,
        crn,
        loss,
        optimizer=config.TRAIN.OPTIMIZER,
        lr=scaled_lr(config),
        seed=seed,
        metadata={
            "method": method.name,
            "terms": list(loss.terms),
            "config": asdict(config),
            "seed": seed,
            "neighbor_interval": method.neighbor_interval,
        },
        neighbors=(method.neighbor_size, method.neighbor_interval),
    )

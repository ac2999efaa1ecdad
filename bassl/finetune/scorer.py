"""Boundary scorers of fine-tuning: from a configuration and a pre-trained checkpoint to a model and its metadata."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Any

import torch

from bassl.config.methods import crn_arguments
from bassl.config.paths import pretrained_checkpoint
from bassl.config.schema import Finetune
from bassl.dataset.features import FeatureStore, FeatureTable
from bassl.errors import InputError
from bassl.finetune.inputs import Split, Window
from bassl.model.boundary_scorer import BoundaryScorer, SimilarityHead
from bassl.model.checkpoint import Checkpoint
from bassl.model.crn import ContextualRelationNetwork
from bassl.model.loading import architecture_of, build_crn, load_crn, zero_shot_scorer
from bassl.model.projection import RotatedProjection, attend_to_similar_shots

log = logging.getLogger(__name__)
TRANSFER = "config.MODEL.contextual_relation_network.transfer"


def build_scorer(
    config: Finetune,
    pretrained: Checkpoint | None,
    *,
    dimension: int,
    window: Window,
    train: Split,
    table: FeatureTable | None,
) -> BoundaryScorer:
    """Build a scorer with the parts that `config.MODEL.scorer` names, for `dimension` features per shot.

    The similarity head is centred by the mean of the training films, and a projection is fitted to them, if there is a
    table of their features.
    """
    model = config.MODEL
    projection: RotatedProjection | None = None
    crn: ContextualRelationNetwork | None
    if "crn" in model.scorer and model.contextual_relation_network.projection is not None:
        assert table is not None, "raw key-frames are refused with a projection"
        projection, crn = _build_projected_crn(config, dimension, window, train=train, table=table)
    else:
        crn = _build_crn(config, pretrained, dimension, window) if "crn" in model.scorer else None
    similarity = None
    if "similarity" in model.scorer:
        head = model.similarity
        similarity = SimilarityHead(dimension, window.num_shots, head.hidden_size, head.dropout)
        if table is not None and train.first is not None:
            similarity.mean.copy_(table.mean(train.first, train.annotations.num_shots))
    return BoundaryScorer(crn, similarity, projection)


def _build_projected_crn(
    config: Finetune, dimension: int, window: Window, *, train: Split, table: FeatureTable
) -> tuple[RotatedProjection, ContextualRelationNetwork]:
    """Fit a projection to the training films, and build a CRN that starts by attending to similar shots.

    `table` holds features that are centred on their film.
    """
    wanted = config.MODEL.contextual_relation_network
    assert train.first is not None and wanted.projection is not None
    projection = RotatedProjection(dimension, wanted.projection)
    rows = zip(train.first.tolist(), train.annotations.num_shots.tolist(), strict=True)
    projection.fit(torch.cat([table.values[first : first + count].float().cpu() for first, count in rows]))
    crn = build_crn(projection.output_dim, window.num_shots, **crn_arguments(wanted.params.trn))
    attend_to_similar_shots(crn)
    log.info("CRN: from scratch, on %d rotated dimensions of %d features per shot", projection.output_dim, dimension)
    return projection, crn


def build_zero_shot_scorer(pretrained: Checkpoint, dimension: int, window: Window) -> BoundaryScorer:
    """Return the pre-trained CRN with its pseudo-boundary head; raise InputError if there is none."""
    scorer = zero_shot_scorer(pretrained)
    if scorer is None:
        raise InputError(
            f"{pretrained.path} has no pseudo-boundary head to score with (shot-level pre-training, or "
            "pseudo_boundary_prediction was off); fine-tune it instead: leave config.ZERO_SHOT out"
        )
    check_fit(scorer, pretrained, dimension, window)
    log.info("zero-shot: the pseudo-boundary head of %s, which has seen no label", pretrained.path)
    return scorer


def check_fit(
    part: ContextualRelationNetwork | BoundaryScorer, source: Checkpoint, dimension: int, window: Window
) -> None:
    """Raise InputError if a stored model expects other features or another window."""
    if (part.input_dim, part.num_shots) != (dimension, window.num_shots):
        raise InputError(
            f"{source.path} is made for windows of {part.num_shots} shots with {part.input_dim} features each, "
            f"the run has {window.num_shots} with {dimension}; use its own features and "
            f"config.LOSS.sampling_method.params.neighbor_size={part.num_shots // 2}, or set {TRANSFER}=false"
        )


def model_metadata(
    config: Finetune, scorer: BoundaryScorer | None, window: Window, *, seed: int, store: FeatureStore | None
) -> dict[str, Any]:
    """Return what is stored with the weights: configuration, window, features and test transform.

    The configuration gets the sizes of a transferred CRN, whose number of heads the weights do not show. The transform
    is that of the feature store, if it records one, else that of the configuration, which raw key-frames pass.
    """
    stored = asdict(config)
    stored["LOSS"]["sampling_method"]["params"] |= {"neighbor_size": window.size, "neighbor_interval": window.interval}
    if scorer is not None and scorer.crn is not None:
        stored["MODEL"]["contextual_relation_network"]["params"]["trn"] |= crn_sizes(scorer.crn)
    return {
        "config": stored,
        "seed": seed,
        "neighbor_size": window.size,
        "neighbor_interval": window.interval,
        "features": store.folder.name if store else None,
        "feature_model": dict(store.model) if store and store.model else None,
        "transform": dict(store.transform) if store and store.transform else asdict(config.TRANSFORM.test),
    }


def crn_sizes(crn: ContextualRelationNetwork) -> dict[str, int]:
    """Return the size keys (`params.trn` of the configuration) of a CRN."""
    return {
        "hidden_size": crn.hidden_dim,
        "num_hidden_layers": crn.num_layers,
        "num_attention_heads": crn.num_heads,
        "intermediate_size": crn.intermediate_dim,
    }


def _build_crn(
    config: Finetune, pretrained: Checkpoint | None, dimension: int, window: Window
) -> ContextualRelationNetwork:
    """Return the pre-trained CRN if there is one that fits, else a new one."""
    wanted = config.MODEL.contextual_relation_network
    has_crn = pretrained is not None and architecture_of(pretrained).crn is not None
    if wanted.transfer and not has_crn:
        where = pretrained_checkpoint(config) or "the feature store"
        raise InputError(f"{TRANSFER}=true, but {where} has no CRN; leave it out to train one from scratch")
    if pretrained is None or not has_crn or wanted.transfer is False:
        log.info("CRN: from scratch, %d features per shot", dimension)
        return build_crn(dimension, window.num_shots, **crn_arguments(wanted.params.trn))
    crn = load_crn(pretrained)
    crn.set_dropout(wanted.params.trn.hidden_dropout_prob)
    crn.pooling = wanted.params.trn.pooling_method  # pre-training reads every token
    check_fit(crn, pretrained, dimension, window)
    log.info("CRN: from %s, with its sizes %s", pretrained.path, crn_sizes(crn))
    return crn

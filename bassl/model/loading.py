"""From plans and checkpoints to modules: what pre-training, extraction and fine-tuning build alike."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import TypeVar

from torch import nn

from bassl.config.paths import data_paths
from bassl.config.schema import Config, Trn
from bassl.dataset.annotation import Annotations
from bassl.dataset.faults import Faults
from bassl.dataset.keyframes import NUM_KEYFRAMES, Keyframes
from bassl.errors import InputError
from bassl.model.architecture import Architecture, build_crn, build_encoder, infer_architecture
from bassl.model.boundary_scorer import BoundaryScorer, SimilarityHead
from bassl.model.checkpoint import Checkpoint, load_weights
from bassl.model.crn import ContextualRelationNetwork
from bassl.model.shot_encoder import ShotEncoder

log = logging.getLogger(__name__)
Encoder = TypeVar("Encoder", bound=nn.Module)


def open_keyframes(config: Config, annotations: Annotations, list_folder: Path | None) -> Keyframes:
    """Open the key-frames of some annotations; `list_folder` gets the list of broken ones.

    Raises:
        InputError: The key-frames of a film are missing.
    """
    faults = Faults(
        config.DATA_FAULTS.strict,
        config.DATA_FAULTS.max_share,
        list_folder / "broken_keyframes.txt" if list_folder else None,
        NUM_KEYFRAMES * int(annotations.num_shots.sum()),
    )
    keyframes = Keyframes(data_paths(config).keyframes, annotations, faults)
    keyframes.check()
    return keyframes


def build_crn_of(trn: Trn, input_dim: int, num_shots: int) -> ContextualRelationNetwork:
    """Build a freshly initialised CRN for windows of `num_shots` shots with `input_dim` features each."""
    return ContextualRelationNetwork(
        input_dim=input_dim,
        hidden_dim=trn.hidden_size,
        num_layers=trn.num_hidden_layers,
        num_heads=trn.num_attention_heads,
        intermediate_dim=trn.intermediate_size,
        dropout=trn.hidden_dropout_prob,
        num_shots=num_shots,
        pooling=trn.pooling_method,
    )


def architecture_of(checkpoint: Checkpoint) -> Architecture:
    """What a checkpoint holds, from its tensors and the configuration stored in it or beside it."""
    stored = checkpoint.metadata.get("bassl")
    config = stored.get("config") if isinstance(stored, dict) else None
    return infer_architecture(checkpoint.state_dict, config or checkpoint.config)


def stored_encoder(checkpoint: Checkpoint) -> ShotEncoder:
    """The shot encoder of a checkpoint with its weights; InputError where it holds none."""
    return loaded(build_encoder(architecture_of(checkpoint)), checkpoint)


def load_frozen_encoder(checkpoint: Checkpoint | None) -> ShotEncoder | None:
    """Return the shot encoder of a checkpoint with its weights, None if it has none."""
    if checkpoint is None or not architecture_of(checkpoint).encoder_depth:
        return None
    return stored_encoder(checkpoint)


def loaded(encoder: Encoder, checkpoint: Checkpoint) -> Encoder:
    """An encoder with a checkpoint's weights; InputError where they are of another one."""
    _load(encoder, checkpoint, "shot_encoder.")
    return encoder


def _load(part: nn.Module, checkpoint: Checkpoint, prefix: str) -> None:
    unused = load_weights(part, checkpoint.state_dict, prefix=prefix, source=checkpoint.path)
    checkpoint.unused.intersection_update(unused)


def stored_crn(checkpoint: Checkpoint) -> ContextualRelationNetwork:
    """The CRN of a checkpoint with its weights; InputError where it holds none."""
    crn = build_crn(architecture_of(checkpoint))
    _load(crn, checkpoint, "crn.")
    return crn


def zero_shot_scorer(checkpoint: Checkpoint) -> BoundaryScorer | None:
    """A scorer of pre-training's CRN and pseudo-boundary (PP) head, which has seen no label; None without these."""
    architecture = architecture_of(checkpoint)
    if "head_pp" not in architecture.heads or architecture.crn is None:
        return None
    scorer = BoundaryScorer(stored_crn(checkpoint))
    assert scorer.head_sbd is not None
    _load(scorer.head_sbd, checkpoint, "loss.head_pp.")
    return scorer


def stored_scorer(checkpoint: Checkpoint) -> BoundaryScorer:
    """The boundary scorer of a fine-tuned checkpoint with its weights; InputError where it is not fine-tuned."""
    names = {name.split(".")[0] for name in checkpoint.state_dict}
    if not names & {"head_sbd", "similarity"}:
        raise InputError(
            f"{checkpoint.path} is not fine-tuned (it holds {', '.join(sorted(names))}); fine-tune it first"
        )
    crn = stored_crn(checkpoint) if "crn" in names else None
    similarity = None
    if "similarity" in names:
        hidden_dim, num_pairs = checkpoint.state_dict["similarity.layers.1.weight"].shape
        num_shots = (1 + math.isqrt(1 + 8 * num_pairs)) // 2
        similarity = SimilarityHead(len(checkpoint.state_dict["similarity.mean"]), num_shots, hidden_dim)
    scorer = BoundaryScorer(crn, similarity)
    for prefix, part in (("head_sbd.", scorer.head_sbd), ("similarity.", similarity)):
        if part is not None:
            _load(part, checkpoint, prefix)
    return scorer

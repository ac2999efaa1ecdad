"""From plans and checkpoints to modules: what pre-training, extraction and fine-tuning build alike."""

from __future__ import annotations

import logging
from pathlib import Path

from bassl.config.plan import CrnPlan, DataPlan
from bassl.dataset.annotation import Annotations
from bassl.dataset.faults import Faults
from bassl.dataset.keyframes import Keyframes
from bassl.model.architecture import Architecture, build_crn, build_encoder, infer_architecture
from bassl.model.checkpoint import Checkpoint, load_weights
from bassl.model.crn import ContextualRelationNetwork
from bassl.model.shot_encoder import ShotEncoder

log = logging.getLogger(__name__)


def keyframes_of(data: DataPlan, annotations: Annotations, folder: Path | None) -> Keyframes:
    """The key-frames of some annotations, checked to be there; broken ones are listed in `folder` (None: only logged)."""
    faults = Faults(data.strict, data.max_faulty_share, folder / "broken_keyframes.txt" if folder else None)
    keyframes = Keyframes(data.keyframes, annotations, faults)
    keyframes.check()
    return keyframes


def fresh_crn(plan: CrnPlan, input_dim: int, num_shots: int) -> ContextualRelationNetwork:
    """A freshly initialised CRN."""
    return ContextualRelationNetwork(
        input_dim,
        plan.hidden_dim,
        plan.num_layers,
        plan.num_heads,
        plan.intermediate_dim,
        plan.dropout,
        num_shots,
        plan.pooling,
    )


def architecture_of(checkpoint: Checkpoint) -> Architecture:
    """What a checkpoint holds, from its tensors and the configuration stored in it or beside it."""
    stored = checkpoint.metadata.get("bassl")
    config = stored.get("config") if isinstance(stored, dict) else None
    return infer_architecture(checkpoint.state_dict, config or checkpoint.config)


def stored_encoder(checkpoint: Checkpoint) -> ShotEncoder:
    """The shot encoder of a checkpoint with its weights; InputError where it holds none."""
    encoder = build_encoder(architecture_of(checkpoint))
    load_weights(encoder, checkpoint.state_dict, prefix="shot_encoder.", source=checkpoint.path)
    return encoder


def stored_crn(checkpoint: Checkpoint) -> ContextualRelationNetwork:
    """The CRN of a checkpoint with its weights; InputError where it holds none."""
    crn = build_crn(architecture_of(checkpoint))
    load_weights(crn, checkpoint.state_dict, prefix="crn.", source=checkpoint.path)
    return crn

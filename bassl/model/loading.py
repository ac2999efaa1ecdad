"""From checkpoints to modules: read the architecture off the tensors, build it, load its weights."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

from bassl.errors import InputError
from bassl.model.boundary_scorer import BoundaryScorer, SimilarityHead
from bassl.model.checkpoint import Checkpoint, load_weights
from bassl.model.crn import ContextualRelationNetwork
from bassl.model.projection import RotatedProjection
from bassl.model.shot_encoder import RESNETS, ShotEncoder
from bassl.model.structure import StructureScorer

Encoder = TypeVar("Encoder", bound=nn.Module)
HEADS = ("head_nce", "head_msm", "head_pp", "head_cgm", "head_sbd")


@dataclass(frozen=True)
class CrnArchitecture:
    """Arguments of ContextualRelationNetwork."""

    input_dim: int
    hidden_dim: int
    num_layers: int
    intermediate_dim: int
    num_shots: int
    num_heads: int = 8
    pooling: str = "center"


@dataclass(frozen=True)
class Architecture:
    """Parts of the model that a state dict holds.

    Attributes:
        encoder_depth: of the ResNet, None without shot encoder.
        feature_dim: D of the encoder, else of the input of CRN or NCE head; None without all three.
        crn: None without contextual relation network (shot-level methods).
        heads: those of HEADS that the state dict holds.
    """

    encoder_depth: int | None
    feature_dim: int | None
    crn: CrnArchitecture | None
    heads: tuple[str, ...]


def infer_architecture(state_dict: Mapping[str, Tensor], config: Mapping[str, Any] | None = None) -> Architecture:
    """Infer the architecture of a checkpoint from its state dict.

    The tensors do not show the number of attention heads and the pooling. Both come from the config tree's
    `MODEL.contextual_relation_network.params.trn.{num_attention_heads,pooling_method}`, else 8 and `center`.

    Raises InputError for a shot encoder or CRN of another project.
    """
    depth, feature_dim = _infer_encoder(state_dict)
    crn = _infer_crn(state_dict, _trn_settings(config))
    if feature_dim is None and crn is not None:
        feature_dim = crn.input_dim
    nce = state_dict.get("loss.head_nce.model.0.weight")
    if feature_dim is None and nce is not None:
        feature_dim = nce.shape[1]
    parts = {part for name in state_dict for part in name.split(".")[:2]}
    return Architecture(depth, feature_dim, crn, tuple(head for head in HEADS if head in parts))


def _infer_encoder(state_dict: Mapping[str, Tensor]) -> tuple[int | None, int | None]:
    """Return depth and feature dimension of the ResNet, None without one."""
    blocks = {tuple(name.split(".")[1:3]) for name in state_dict if name.startswith("shot_encoder.layer")}
    if not blocks:
        return None, None
    stages = [stage for stage, _ in blocks]
    num_blocks = tuple(stages.count(f"layer{stage}") for stage in range(1, 5))
    is_bottleneck = "shot_encoder.layer1.0.conv3.weight" in state_dict
    for depth, (block, depth_blocks) in RESNETS.items():
        if num_blocks == depth_blocks and is_bottleneck == (block is Bottleneck):
            return depth, 512 * block.expansion
    raise InputError(
        f"the shot encoder of the checkpoint has {num_blocks} blocks in its stages, unlike any ResNet of depth "
        f"{', '.join(map(str, RESNETS))}; choose a checkpoint with one of these"
    )


def _infer_crn(state_dict: Mapping[str, Tensor], settings: dict[str, Any]) -> CrnArchitecture | None:
    if not any(name.startswith("crn.") for name in state_dict):
        return None
    try:
        hidden_dim, input_dim = state_dict["crn.shot_embedding.shot_embedding.weight"].shape
        num_tokens = len(state_dict["crn.shot_embedding.position_embedding.weight"])
        intermediate_dim = len(state_dict["crn.encoder.layer.0.intermediate.dense.weight"])
    except KeyError as error:
        raise InputError(
            f"the checkpoint's contextual relation network lacks {error}; choose a complete checkpoint"
        ) from error
    layers = {name.split(".")[3] for name in state_dict if name.startswith("crn.encoder.layer.")}
    return CrnArchitecture(input_dim, hidden_dim, len(layers), intermediate_dim, num_tokens - 1, **settings)


def _trn_settings(config: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the settings of the CRN that its tensors do not show, where the config tree has them."""
    node: Any = config or {}
    if "MODEL" not in node:
        node = node.get("config", {})
    for key in ("MODEL", "contextual_relation_network", "params", "trn"):
        node = node.get(key) if isinstance(node, Mapping) else None
    if not isinstance(node, Mapping):
        return {}
    settings = {"num_heads": node.get("num_attention_heads"), "pooling": node.get("pooling_method")}
    if not isinstance(settings["num_heads"], int | None):
        raise InputError(
            f"the checkpoint's config.json has num_attention_heads {settings['num_heads']!r}; write a number"
        )
    return {name: value for name, value in settings.items() if value is not None}


def architecture_of(checkpoint: Checkpoint) -> Architecture:
    """Infer the architecture of a checkpoint from its tensors and the configuration in it or beside it."""
    stored = checkpoint.metadata.get("bassl")
    config = stored.get("config") if isinstance(stored, dict) else None
    return infer_architecture(checkpoint.state_dict, config or checkpoint.config)


def build_crn(input_dim: int, num_shots: int, **sizes: Any) -> ContextualRelationNetwork:
    """Build a CRN with new weights.

    sizes: hidden_dim, num_layers, num_heads, intermediate_dim, dropout and pooling, by keyword.
    """
    return ContextualRelationNetwork(input_dim=input_dim, num_shots=num_shots, **sizes)


def load_encoder(checkpoint: Checkpoint) -> ShotEncoder:
    """Build the shot encoder of a checkpoint and load its weights; raises InputError if it has none."""
    depth = architecture_of(checkpoint).encoder_depth
    if depth is None:
        raise InputError(
            f"{checkpoint.path} holds no shot encoder (no shot_encoder.* tensors); choose the pre-training checkpoint "
            "that its features came from"
        )
    return load_encoder_into(ShotEncoder.build(depth), checkpoint)


def load_frozen_encoder(checkpoint: Checkpoint | None) -> ShotEncoder | None:
    """Return the shot encoder of a checkpoint with its weights, None if it has none."""
    if checkpoint is None or architecture_of(checkpoint).encoder_depth is None:
        return None
    return load_encoder(checkpoint)


def load_encoder_into(encoder: Encoder, checkpoint: Checkpoint) -> Encoder:
    """Load a checkpoint's weights into a given encoder; raises InputError if they are of another one."""
    _load(encoder, checkpoint, "shot_encoder.")
    return encoder


def load_crn(checkpoint: Checkpoint) -> ContextualRelationNetwork:
    """Build the CRN of a checkpoint and load its weights; raises InputError if it has none."""
    architecture = architecture_of(checkpoint).crn
    if architecture is None:
        raise InputError(
            f"{checkpoint.path} holds no contextual relation network (no crn.* tensors), as after shot-level "
            "pre-training; fine-tune it first, or choose another checkpoint"
        )
    crn = ContextualRelationNetwork(**asdict(architecture))
    _load(crn, checkpoint, "crn.")
    return crn


def load_scorer(checkpoint: Checkpoint) -> BoundaryScorer:
    """Build the boundary scorer of a fine-tuned checkpoint and load its weights.

    Raises InputError if the checkpoint is not fine-tuned.
    """
    parts = {name.split(".")[0] for name in checkpoint.state_dict}
    if not parts & {"head_sbd", "similarity"}:
        raise InputError(
            f"{checkpoint.path} is not fine-tuned (it holds {', '.join(sorted(parts))}); fine-tune it first"
        )
    projection = None
    if "projection" in parts:
        output_dim, input_dim = checkpoint.state_dict["projection.basis"].shape
        num_rotations = len(checkpoint.state_dict["projection.rotations"])
        projection = RotatedProjection(input_dim, output_dim, num_rotations, num_training_rotations=0)
    crn = load_crn(checkpoint) if "crn" in parts else None
    similarity = None
    if "similarity" in parts:
        hidden_dim, num_pairs = checkpoint.state_dict["similarity.layers.1.weight"].shape
        num_shots = (1 + math.isqrt(1 + 8 * num_pairs)) // 2
        similarity = SimilarityHead(len(checkpoint.state_dict["similarity.mean"]), num_shots, hidden_dim)
    scorer = BoundaryScorer(crn, similarity, projection)
    named = (("head_sbd.", scorer.head_sbd), ("similarity.", similarity), ("projection.", projection))
    for prefix, part in named:
        if part is not None:
            _load(part, checkpoint, prefix)
    return scorer


def load_structure_scorer(checkpoint: Checkpoint) -> StructureScorer | None:
    """Load the structure scorer of a fine-tuned checkpoint; return None if it has none."""
    if "structure.weight" not in checkpoint.state_dict:
        return None
    scorer = StructureScorer()
    _load(scorer, checkpoint, "structure.")
    return scorer


def zero_shot_scorer(checkpoint: Checkpoint) -> BoundaryScorer | None:
    """Build a scorer of pre-training's CRN and pseudo-boundary head, which saw no label; None without these."""
    architecture = architecture_of(checkpoint)
    if "head_pp" not in architecture.heads or architecture.crn is None:
        return None
    scorer = BoundaryScorer(load_crn(checkpoint))
    assert scorer.head_sbd is not None
    _load(scorer.head_sbd, checkpoint, "loss.head_pp.")
    return scorer


def _load(part: nn.Module, checkpoint: Checkpoint, prefix: str) -> None:
    unused = load_weights(part, checkpoint.state_dict, prefix=prefix, source=checkpoint.path)
    checkpoint.unused.intersection_update(unused)

"""What model a checkpoint holds, read off its tensors, and the modules to load it into."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor
from torchvision.models.resnet import Bottleneck

from bassl.errors import InputError
from bassl.model.crn import ContextualRelationNetwork
from bassl.model.shot_encoder import RESNETS, ShotEncoder

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
    """What a state dict holds.

    Attributes:
        encoder_depth: of the ResNet, None without shot encoder.
        feature_dim: D, what the encoder gives, or else what CRN or NCE head take; None without all three.
        crn: None without contextual relation network (shot-level methods).
        heads: those of HEADS that are there.
    """

    encoder_depth: int | None
    feature_dim: int | None
    crn: CrnArchitecture | None
    heads: tuple[str, ...]


def infer_architecture(state_dict: Mapping[str, Tensor], config: Mapping[str, Any] | None = None) -> Architecture:
    """Architecture of a checkpoint's state dict.

    Number of attention heads and pooling leave no trace in the tensors; they come from the config tree's
    `MODEL.contextual_relation_network.params.trn.{num_attention_heads,pooling_method}`, else 8 and `center`.

    Raises:
        InputError: a shot encoder or CRN that is none of ours.
    """
    depth, feature_dim = _encoder(state_dict)
    crn = _crn(state_dict, _trn_settings(config))
    if feature_dim is None and crn is not None:
        feature_dim = crn.input_dim
    nce = state_dict.get("loss.head_nce.model.0.weight")
    if feature_dim is None and nce is not None:
        feature_dim = nce.shape[1]
    parts = {part for name in state_dict for part in name.split(".")[:2]}
    return Architecture(depth, feature_dim, crn, tuple(head for head in HEADS if head in parts))


def build_encoder(architecture: Architecture) -> ShotEncoder:
    """A new shot encoder to load the checkpoint's `shot_encoder.` tensors into."""
    if architecture.encoder_depth is None:
        raise InputError(
            "the checkpoint holds no shot encoder (no shot_encoder.* tensors); "
            "choose the pre-training checkpoint that its features came from"
        )
    return ShotEncoder.build(architecture.encoder_depth)


def build_crn(architecture: Architecture) -> ContextualRelationNetwork:
    """A new contextual relation network to load the checkpoint's `crn.` tensors into."""
    if architecture.crn is None:
        raise InputError(
            "the checkpoint holds no contextual relation network (no crn.* tensors), as after shot-level "
            "pre-training; fine-tune it first, or choose another checkpoint"
        )
    return ContextualRelationNetwork(**asdict(architecture.crn))


def _encoder(state_dict: Mapping[str, Tensor]) -> tuple[int | None, int | None]:
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
        f"the checkpoint's shot encoder has {num_blocks} blocks in its stages, as no ResNet of depth "
        f"{', '.join(map(str, RESNETS))} has; choose a checkpoint of one of these"
    )


def _crn(state_dict: Mapping[str, Tensor], settings: dict[str, Any]) -> CrnArchitecture | None:
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
    """What the config tree says about the CRN that its tensors do not; a tree without it says nothing."""
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
            f"the checkpoint's config.json says num_attention_heads {settings['num_heads']!r}; write a number"
        )
    return {name: value for name, value in settings.items() if value is not None}

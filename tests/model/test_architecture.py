"""Which model a checkpoint holds, for every kind of checkpoint that the reference wrote."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bassl.errors import InputError
from bassl.model.architecture import (
    Architecture,
    CrnArchitecture,
    build_crn,
    build_encoder,
    infer_architecture,
)
from bassl.model.checkpoint import TOLERATED, load_weights
from bassl.model.crn import ContextualRelationNetwork
from bassl.model.heads import MSMHead, NCEHead, boundary_head, group_head
from bassl.model.shot_encoder import ShotEncoder
from tests.reference import load_json

KEYS = load_json("state_dict_keys.json")
PRETRAIN_HEADS = ("head_nce", "head_msm", "head_pp", "head_cgm")
CRN = CrnArchitecture(2048, 768, 2, 3072, 17)


def recorded(entry: str) -> dict[str, Tensor]:
    """A state dict of the reference without memory behind its tensors."""
    return {name: torch.empty(shape, device="meta") for name, shape in KEYS[entry].items()}


def whole_model(entry: str) -> nn.Module:
    """Our parts under the names that the Lightning modules give them."""
    with torch.device("meta"):
        parts: dict[str, nn.Module] = {"shot_encoder": ShotEncoder.build()}
        if "shotcol" not in entry.split("/") and entry not in ("pretrain/instance", "pretrain/temporal"):
            parts["crn"] = ContextualRelationNetwork()
        if entry == "finetune":
            parts["head_sbd"] = boundary_head()
        else:
            parts["loss"] = nn.ModuleDict({"head_nce": NCEHead()})
        if "crn" in parts and "loss" in parts:
            parts["loss"].update({"head_msm": MSMHead(), "head_pp": boundary_head(), "head_cgm": group_head()})
        return nn.ModuleDict(parts)


def without_tolerated(state_dict: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in state_dict.items() if name.rsplit(".", 1)[-1] not in TOLERATED}


def test_six_kinds_of_checkpoints_are_recorded() -> None:
    methods = ("bassl", "bassl_shotcol", "shotcol", "instance", "temporal")
    assert sorted(KEYS) == sorted(["finetune", *(f"pretrain/{method}" for method in methods)])


@pytest.mark.parametrize("entry", KEYS)
def test_names_and_shapes_are_the_references(entry: str) -> None:
    ours = {name: list(tensor.shape) for name, tensor in whole_model(entry).state_dict().items()}
    assert without_tolerated(ours) == without_tolerated(KEYS[entry])
    assert len(without_tolerated(ours)) > 260


@pytest.mark.parametrize("entry", KEYS)
def test_a_checkpoint_of_the_reference_loads_strictly(entry: str) -> None:
    assert load_weights(whole_model(entry), recorded(entry)) == []


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("pretrain/bassl", Architecture(50, 2048, CRN, PRETRAIN_HEADS)),
        ("pretrain/bassl_shotcol", Architecture(50, 2048, CRN, PRETRAIN_HEADS)),
        ("pretrain/shotcol", Architecture(50, 2048, None, ("head_nce",))),
        ("pretrain/instance", Architecture(50, 2048, None, ("head_nce",))),
        ("pretrain/temporal", Architecture(50, 2048, None, ("head_nce",))),
        ("finetune", Architecture(50, 2048, CRN, ("head_sbd",))),
    ],
)
def test_the_architecture_of_a_checkpoint_of_the_reference(entry: str, expected: Architecture) -> None:
    assert infer_architecture(recorded(entry)) == expected


def test_the_built_modules_take_the_checkpoints_weights() -> None:
    state_dict = recorded("pretrain/bassl")
    architecture = infer_architecture(state_dict)
    with torch.device("meta"):
        encoder, crn = build_encoder(architecture), build_crn(architecture)
    beside_encoder = load_weights(encoder, state_dict, prefix="shot_encoder.")
    assert {name.split(".")[0] for name in beside_encoder} == {"crn", "loss"}
    beside_crn = load_weights(crn, state_dict, prefix="crn.")
    assert {name.split(".")[0] for name in beside_crn} == {"shot_encoder", "loss"}


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_depth_and_width_are_read_off_the_encoders_blocks(depth: int) -> None:
    with torch.device("meta"):
        encoder = ShotEncoder.build(depth)
    state_dict = {f"shot_encoder.{name}": tensor for name, tensor in encoder.state_dict().items()}
    assert infer_architecture(state_dict) == Architecture(depth, encoder.feature_dim, None, ())


def test_sizes_are_read_off_a_small_network_and_its_config() -> None:
    with torch.device("meta"):
        crn = ContextualRelationNetwork(6, 8, 3, 2, 12, 0.0, 5, "cls")
    state_dict = {f"crn.{name}": tensor for name, tensor in crn.state_dict().items()}
    config = tree(num_attention_heads=2, pooling_method="cls", hidden_size=8, unknown=[1])
    architecture = infer_architecture(state_dict, config)
    assert architecture == Architecture(None, 6, CrnArchitecture(6, 8, 3, 12, 5, 2, "cls"), ())
    built = build_crn(architecture)
    assert {n: t.shape for n, t in built.state_dict().items()} == {n: t.shape for n, t in crn.state_dict().items()}
    assert built.pooling == "cls"
    assert built.encoder.layer[0].attention["self"].num_heads == 2


def tree(**trn: Any) -> dict[str, Any]:
    return {"MODEL": {"contextual_relation_network": {"params": {"trn": trn}}}, "LOSS": {}}


@pytest.mark.parametrize(
    "config",
    [
        None,
        {},
        {"config": None},
        {"MODEL": None},
        {"MODEL": {"contextual_relation_network": {"enabled": True}}},
        {"MODEL": {"contextual_relation_network": {"params": {"trn": "none"}}}},
        tree(),
        tree(num_attention_heads=None),
    ],
)
def test_a_config_that_does_not_say_leaves_the_defaults(config: dict[str, Any] | None) -> None:
    assert infer_architecture(recorded("finetune"), config).crn == CRN


def test_a_config_tree_may_lie_below_its_own_name() -> None:
    config = {"config": tree(num_attention_heads=12, pooling_method="avg")}
    crn = infer_architecture(recorded("finetune"), config).crn
    assert crn is not None
    assert (crn.num_heads, crn.pooling) == (12, "avg")


def test_a_number_of_heads_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="num_attention_heads 'eight'; write a number"):
        infer_architecture(recorded("finetune"), tree(num_attention_heads="eight"))


def test_parts_that_are_not_there_cannot_be_built() -> None:
    with pytest.raises(InputError, match="no shot encoder"):
        build_encoder(Architecture(None, 2048, CRN, ()))
    with pytest.raises(InputError, match="no contextual relation network"):
        build_crn(infer_architecture(recorded("pretrain/shotcol")))


def test_feature_width_falls_back_to_the_nce_head() -> None:
    head_only = {"loss.head_nce.model.0.weight": torch.empty(512, 512)}
    assert infer_architecture(head_only) == Architecture(None, 512, None, ("head_nce",))
    assert infer_architecture({"other": torch.empty(1)}) == Architecture(None, None, None, ())


def test_a_foreign_encoder_or_crn_is_refused() -> None:
    names = [f"shot_encoder.layer{stage}.0.conv1.weight" for stage in (1, 2, 3, 4)]
    with pytest.raises(InputError, match=r"\(1, 1, 1, 1\) blocks"):
        infer_architecture({name: torch.empty(1) for name in names})
    with pytest.raises(InputError, match=r"lacks 'crn.shot_embedding.shot_embedding.weight'"):
        infer_architecture({"crn.something": torch.empty(1)})

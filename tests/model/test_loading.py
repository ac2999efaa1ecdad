"""Which model a checkpoint holds, for every kind that the reference wrote, and loading its parts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bassl.errors import InputError
from bassl.model.boundary_scorer import BoundaryScorer, SimilarityHead
from bassl.model.checkpoint import TOLERATED, Checkpoint, load_weights
from bassl.model.crn import ContextualRelationNetwork
from bassl.model.heads import MSMHead, NCEHead, boundary_head, group_head
from bassl.model.loading import (
    Architecture,
    CrnArchitecture,
    build_crn,
    infer_architecture,
    load_crn,
    load_encoder,
    load_scorer,
    zero_shot_scorer,
)
from bassl.model.shot_encoder import ShotEncoder
from tests.reference import load_json

KEYS = load_json("state_dict_keys.json")
PRETRAIN_HEADS = ("head_nce", "head_msm", "head_pp", "head_cgm")
CRN = CrnArchitecture(2048, 768, 2, 3072, 17)
SHOT_LEVEL = Architecture(50, 2048, None, ("head_nce",))
ARCHITECTURES = {
    "pretrain/bassl": Architecture(50, 2048, CRN, PRETRAIN_HEADS),
    "pretrain/bassl_shotcol": Architecture(50, 2048, CRN, PRETRAIN_HEADS),
    "pretrain/shotcol": SHOT_LEVEL,
    "pretrain/instance": SHOT_LEVEL,
    "pretrain/temporal": SHOT_LEVEL,
    "finetune": Architecture(50, 2048, CRN, ("head_sbd",)),
}


def recorded(entry: str) -> dict[str, Tensor]:
    """A state dict of the reference without memory behind its tensors."""
    return {name: torch.empty(shape, device="meta") for name, shape in KEYS[entry].items()}


def whole_model(expected: Architecture) -> nn.Module:
    """Our parts under the names that the Lightning modules give them."""
    heads = {"head_nce": NCEHead, "head_msm": MSMHead, "head_pp": boundary_head, "head_cgm": group_head}
    with torch.device("meta"):
        parts: dict[str, nn.Module] = {"shot_encoder": ShotEncoder.build()}
        if expected.crn:
            parts["crn"] = ContextualRelationNetwork()
        if expected.heads == ("head_sbd",):
            return nn.ModuleDict({**parts, "head_sbd": boundary_head()})
        return nn.ModuleDict({**parts, "loss": nn.ModuleDict({name: heads[name]() for name in expected.heads})})


def without_tolerated(state_dict: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in state_dict.items() if name.rsplit(".", 1)[-1] not in TOLERATED}


def tree(**trn: Any) -> dict[str, Any]:
    return {"MODEL": {"contextual_relation_network": {"params": {"trn": trn}}}, "LOSS": {}}


def test_six_kinds_of_checkpoints_are_recorded() -> None:
    assert set(KEYS) == set(ARCHITECTURES)


@pytest.mark.parametrize(("entry", "expected"), ARCHITECTURES.items())
def test_every_kind_of_the_reference_is_recognised_and_loads_strictly(entry: str, expected: Architecture) -> None:
    model = whole_model(expected)
    ours = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    assert without_tolerated(ours) == without_tolerated(KEYS[entry])
    assert len(without_tolerated(ours)) > 260
    assert infer_architecture(recorded(entry)) == expected
    assert load_weights(model, recorded(entry)) == []


@pytest.mark.parametrize("depth", [18, 34, 50, 101, 152])
def test_depth_and_width_are_read_off_the_encoders_blocks(depth: int) -> None:
    with torch.device("meta"):
        encoder = ShotEncoder.build(depth)
    state_dict = {f"shot_encoder.{name}": tensor for name, tensor in encoder.state_dict().items()}
    assert infer_architecture(state_dict) == Architecture(depth, encoder.feature_dim, None, ())


@pytest.mark.parametrize("config", [None, {"config": None}, {"MODEL": None}, tree(), tree(num_attention_heads=None)])
def test_a_config_without_heads_and_pooling_leaves_the_defaults(config: dict[str, Any] | None) -> None:
    assert infer_architecture(recorded("finetune"), config).crn == CRN


def test_a_foreign_encoder_or_crn_is_refused() -> None:
    names = [f"shot_encoder.layer{stage}.0.conv1.weight" for stage in (1, 2, 3, 4)]
    with pytest.raises(InputError, match=r"\(1, 1, 1, 1\) blocks"):
        infer_architecture({name: torch.empty(1) for name in names})
    with pytest.raises(InputError, match=r"lacks 'crn.shot_embedding.shot_embedding.weight'"):
        infer_architecture({"crn.something": torch.empty(1)})
    with pytest.raises(InputError, match="num_attention_heads 'eight'; write a number"):
        infer_architecture(recorded("finetune"), tree(num_attention_heads="eight"))


# --- loading of parts ---


def small_crn(num_heads: int = 4, pooling: str = "cls") -> ContextualRelationNetwork:
    return build_crn(12, 5, hidden_dim=16, num_layers=1, num_heads=num_heads, intermediate_dim=32, pooling=pooling)


def checkpoint_of(config: dict[str, Any] | None = None, **parts: nn.Module) -> Checkpoint:
    return Checkpoint(Path("last.ckpt"), dict(nn.ModuleDict(parts).state_dict()), config=config)


@pytest.mark.parametrize("below_its_name", [False, True])
def test_a_stored_crn_comes_back_with_the_heads_and_pooling_of_its_config(below_its_name: bool) -> None:
    crn, config = small_crn().eval(), tree(num_attention_heads=4, pooling_method="cls")
    stored = checkpoint_of({"config": config} if below_its_name else config, crn=crn)
    again, shots = load_crn(stored).eval(), torch.randn(2, 5, 12)
    assert torch.equal(again.pooled(shots), crn.pooled(shots))
    assert stored.unused == set()


def test_a_stored_encoder_comes_back() -> None:
    encoder = ShotEncoder.build(18).eval()
    again, images = load_encoder(checkpoint_of(shot_encoder=encoder)).eval(), torch.randn(1, 3, 32, 32)
    assert torch.equal(again(images), encoder(images))


@pytest.mark.parametrize("parts", ["crn", "similarity", "crn+similarity"])
def test_a_stored_scorer_comes_back(parts: str) -> None:
    similarity = SimilarityHead(12, 5, 8) if "similarity" in parts else None
    scorer = BoundaryScorer(small_crn() if "crn" in parts else None, similarity).eval()
    config = tree(num_attention_heads=4, pooling_method="cls")
    stored = Checkpoint(Path("last.ckpt"), dict(scorer.state_dict()), config=config)
    again, shots = load_scorer(stored).eval(), torch.randn(2, 5, 12)
    torch.testing.assert_close(again(shots), scorer(shots))
    assert (again.input_dim, again.num_shots, stored.unused) == (12, 5, set())


def test_the_zero_shot_scorer_has_the_pseudo_boundary_head_of_pretraining() -> None:
    crn, head, config = small_crn().eval(), boundary_head(16), tree(num_attention_heads=4, pooling_method="cls")
    loss = nn.ModuleDict({"head_pp": head, "head_cgm": group_head(16)})
    scorer, shots = zero_shot_scorer(checkpoint_of(config, crn=crn, loss=loss)), torch.randn(2, 5, 12)
    assert scorer is not None
    torch.testing.assert_close(scorer.eval()(shots), head(crn.pooled(shots)))
    assert zero_shot_scorer(checkpoint_of(crn=crn)) is None


def test_a_part_that_the_checkpoint_lacks_is_refused() -> None:
    crn = checkpoint_of(crn=small_crn())
    with pytest.raises(InputError, match=r"last\.ckpt is not fine-tuned \(it holds crn\)"):
        load_scorer(crn)
    with pytest.raises(InputError, match=r"last\.ckpt holds no shot encoder"):
        load_encoder(crn)
    with pytest.raises(InputError, match=r"last\.ckpt holds no contextual relation network"):
        load_crn(checkpoint_of(loss=nn.ModuleDict({"head_nce": NCEHead(4, 4, 2)})))

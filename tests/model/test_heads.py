"""Heads: names, sizes, hand values, and the recorded loss of masked shot modelling."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bassl.model.crn import ContextualRelationNetwork
from bassl.model.heads import MSMHead, NCEHead, boundary_head, group_head
from tests.reference import SEED, fill, golden, msm_mask, scene_like


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(
    ("build", "num_parameters"),
    [(NCEHead, 4_458_624), (MSMHead, 2_167_040), (boundary_head, 1_538), (group_head, 3_074)],
)
def test_heads_have_as_many_parameters_as_the_references(build: type[nn.Module], num_parameters: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in build().parameters()) == num_parameters


def test_nce_embeddings_by_hand() -> None:
    head = NCEHead(2, 2, 2)
    with torch.no_grad():
        for layer in (head.model[0], head.model[2]):
            layer.weight.copy_(torch.eye(2))
            layer.bias.zero_()
    embedded = head(torch.tensor([[3.0, 4.0], [2.0, -1.0]]))
    torch.testing.assert_close(embedded, torch.tensor([[0.6, 0.8], [1.0, 0.0]]))


@torch.no_grad()
def test_nce_embeddings_equal_a_written_out_head() -> None:
    head, features = NCEHead(5, 4, 3), torch.randn(2, 7, 5)
    first, second = head.model[0], head.model[2]
    for row, embedded in zip(features.reshape(-1, 5), head(features).reshape(-1, 3), strict=True):
        hidden = [max(0.0, float(w @ row + b)) for w, b in zip(first.weight, first.bias, strict=True)]
        out = [float(w @ torch.tensor(hidden) + b) for w, b in zip(second.weight, second.bias, strict=True)]
        length = math.sqrt(sum(number**2 for number in out))
        torch.testing.assert_close(embedded, torch.tensor(out) / length)


@pytest.mark.parametrize(
    ("features", "dtype"),
    [(torch.bfloat16, torch.float32), (torch.float32, torch.float32), (torch.float64, torch.float64)],
)
def test_nce_embeddings_are_normalised_in_32_bit_or_more(features: torch.dtype, dtype: torch.dtype) -> None:
    head = NCEHead(16, 8, 4).to(features)
    embedded = head(torch.randn(6, 16, dtype=features))
    assert embedded.dtype == dtype
    torch.testing.assert_close(embedded.norm(dim=-1), torch.ones(6, dtype=dtype))


def test_nce_embeddings_under_autocast_are_unit_length_in_32_bit() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        embedded = NCEHead(16, 8, 4)(torch.randn(6, 16))
    assert embedded.dtype == torch.float32
    torch.testing.assert_close(embedded.norm(dim=-1), torch.ones(6))


@pytest.fixture(scope="module")
def recorded() -> nn.ModuleDict:
    modules = {"crn": ContextualRelationNetwork(), "loss": nn.ModuleDict({"head_msm": MSMHead()})}
    return fill(nn.ModuleDict(modules)).eval()


@pytest.mark.parametrize(("method", "num_sparse"), [("bassl", 2), ("bassl_shotcol", 3)])
@torch.no_grad()
def test_the_msm_head_gives_the_recorded_loss(recorded: nn.ModuleDict, method: str, num_sparse: int) -> None:
    dense, mask = scene_like(SEED, num_sparse)[:, num_sparse:], msm_mask(SEED)
    masked = mask.bool()
    predicted = recorded["loss"]["head_msm"](recorded["crn"](dense, mask)[:, 1:][masked])
    loss = F.mse_loss(predicted, dense[masked])
    assert loss.item() == pytest.approx(float(golden()[f"{method}/msm_loss"]), rel=2e-6)


def test_msm_predictions_by_hand() -> None:
    head = MSMHead(2, 3)
    with torch.no_grad():
        head.predictions.transform["dense"].weight.copy_(torch.eye(2))
        head.predictions.transform["dense"].bias.zero_()
        head.predictions.decoder.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]]))
        head.predictions.bias.copy_(torch.tensor([10.0, 20.0, 30.0]))
    # GELU keeps the order of 3 and 0, LayerNorm of two numbers makes them 1 and -1.
    torch.testing.assert_close(head(torch.tensor([3.0, 0.0])), torch.tensor([11.0, 19.0, 30.0]))


def test_the_msm_bias_is_one_parameter_under_two_names() -> None:
    head = MSMHead(4, 3)
    assert head.predictions.bias is head.predictions.decoder.bias
    names = {"predictions.bias", "predictions.decoder.bias"}
    assert names <= set(head.state_dict())
    assert len(names & {name for name, _ in head.named_parameters()}) == 1
    head(torch.randn(2, 4)).sum().backward()
    torch.testing.assert_close(head.predictions.bias.grad, torch.full((3,), 2.0))


@pytest.mark.parametrize("absent", ["predictions.bias", "predictions.decoder.bias", "neither"])
def test_the_msm_bias_loads_under_either_name(absent: str) -> None:
    source, target = MSMHead(4, 3), MSMHead(4, 3)
    nn.init.normal_(source.predictions.bias)
    stored = {name: tensor for name, tensor in source.state_dict().items() if name != absent}
    target.load_state_dict(stored)
    assert torch.equal(target.predictions.decoder.bias, source.predictions.bias)
    assert target.predictions.bias is target.predictions.decoder.bias
    assert absent not in stored


def test_an_msm_state_dict_without_any_bias_is_refused() -> None:
    stored = {name: tensor for name, tensor in MSMHead(4, 3).state_dict().items() if "bias" not in name}
    with pytest.raises(RuntimeError, match=r"predictions\.bias"):
        MSMHead(4, 3).load_state_dict(stored)


@pytest.mark.parametrize("head", [NCEHead(4, 4, 2), MSMHead(4, 3), boundary_head(4), group_head(2)])
def test_features_of_another_width_are_refused(head: nn.Module) -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        head(torch.zeros(2, 5))


def test_a_copy_of_the_msm_head_still_shares_its_bias() -> None:
    twin = copy.deepcopy(MSMHead(4, 3))
    assert twin.predictions.bias is twin.predictions.decoder.bias

"""Heads: names, sizes, hand values, and the recorded loss of masked shot modelling."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bassl.model.crn import ContextualRelationNetwork
from bassl.model.heads import MSMHead, NCEHead
from tests.reference import SEED, fill, golden, msm_mask, scene_like


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def test_nce_embeddings_by_hand() -> None:
    head = NCEHead(2, 2, 2)
    with torch.no_grad():
        for layer in (head.model[0], head.model[2]):
            layer.weight.copy_(torch.eye(2))
            layer.bias.zero_()
    embedded = head(torch.tensor([[3.0, 4.0], [2.0, -1.0]]))
    torch.testing.assert_close(embedded, torch.tensor([[0.6, 0.8], [1.0, 0.0]]))


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

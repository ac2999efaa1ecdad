"""Contextual relation network: recorded outputs, a slow written-out BERT, what masking and pooling mean."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bassl.errors import InputError
from bassl.model.crn import POOLINGS, ContextualRelationNetwork
from tests.reference import SEED, data, fill, golden


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def recorded() -> ContextualRelationNetwork:
    """The network of the recorded numbers, in eval mode."""
    return fill(nn.ModuleDict({"crn": ContextualRelationNetwork()}))["crn"].eval()


@pytest.fixture
def small() -> ContextualRelationNetwork:
    """Five shots of six numbers, two heads, without dropout."""
    return ContextualRelationNetwork(6, 8, num_heads=2, intermediate_dim=12, dropout=0.0, num_shots=5)


def recorded_input() -> Tensor:
    return 0.5 * data(SEED + 2, (4, 17, 2048)).abs()


def assert_close(ours: Tensor, key: str) -> None:
    recorded = golden()[key]
    assert ours.shape == recorded.shape
    assert np.abs(ours.numpy() - recorded).max() < 1e-4 * np.abs(recorded).max()


def written_out(crn: ContextualRelationNetwork, shots: Tensor, mask: Tensor | None = None) -> Tensor:
    """Slow oracle: one window at a time, heads and queries in loops, no fused attention."""
    weights = crn.state_dict()
    num_heads = crn.encoder.layer[0].attention["self"].num_heads

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(name: str, x: Tensor) -> Tensor:
        x = (x - x.mean(-1, keepdim=True)) / torch.sqrt(x.var(-1, unbiased=False, keepdim=True) + 1e-12)
        return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    windows = []
    for b, window in enumerate(shots):
        rows = [
            weights["shot_embedding.mask_embedding.weight"][1] if mask is not None and mask[b, s] else window[s]
            for s in range(len(window))
        ]
        x = torch.stack([torch.stack(rows).mean(0), *rows])
        x = linear("shot_embedding.shot_embedding", x) + weights["shot_embedding.position_embedding.weight"]
        x = norm("shot_embedding.LayerNorm", x)
        for number in range(len(crn.encoder.layer)):
            layer = f"encoder.layer.{number}"
            query, key, value = (linear(f"{layer}.attention.self.{part}", x) for part in ("query", "key", "value"))
            width = x.shape[1] // num_heads
            attended = torch.zeros_like(x)
            for head in range(num_heads):
                part = slice(head * width, (head + 1) * width)
                for token in range(len(x)):
                    scores = torch.stack([query[token, part] @ k for k in key[:, part]]) / math.sqrt(width)
                    attended[token, part] = torch.softmax(scores, 0) @ value[:, part]
            x = norm(f"{layer}.attention.output.LayerNorm", x + linear(f"{layer}.attention.output.dense", attended))
            inner = linear(f"{layer}.intermediate.dense", x)
            inner = inner * 0.5 * (1 + torch.erf(inner / math.sqrt(2)))
            x = norm(f"{layer}.output.LayerNorm", x + linear(f"{layer}.output.dense", inner))
        windows.append(x)
    return torch.stack(windows)


@pytest.mark.parametrize(
    ("pooling", "key"),
    [("center", "crn_center"), ("cls", "crn_pool_cls"), ("avg", "crn_pool_avg"), ("max", "crn_pool_max")],
)
@torch.no_grad()
def test_poolings_are_the_recorded_ones(
    recorded: ContextualRelationNetwork, pooling: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded, "pooling", pooling)
    assert_close(recorded.pool(torch.from_numpy(golden()["crn_out"])), key)
    assert_close(recorded.pooled(recorded_input()), key)


@pytest.mark.parametrize("masked", [False, True])
def test_tokens_equal_a_written_out_bert(small: ContextualRelationNetwork, masked: bool) -> None:
    shots = torch.randn(3, 5, 6)
    mask = (torch.rand(3, 5) < 0.4).float() if masked else None
    torch.testing.assert_close(small(shots, mask), written_out(small, shots, mask), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("masked", [False, True])
def test_pooled_has_the_values_and_gradients_of_the_long_way(
    small: ContextualRelationNetwork, pooling: str, masked: bool
) -> None:
    small.pooling = pooling
    shots = torch.randn(3, 5, 6, requires_grad=True)
    mask = torch.tensor([[1, 0, 0, 1, 0]] * 3) if masked else None
    inputs = [shots, *small.parameters()]
    long, short = small.pool(small(shots, mask)), small.pooled(shots, mask)
    assert short.shape == (3, 8)
    torch.testing.assert_close(short, long)
    gradients = [torch.autograd.grad(out.square().sum(), inputs) for out in (short, long)]
    for ours, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)


def test_a_masked_shot_is_replaced_by_the_mask_embedding(small: ContextualRelationNetwork) -> None:
    shots = torch.randn(2, 5, 6)
    mask = torch.tensor([[0, 1, 0, 0, 0], [0, 0, 0, 0, 1]])
    replaced = shots.clone()
    replaced[0, 1] = replaced[1, 4] = small.shot_embedding.mask_embedding.weight[1].detach()
    torch.testing.assert_close(small(shots, mask), small(replaced))
    torch.testing.assert_close(small(shots, mask.bool()), small(shots, mask.float()))
    torch.testing.assert_close(small(shots, torch.zeros(2, 5)), small(shots))


def test_row_zero_of_the_mask_embedding_stays_zero_in_training(small: ContextualRelationNetwork) -> None:
    embedding = small.shot_embedding.mask_embedding.weight
    before = embedding.detach().clone()
    optimizer = torch.optim.SGD(small.parameters(), lr=0.1, weight_decay=0.1, momentum=0.9)
    for _ in range(3):
        optimizer.zero_grad()
        small(torch.randn(2, 5, 6), torch.tensor([[1, 0, 0, 0, 1]] * 2)).square().sum().backward()
        optimizer.step()
    assert torch.equal(embedding[0], torch.zeros(6))
    assert not torch.equal(embedding[1], before[1])


@pytest.mark.parametrize("pooling", POOLINGS)
def test_every_parameter_gets_a_gradient_without_a_mask_as_ddp_wants(
    small: ContextualRelationNetwork, pooling: str
) -> None:
    small.pooling = pooling
    small.train().pooled(torch.randn(2, 5, 6)).sum().backward()
    assert [name for name, parameter in small.named_parameters() if parameter.grad is None] == []


def test_dropout_is_on_embeddings_attention_and_both_dense_outputs() -> None:
    crn = ContextualRelationNetwork(6, 8, num_heads=2, intermediate_dim=12, dropout=0.5, num_shots=5)
    shots = torch.randn(2, 5, 6)
    assert torch.equal(crn.eval()(shots), crn(shots))
    layer = crn.encoder.layer[0]
    attention = layer.attention["self"]
    for part in (
        crn.shot_embedding.dropout,
        attention,
        layer.attention["output"].dropout,
        layer.output.dropout,
    ):
        crn.eval()
        part.train()
        assert not torch.equal(crn(shots), crn(shots)), part


def test_half_precision_runs_under_autocast(small: ContextualRelationNetwork) -> None:
    shots, mask = torch.randn(2, 5, 6), torch.tensor([[1, 0, 0, 0, 1]] * 2)
    with torch.autocast("cpu", torch.bfloat16):
        pooled = small.pooled(shots.bfloat16(), mask)
    torch.testing.assert_close(pooled.float(), small.pooled(shots, mask), rtol=0.1, atol=0.1)


@torch.no_grad()
def test_tokens_are_the_recorded_ones(recorded: ContextualRelationNetwork) -> None:
    assert sum(parameter.numel() for parameter in recorded.parameters()) == 15_768_832
    assert_close(recorded(recorded_input()), "crn_out")
    mask = torch.zeros(4, 17)
    mask[:, [1, 8]] = 1
    mask[2, 16] = 1
    assert_close(recorded(recorded_input(), mask), "crn_out_masked")


def test_pooling_by_hand(small: ContextualRelationNetwork) -> None:
    tokens = torch.tensor([9.0, 1, 5, 2, 4, 3]).reshape(1, 6, 1)  # CLS is 9, the shots are 1 5 2 4 3
    by_hand = {"cls": 9.0, "center": 2.0, "avg": 3.0, "max": 5.0}
    assert {pooling: small.pool(tokens, pooling).item() for pooling in POOLINGS} == by_hand


def test_other_windows_features_and_sizes_are_refused(small: ContextualRelationNetwork) -> None:
    with pytest.raises(InputError, match=r"windows of 4 shots .* of 5; set neighbor_size"):
        small(torch.zeros(2, 4, 6))
    with pytest.raises(InputError, match=r"features of 7 dimensions .* of 6"):
        small.pooled(torch.zeros(2, 5, 7))
    for wrong in ({"num_heads": 7}, {"num_layers": 0}, {"pooling": "centre"}):
        with pytest.raises(InputError):
            ContextualRelationNetwork(**wrong)  # type: ignore[arg-type]

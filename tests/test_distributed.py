from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from bassl.distributed import (
    gather_uneven,
    gather_with_grad,
    is_rank_zero,
    mean_over_ranks,
    rank,
    sum_over_ranks,
    world_size,
)
from bassl.pretrain.alignment import pseudo_boundary
from bassl.pretrain.losses import nearest_neighbor_matching, nt_xent, shot_scene_matching
from tests.distributed import run_in_processes
from tests.reference import data

BATCH = 6  # windows of all ranks together
DIM = 12
DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int32, torch.bool]
# rows of rank 0, 1, ... in several calls
UNEVEN = {2: [(3, 0), (0, 2), (0, 0), (1, 4), (2, 2)], 3: [(2, 0, 5), (0, 0, 1)]}
LOSSES = ["nt_xent", "shot_scene_matching", "nearest_neighbor_matching"]


def loss_of(name: str, embeddings: Tensor) -> Tensor:
    """Return the loss of embedded windows (B, 3 + 17, D), 3 sparse shots first."""
    dense = embeddings[:, 3:]
    if name == "nt_xent":
        return nt_xent(embeddings[:, 0], embeddings[:, 1], 0.1)
    if name == "nearest_neighbor_matching":
        return nearest_neighbor_matching(embeddings[:, 2], dense, 8, 0.1)
    sparse = embeddings[:, :2]
    return shot_scene_matching(sparse, dense, pseudo_boundary(sparse, dense), 0.1)


class Encoder(nn.Module):
    """One linear layer, the same on every rank, then unit length."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(DIM, 8)
        with torch.no_grad():
            self.linear.weight.copy_(data(1, (8, DIM)))
            self.linear.bias.copy_(data(2, (8,)))

    def forward(self, windows: Tensor) -> Tensor:
        return F.normalize(self.linear(windows), dim=-1)


def train_step(name: str) -> dict[str, Tensor]:
    """Return loss and parameter gradients of this rank, which has one part in world_size of the batch."""
    encoder = Encoder()
    model = DistributedDataParallel(encoder) if world_size() > 1 else encoder
    windows = data(3, (BATCH, 3 + 17, DIM)).chunk(world_size())[rank()]
    loss = loss_of(name, gather_with_grad(model(windows)))
    loss.backward()
    return {"loss": loss.detach(), **{key: value.grad for key, value in encoder.linear.named_parameters()}}


def rows_of(owner: int, num_rows: int, dtype: torch.dtype) -> Tensor:
    """Return rows (num_rows, 2, 3) that differ between ranks and from each other."""
    return (data(owner, (num_rows, 2, 3)) * 100).to(dtype)


def weighted_gather() -> dict[str, Tensor]:
    """Return gathered strided rows, and their gradient under a loss that differs between ranks."""
    own = (10 * rank() + torch.arange(6.0).view(3, 2)).requires_grad_()
    gathered = gather_with_grad(own.T)
    (gathered * (rank() + 1)).sum().backward()  # the incoming gradient is an expanded scalar times a number
    return {"gathered": gathered.detach(), "gradient": own.grad}


def check_all() -> dict[str, Any]:
    sizes = UNEVEN[world_size()]
    return {
        "place": (rank(), world_size(), is_rank_zero()),
        "weighted": weighted_gather(),
        "steps": {name: train_step(name) for name in LOSSES},
        "uneven": {
            (dtype, call): gather_uneven(rows_of(rank(), call[rank()], dtype)) for dtype in DTYPES for call in sizes
        },
        "mean": mean_over_ranks(torch.tensor([float(rank()), 10.0], requires_grad=True)),
        "sums": {
            "strided": sum_over_ranks(rows_of(rank(), 2, torch.float64).mT),
            "scalar": sum_over_ranks(torch.tensor(rank() + 1.0, requires_grad=True)),
            "whole numbers": sum_over_ranks(torch.tensor([rank(), 2**40])),
        },
        "mean_of_broken": mean_over_ranks(torch.tensor([torch.nan if rank() else 1.0, 1.0])),
        "uneven_flat": gather_uneven(torch.full((rank(),), rank())),
        "uneven_grad": gather_uneven(torch.ones(rank(), 2, requires_grad=True)).requires_grad,
    }


@pytest.fixture(scope="module", params=[2, pytest.param(3, marks=pytest.mark.slow)], ids=["two_ranks", "three_ranks"])
def ranks(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """Results of `check_all` by rank."""
    return run_in_processes(check_all, request.param)


def test_ranks_are_counted_from_zero(ranks: list[dict[str, Any]]) -> None:
    assert [result["place"] for result in ranks] == [(index, len(ranks), index == 0) for index in range(len(ranks))]


def test_rows_are_gathered_in_rank_order_on_every_rank(ranks: list[dict[str, Any]]) -> None:
    expected = torch.cat([10 * index + torch.arange(6.0).view(3, 2).T for index in range(len(ranks))])
    for result in ranks:
        assert torch.equal(result["weighted"]["gathered"], expected)


def test_gradient_of_gathered_rows_is_summed_over_the_ranks(ranks: list[dict[str, Any]]) -> None:
    # rank r weighs every row with r + 1
    expected = torch.full((3, 2), float(sum(range(1, len(ranks) + 1))))
    for result in ranks:
        assert torch.equal(result["weighted"]["gradient"], expected)


@pytest.mark.parametrize("name", LOSSES)
def test_ranks_with_a_share_of_the_batch_train_like_one_process(ranks: list[dict[str, Any]], name: str) -> None:
    alone = train_step(name)
    assert set(alone) == {"loss", "weight", "bias"}
    assert alone["loss"] > 0.1
    assert alone["weight"].norm() > 0.01
    for result in ranks:
        assert torch.equal(result["steps"][name]["loss"], ranks[0]["steps"][name]["loss"])
        torch.testing.assert_close(result["steps"][name], alone, rtol=1e-5, atol=1e-6)


def test_uneven_rows_of_any_dtype_are_gathered_in_rank_order(ranks: list[dict[str, Any]]) -> None:
    for result in ranks:
        assert len(result["uneven"]) == len(DTYPES) * len(UNEVEN[len(ranks)])
        for (dtype, sizes), gathered in result["uneven"].items():
            expected = torch.cat([rows_of(owner, size, dtype) for owner, size in enumerate(sizes)])
            assert gathered.dtype == dtype
            assert gathered.shape == (sum(sizes), 2, 3)
            assert torch.equal(gathered, expected)


def test_uneven_vectors_are_gathered_without_gradient(ranks: list[dict[str, Any]]) -> None:
    for result in ranks:
        assert result["uneven_flat"].tolist() == [owner for owner in range(len(ranks)) for _ in range(owner)]
        assert not result["uneven_grad"]


def test_the_mean_over_ranks_is_the_same_on_all_and_has_no_gradient(ranks: list[dict[str, Any]]) -> None:
    for result in ranks:
        assert result["mean"].tolist() == [(len(ranks) - 1) / 2, 10.0]
        assert not result["mean"].requires_grad


def test_sums_over_ranks_are_the_same_on_all_and_have_no_gradient(ranks: list[dict[str, Any]]) -> None:
    number = len(ranks)
    expected = torch.stack([rows_of(owner, 2, torch.float64).mT for owner in range(number)]).sum(0)
    for result in ranks:
        torch.testing.assert_close(result["sums"]["strided"], expected, rtol=1e-14, atol=0)
        assert result["sums"]["scalar"].item() == number * (number + 1) / 2
        assert not result["sums"]["scalar"].requires_grad
        assert result["sums"]["whole numbers"].tolist() == [number * (number - 1) / 2, number * 2**40]


def test_nan_on_one_rank_is_nan_on_all(ranks: list[dict[str, Any]]) -> None:
    for result in ranks:
        assert torch.isnan(result["mean_of_broken"]).tolist() == [True, False]


def test_a_single_process_is_rank_zero_and_gathers_its_own_rows() -> None:
    rows = data(1, (4, 3)).requires_grad_()
    assert (rank(), world_size(), is_rank_zero()) == (0, 1, True)
    assert gather_with_grad(rows) is rows
    assert torch.equal(gather_uneven(rows), rows)
    assert not gather_uneven(rows).requires_grad
    assert torch.equal(sum_over_ranks(rows), rows)
    assert not sum_over_ranks(rows).requires_grad
    assert torch.equal(mean_over_ranks(rows), rows)
    assert not mean_over_ranks(rows).requires_grad


def fail_on_rank_one() -> None:
    if rank() == 1:
        raise ValueError("rank one gave up")
    dist.barrier()


def test_an_error_in_one_process_ends_all_and_reaches_the_test() -> None:
    with pytest.raises(RuntimeError, match=r"^rank 1: (?s:.*)ValueError: rank one gave up"):
        run_in_processes(fail_on_rank_one, 2)

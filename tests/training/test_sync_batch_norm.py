"""BatchNorm over ranks equals BatchNorm of the whole batch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bassl.distributed import rank, world_size
from bassl.training.sync_batch_norm import GatheredBatchNorm, synchronize
from tests.distributed import run_in_processes
from tests.reference import data, fill

CHANNELS = 5
SIZES = [3, 5]  # images on each rank
STEPS = 3
SHAPES = {nn.BatchNorm1d: (8, CHANNELS), nn.BatchNorm2d: (8, CHANNELS, 3, 2), nn.BatchNorm3d: (8, CHANNELS, 2, 3, 2)}
OPTIONS = ({}, {"affine": False}, {"track_running_stats": False}, {"momentum": None})


def network() -> nn.Sequential:
    """Return two BatchNorms with their own weights, one of them nested."""
    inner = nn.Sequential(nn.Conv2d(CHANNELS, 4, 3), nn.BatchNorm2d(4, momentum=0.3, eps=1e-3))
    return fill(nn.Sequential(nn.BatchNorm2d(CHANNELS), nn.ReLU(), inner))


def images(step: int) -> Tensor:
    """Return the batch of all ranks, with a mean far from zero."""
    return 2 * data(step, (8, CHANNELS, 6, 4)) + 3 * data(10 + step, (8, 1, 1, 1)) + 20


def local_rows() -> slice:
    if world_size() == 1:
        return slice(0, 8)
    first = sum(SIZES[: rank()])
    return slice(first, first + SIZES[rank()])


def train() -> dict[str, dict[str, Tensor]]:
    """Take three steps of a loss that is a sum over images, then evaluate; returns what this rank saw."""
    rows, model = local_rows(), synchronize(network(), "cpu") if world_size() > 1 else network()
    by_row, summed = {}, {}
    for step in range(STEPS):
        x = images(step)[rows].requires_grad_()
        y = model(x)
        (y * data(20 + step, (8, *y.shape[1:]))[rows]).sum().backward()
        by_row |= {f"output {step}": y.detach(), f"input gradient {step}": x.grad}
    summed = {name: parameter.grad for name, parameter in model.named_parameters()}
    same = {name: buffer.clone() for name, buffer in model.named_buffers()}
    with torch.no_grad():
        by_row["eval output"] = model.eval()(images(0)[rows])
    after = dict(model.named_buffers())
    assert all(torch.equal(after[name], value) for name, value in same.items()), "evaluation changes no statistics"
    for kind, shape in SHAPES.items():
        for number, options in enumerate(OPTIONS):
            layer = fill(kind(CHANNELS, **options))
            layer = synchronize(layer, "cpu") if world_size() > 1 else layer
            for step in range(2):
                by_row[f"{kind.__name__} {number}"] = layer(data(step, shape)[rows] + 3).detach()
            same |= {f"{kind.__name__} {number} {name}": value.float() for name, value in layer.named_buffers()}
    return {"by row": by_row, "summed": summed, "same": same}


@pytest.fixture(scope="module")
def whole() -> dict[str, dict[str, Tensor]]:
    """What plain BatchNorm makes of the whole batch."""
    return train()


@pytest.fixture(scope="module")
def ranks() -> list[dict[str, dict[str, Tensor]]]:
    return run_in_processes(train, len(SIZES))


Ranks = list[dict[str, dict[str, Tensor]]]


def test_outputs_and_input_gradients_are_those_of_the_whole_batch(ranks: Ranks, whole: dict) -> None:
    assert len(whole["by row"]) == 2 * STEPS + 1 + len(SHAPES) * len(OPTIONS)
    for name, expected in whole["by row"].items():
        joined = torch.cat([found["by row"][name] for found in ranks])
        torch.testing.assert_close(joined, expected, rtol=1e-5, atol=1e-5)


def test_parameter_gradients_sum_to_those_of_the_whole_batch(ranks: Ranks, whole: dict) -> None:
    assert len(whole["summed"]) == 6 and all(whole["summed"][name].norm() > 0.1 for name in ("0.weight", "2.1.bias"))
    for name, expected in whole["summed"].items():
        torch.testing.assert_close(sum(found["summed"][name] for found in ranks), expected, rtol=1e-5, atol=1e-4)


def test_running_statistics_are_those_of_the_whole_batch_on_every_rank(ranks: Ranks, whole: dict) -> None:
    assert whole["same"]["0.num_batches_tracked"] == STEPS
    for found in ranks:
        for name, expected in whole["same"].items():
            torch.testing.assert_close(found["same"][name], expected, rtol=1e-5, atol=1e-5)


def test_statistics_of_two_values_by_hand() -> None:
    layer = GatheredBatchNorm(1, eps=0.0, momentum=0.5)
    normalised = layer(torch.tensor([[[[1.0]]], [[[3.0]]]]))
    assert normalised.flatten().tolist() == [-1.0, 1.0]
    assert layer.running_mean.item() == 1.0  # half way from 0 to the mean, 2
    assert layer.running_var.item() == 1.5  # half way from 1 to the unbiased variance, 2


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(dtype: torch.dtype) -> None:
    layer, x = fill(GatheredBatchNorm(CHANNELS)), images(0).to(dtype)
    assert torch.equal(layer(x), layer(x.float()).to(dtype))
    assert layer.running_mean.dtype == torch.float32


@pytest.mark.parametrize(("device", "kind"), [("cpu", GatheredBatchNorm), ("cuda", nn.SyncBatchNorm)])
def test_every_batch_norm_is_replaced_and_keeps_state_mode_and_options(device: str, kind: type) -> None:
    plain, replaced = network().eval(), synchronize(network().eval(), device)
    assert list(replaced.state_dict()) == list(plain.state_dict())
    assert all(torch.equal(value, replaced.state_dict()[name]) for name, value in plain.state_dict().items())
    assert type(replaced[0]) is type(replaced[2][1]) is kind
    assert (replaced[2][1].momentum, replaced[2][1].eps, replaced[2][1].training) == (0.3, 1e-3, False)

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from bassl.distributed import rank, world_size
from bassl.training.sync_batch_norm import GatheredBatchNorm, synchronised
from tests.distributed import run_in_processes
from tests.reference import data, fill

CHANNELS = 5
SIZES = {2: [3, 5], 3: [1, 5, 2]}  # images on each rank
STEPS = 3


def network() -> nn.Sequential:
    """Two BatchNorms with their own weights, one of them deeper down."""
    inner = nn.Sequential(nn.Conv2d(CHANNELS, 4, 3), nn.BatchNorm2d(4, momentum=0.3, eps=1e-3))
    return fill(nn.Sequential(nn.BatchNorm2d(CHANNELS), nn.ReLU(), inner))


def images(step: int) -> Tensor:
    """The batch of all ranks, with a mean far from zero."""
    return 2 * data(step, (8, CHANNELS, 6, 4)) + 3 * data(10 + step, (8, 1, 1, 1)) + 20


def train_and_look(model: nn.Module, first: int, last: int) -> dict[str, Tensor]:
    """Three steps of a loss that is a sum over images, on rows first..last of each batch, then one in eval mode."""
    found: dict[str, Tensor] = {}
    for step in range(STEPS):
        x = images(step)[first:last].requires_grad_()
        y = model(x)
        (y * data(20 + step, (8, *y.shape[1:]))[first:last]).sum().backward()
        found |= {f"output/{step}": y.detach(), f"input gradient/{step}": x.grad}
    parameters = {f"gradient/{name}": parameter.grad for name, parameter in model.named_parameters()}
    buffers = {f"buffer/{name}": buffer.clone() for name, buffer in model.named_buffers()}
    model.eval()
    with torch.no_grad():
        found["eval output"] = model(images(0)[first:last])
    unchanged = all(torch.equal(buffer, buffers[f"buffer/{name}"]) for name, buffer in model.named_buffers())
    return {**found, **parameters, **buffers, "eval changes nothing": torch.tensor(unchanged)}


SHAPES = {nn.BatchNorm1d: (8, CHANNELS), nn.BatchNorm2d: (8, CHANNELS, 3, 2), nn.BatchNorm3d: (8, CHANNELS, 2, 3, 2)}


def other_norm(kind: type[nn.Module]) -> list[Tensor]:
    """Output of this rank's rows, and running statistics, of a BatchNorm of other dimensions, bare and with weights."""
    found = []
    first = sum(SIZES[2][: rank()]) if world_size() > 1 else 0
    last = first + SIZES[2][rank()] if world_size() > 1 else 8
    for options in ({}, {"affine": False}, {"track_running_stats": False}, {"momentum": None}):
        layer = fill(kind(CHANNELS, **options))  # type: ignore[arg-type]
        layer = synchronised(layer, "cpu") if world_size() > 1 else layer
        for step in range(2):
            y = layer(data(step, SHAPES[kind])[first:last] + 3)  # type: ignore[index]
        found += [y.detach(), *(buffer.float() for buffer in layer.buffers())]
    return found


def other_norms() -> list[list[Tensor]]:
    return [other_norm(kind) for kind in SHAPES]


def test_batch_norms_of_other_dimensions_and_options_are_those_of_the_whole_batch() -> None:
    """As on CUDA, where torch converts them all."""
    ranks = run_in_processes(other_norms, 2)
    for kind, *parts in zip(SHAPES, *ranks, strict=True):
        alone = other_norm(kind)
        assert len(alone) == 1 + 3 + 1 + 3 + 1 + 1 + 3
        for one, other, expected in zip(*parts, alone, strict=True):
            is_output = expected.shape == SHAPES[kind]
            torch.testing.assert_close(torch.cat([one, other]) if is_output else one, expected, rtol=1e-5, atol=1e-5)


def run_rank() -> dict[str, Tensor]:
    sizes = SIZES[world_size()]
    first = sum(sizes[: rank()])
    return train_and_look(synchronised(network(), "cpu"), first, first + sizes[rank()])


@pytest.fixture(scope="module")
def alone() -> dict[str, Tensor]:
    """What plain BatchNorm makes of the whole batch."""
    return train_and_look(network(), 0, 8)


@pytest.fixture(scope="module", params=[2, pytest.param(3, marks=pytest.mark.slow)], ids=["two", "three"])
def ranks(request: pytest.FixtureRequest) -> list[dict[str, Tensor]]:
    return run_in_processes(run_rank, request.param)


def test_the_single_process_learns_something(alone: dict[str, Tensor]) -> None:
    assert sum(name.startswith("gradient/") for name in alone) == 6
    assert sum(name.startswith("buffer/") for name in alone) == 6
    assert all(alone[f"gradient/{name}"].norm() > 0.1 for name in ("0.weight", "0.bias", "2.1.weight"))


def test_outputs_and_input_gradients_are_those_of_the_whole_batch(
    ranks: list[dict[str, Tensor]], alone: dict[str, Tensor]
) -> None:
    names = [f"{kind}/{step}" for kind in ("output", "input gradient") for step in range(STEPS)]
    for name in [*names, "eval output"]:
        joined = torch.cat([result[name] for result in ranks])
        torch.testing.assert_close(joined, alone[name], rtol=1e-5, atol=1e-5)


def test_parameter_gradients_of_all_ranks_sum_to_those_of_the_whole_batch(
    ranks: list[dict[str, Tensor]], alone: dict[str, Tensor]
) -> None:
    names = [name for name in alone if name.startswith("gradient/")]
    for name in names:
        summed = torch.stack([result[name] for result in ranks]).sum(0)
        torch.testing.assert_close(summed, alone[name], rtol=1e-5, atol=1e-4)


def test_running_statistics_are_those_of_the_whole_batch_on_every_rank(
    ranks: list[dict[str, Tensor]], alone: dict[str, Tensor]
) -> None:
    names = [name for name in alone if name.startswith("buffer/")]
    for result in ranks:
        for name in names:
            torch.testing.assert_close(result[name], alone[name], rtol=1e-5, atol=1e-5)
    assert alone["buffer/0.num_batches_tracked"] == STEPS
    assert not torch.allclose(alone["buffer/0.running_mean"], network()[0].running_mean)


def test_evaluation_changes_no_statistics(ranks: list[dict[str, Tensor]]) -> None:
    assert all(result["eval changes nothing"] for result in ranks)


def test_one_process_is_plain_batch_norm(alone: dict[str, Tensor]) -> None:
    found = train_and_look(synchronised(network(), "cpu"), 0, 8)
    assert found.keys() == alone.keys()
    for name, value in alone.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-4)


def test_statistics_of_two_values_by_hand() -> None:
    layer = GatheredBatchNorm(1, eps=0.0, momentum=0.5)
    normalised = layer(torch.tensor([[[[1.0]]], [[[3.0]]]]))
    assert normalised.flatten().tolist() == [-1.0, 1.0]
    assert layer.running_mean.item() == 1.0  # half way from 0 to the mean, 2
    assert layer.running_var.item() == 1.5  # half way from 1 to the unbiased variance, 2


def test_half_precision_is_computed_in_32_bit_and_returned_as_it_came() -> None:
    layer = fill(GatheredBatchNorm(CHANNELS))
    x = images(0)
    for dtype in (torch.bfloat16, torch.float16):
        y = layer(x.to(dtype))
        assert y.dtype == dtype
        torch.testing.assert_close(y, layer(x.to(dtype).float()).to(dtype), rtol=0, atol=0)
    assert layer.running_mean.dtype == torch.float32


def test_the_state_dict_keeps_its_names_and_values() -> None:
    plain, gathered = network(), synchronised(network(), "cpu")
    assert list(gathered.state_dict()) == list(plain.state_dict())
    assert all(torch.equal(value, gathered.state_dict()[name]) for name, value in plain.state_dict().items())
    assert type(gathered[2][1]) is GatheredBatchNorm
    assert (gathered[2][1].momentum, gathered[2][1].eps) == (0.3, 1e-3)


@pytest.mark.parametrize(("device", "kind"), [("cpu", GatheredBatchNorm), ("cuda", nn.SyncBatchNorm)])
def test_every_batch_norm_of_the_encoder_is_replaced_in_its_own_mode(device: str, kind: type) -> None:
    from bassl.model.shot_encoder import ShotEncoder  # here, as the processes above need no torchvision

    encoder = ShotEncoder.build(18).eval()
    before = encoder.state_dict()
    num_norms = sum(isinstance(module, nn.BatchNorm2d) for module in encoder.modules())
    replaced = synchronised(encoder, device)
    norms = [module for module in replaced.modules() if type(module) is kind]
    assert len(norms) == num_norms == 20
    assert not any(type(module) is nn.BatchNorm2d for module in replaced.modules())
    assert not any(norm.training for norm in norms)
    assert replaced.state_dict().keys() == before.keys()
    assert replaced.feature_dim == 512

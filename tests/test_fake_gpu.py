"""The GPU that need not be there refuses what a real one refuses, and counts what the host would wait for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from tests.fake_gpu import GPU, READ, FakeGpu


@pytest.mark.parametrize(
    "mixed",
    [
        lambda x: x + torch.ones(3),
        lambda x: x.masked_fill(torch.ones(3, dtype=torch.bool), 0),
        lambda x: x.index_select(0, torch.zeros(1, dtype=torch.int64)),
        lambda x: torch.stack([x, torch.ones(3)]),
    ],
)
def test_a_tensor_of_the_cpu_is_refused(mixed: Callable[[Tensor], Tensor]) -> None:
    with FakeGpu() as gpu, pytest.raises(RuntimeError, match="same device"):
        mixed(gpu.copy(torch.ones(3)))


@pytest.mark.parametrize(
    ("work", "waits"),
    [
        (lambda x: x.sum().item(), [READ]),
        (lambda x: bool((x > 0).all()), [READ]),
        (lambda x: x.cpu(), ["aten._to_copy.default"]),
        (lambda x: torch.ones(3).to(GPU), ["aten._to_copy.default"]),
        (lambda x: x.copy_(torch.ones(3)), ["aten.copy_.default"]),
        (lambda x: x[torch.tensor([0])], ["aten.index.Tensor"]),
        (lambda x: x.unique(), ["aten._unique2.default"]),
        (lambda x: torch.ones(3).to(GPU, non_blocking=True) + x, []),
        (lambda x: x.to("cpu", non_blocking=True), []),
        (lambda x: x[torch.zeros(1, dtype=torch.int64, device=GPU)].relu().mean(), []),
    ],
)  # fmt: skip
def test_what_the_host_waits_for_is_counted(work: Callable[[Tensor], object], waits: list[str]) -> None:
    with FakeGpu() as gpu:
        work(gpu.copy(torch.ones(3)))
    assert gpu.waits == waits

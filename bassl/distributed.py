"""Ranks, and tensors gathered over them in rank order.

Every function is an identity in a single process. Tensors must be where the backend wants them: on the CPU for gloo,
on the process's own GPU for NCCL.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable


def _has_group() -> bool:
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """Return the index of this process, 0 without a process group."""
    return dist.get_rank() if _has_group() else 0


def world_size() -> int:
    """Return the number of processes, 1 without a process group."""
    return dist.get_world_size() if _has_group() else 1


def is_rank_zero() -> bool:
    """Return whether this process is the one that logs and writes."""
    return rank() == 0


def gather_with_grad(x: Tensor) -> Tensor:
    """Gather rows of all ranks with gradient: (rows, ...) -> (world_size * rows, ...).

    Shape and dtype must be the same on all ranks; checking it would wait for the device. Backward gives each rank the
    gradient of its own rows, summed over the ranks. If every rank computes the same loss from the gathered rows, DDP's
    average of parameter gradients is then the gradient of one process with the whole batch.
    """
    assert x.ndim > 0, "gather_with_grad needs rows, got a scalar"
    return _Gather.apply(x) if world_size() > 1 else x


class _Gather(Function):
    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        return torch.cat(_all_gather(x))

    @staticmethod
    @once_differentiable
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:
        # all_reduce and slice, not reduce_scatter: every gloo has the former, and the rows are small.
        summed = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(summed)
        num_rows = len(summed) // world_size()
        return summed.narrow(0, rank() * num_rows, num_rows)


def sum_over_ranks(x: Tensor) -> Tensor:
    """Sum a tensor of one shape over the ranks, without gradient. Does not wait for the device."""
    x = x.detach()
    if world_size() == 1:
        return x
    summed = x.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(summed)
    return summed


def mean_over_ranks(x: Tensor) -> Tensor:
    """Average a tensor over the ranks, as `sum_over_ranks`: per-rank losses become that of the whole batch."""
    return sum_over_ranks(x) / world_size() if world_size() > 1 else x.detach()


def share_buffers(module: nn.Module) -> None:
    """Copy rank zero's buffers, such as BatchNorm's running statistics, to all ranks.

    All ranks call it between training and validation. DDP's own broadcast comes with each forward pass, and in
    validation it would wait forever for ranks with fewer films.
    """
    if world_size() > 1:
        for buffer in module.buffers():
            dist.broadcast(buffer, src=0)


def gather_uneven(x: Tensor) -> Tensor:
    """Gather rows of all ranks without gradient: (local rows, ...) -> (rows of all ranks, ...).

    Ranks may hold different numbers of rows, also none. The other sizes and the dtype must be the same on all. Waits
    for the device: use it in validation, not in the training step.
    """
    assert x.ndim > 0, "gather_uneven needs rows, got a scalar"
    x = x.detach()
    if world_size() == 1:
        return x
    # As bytes, since backends differ in the dtypes that they take.
    local = x.contiguous().flatten().view(torch.uint8)
    sizes = torch.tensor([len(x), local.numel()], device=x.device)
    num_rows, num_bytes = torch.stack(_all_gather(sizes)).T.tolist()
    if max(num_bytes) == 0:
        return x.new_empty(sum(num_rows), *x.shape[1:])
    padded = local.new_zeros(max(num_bytes))
    padded[: local.numel()] = local
    parts = [part[:size] for part, size in zip(_all_gather(padded), num_bytes, strict=True)]
    return torch.cat(parts).view(x.dtype).reshape(sum(num_rows), *x.shape[1:])


def _all_gather(x: Tensor) -> list[Tensor]:
    x = x.contiguous()
    parts = [torch.empty_like(x) for _ in range(world_size())]
    dist.all_gather(parts, x)
    return parts

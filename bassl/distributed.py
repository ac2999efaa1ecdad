"""The processes of a run: who is this one, and tensors of all of them put together in rank order.

Everything here is an identity in a single process, so callers never ask whether a process group exists.
Tensors lie where the backend wants them: CPU for gloo, the process's own GPU for NCCL.
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
    """Index of this process among all, 0 without a process group."""
    return dist.get_rank() if _has_group() else 0


def world_size() -> int:
    """Number of processes, 1 without a process group."""
    return dist.get_world_size() if _has_group() else 1


def is_rank_zero() -> bool:
    """Whether this process is the one that logs and writes."""
    return rank() == 0


def gather_with_grad(x: Tensor) -> Tensor:
    """Rows of all ranks, in rank order and with gradient: (rows, ...) -> (world_size * rows, ...).

    Every rank must bring the same shape and dtype; that is not checked, because the check would wait for the
    device. Backward gives each rank the gradient of its own rows summed over the ranks. When every rank
    computes the same loss from the gathered rows, averaging parameter gradients as DDP does then yields the
    gradient that one process with the whole batch would have.
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
    """Sum of a tensor over the ranks, without gradient; of one shape on all. Does not wait for the device."""
    x = x.detach()
    if world_size() == 1:
        return x
    summed = x.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(summed)
    return summed


def mean_over_ranks(x: Tensor) -> Tensor:
    """Mean of a tensor over the ranks, as `sum_over_ranks`.

    What a rank's share of the batch contributes to a loss becomes the loss of the whole batch, as DDP does with
    gradients.
    """
    return sum_over_ranks(x) / world_size() if world_size() > 1 else x.detach()


def share_buffers(module: nn.Module) -> None:
    """Give every rank rank zero's buffers, such as BatchNorm's running statistics, which only it saves.

    To be called between training and validation by all ranks. DDP's own broadcast comes with each forward, also in
    validation, where ranks with fewer films would be waited for without end.
    """
    if world_size() > 1:
        for buffer in module.buffers():
            dist.broadcast(buffer, src=0)


def gather_uneven(x: Tensor) -> Tensor:
    """Rows of all ranks, in rank order and without gradient: (own rows, ...) -> (rows of all ranks, ...).

    Ranks may hold different numbers of rows, also none, of any dtype. The sizes behind dim 0 and the dtype
    must agree over the ranks, an empty rank's included. Waits for the device: meant for validation, not for
    the training step.
    """
    assert x.ndim > 0, "gather_uneven needs rows, got a scalar"
    x = x.detach()
    if world_size() == 1:
        return x
    # As bytes, since backends differ in the dtypes that they take.
    own = x.contiguous().flatten().view(torch.uint8)
    sizes = torch.tensor([len(x), own.numel()], device=x.device)
    num_rows, num_bytes = torch.stack(_all_gather(sizes)).T.tolist()
    if max(num_bytes) == 0:
        return x.new_empty(sum(num_rows), *x.shape[1:])
    padded = own.new_zeros(max(num_bytes))
    padded[: own.numel()] = own
    parts = [part[:size] for part, size in zip(_all_gather(padded), num_bytes, strict=True)]
    return torch.cat(parts).view(x.dtype).reshape(sum(num_rows), *x.shape[1:])


def _all_gather(x: Tensor) -> list[Tensor]:
    x = x.contiguous()
    parts = [torch.empty_like(x) for _ in range(world_size())]
    dist.all_gather(parts, x)
    return parts

"""Find the most likely scene change of a window by dynamic time warping (BaSSL, pseudo-boundary discovery)."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.no_grad()
def pseudo_boundary(sparse: Tensor, dense: Tensor) -> Tensor:
    """Return the last shot of the left scene in each window: (B, 2, D), (B, S, D) -> (B,) int64 in 0..S-2.

    Warps the first and the last shot (sparse) onto the window (dense), all of unit length. With two rows and costs
    c0, c1 = 1 - cosine >= 0, the best path minimises sum(c0[:b+1]) + sum(c1[b+1:]); among equal sums it ends the left
    scene at the largest b. Costs are clamped at 0, because rounding in half precision can make a cosine exceed 1,
    where the reference crashes. Has no gradient and does not wait for the device.
    """
    assert (dense.ndim, sparse.shape) == (3, (len(dense), 2, dense.shape[-1])), (
        f"pseudo_boundary takes (B, 2, D) and (B, S, D), got {tuple(sparse.shape)} and {tuple(dense.shape)}"
    )
    assert dense.shape[1] >= 2, f"a window needs 2 shots to have a boundary, got {dense.shape[1]}"
    left, right = (1 - cosines(sparse, dense)).clamp(min=0).unbind(dim=1)
    # sum(c0[:b+1]) + sum(c1[b+1:]), minus the constant sum(c1)
    totals = (left - right).cumsum(dim=1)[:, :-1]
    return totals.shape[1] - 1 - totals.flip(1).argmin(dim=1)


def cosines(first: Tensor, second: Tensor) -> Tensor:
    """Return the cosines of all pairs of unit-length embeddings: (..., N, D), (..., M, D) -> (..., N, M).

    The result is float32 or better, also for half-precision input and inside autocast.
    """
    dtype = torch.promote_types(torch.promote_types(first.dtype, second.dtype), torch.float32)
    with torch.autocast(first.device.type, enabled=False):
        return first.to(dtype) @ second.to(dtype).mT

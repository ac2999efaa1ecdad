"""Batch statistics over all processes, on CUDA by torch's SyncBatchNorm and elsewhere by our own.

torch's class refuses CPU tensors, so runs of several CPU processes (tests, small machines) would otherwise train
another model than one process does.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from bassl.distributed import gather_with_grad


class GatheredBatchNorm(nn.BatchNorm2d):
    """BatchNorm2d whose training statistics are those of the batches of all ranks, with gradients through them."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        local = x.float()
        count = torch.full((1, 1), local.numel() / local.shape[1], device=x.device)
        moments = torch.stack([local.mean((0, 2, 3)), local.var((0, 2, 3), unbiased=False)])
        counts, means, variances = gather_with_grad(torch.cat([count.expand(1, local.shape[1]), moments])[None]).unbind(
            1
        )
        total = counts.sum(0)
        mean = (counts * means).sum(0) / total
        variance = (counts * (variances + (means - mean).square())).sum(0) / total
        self._track(mean.detach(), (variance * total / (total - 1).clamp(min=1)).detach())
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        return (local * scale[:, None, None] + shift[:, None, None]).to(x.dtype)

    def _track(self, mean: Tensor, unbiased_variance: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(unbiased_variance, self.momentum)


def synchronised(module: nn.Module, device_type: str) -> nn.Module:
    """The module with every BatchNorm2d synchronised over ranks; names and weights in the state dict stay."""
    if device_type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(module)
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            replacement = GatheredBatchNorm(
                child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats
            )
            replacement.load_state_dict(child.state_dict())
            setattr(module, name, replacement.train(child.training))
        else:
            synchronised(child, device_type)
    return module

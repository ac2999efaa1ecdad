"""BatchNorm over all processes: torch's SyncBatchNorm on CUDA, our own elsewhere.

torch's class refuses CPU tensors, so several CPU processes would train another model than one process does.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from bassl.distributed import gather_with_grad


class GatheredBatchNorm(_BatchNorm):
    """BatchNorm of (B, C, ...) with the training statistics of all ranks, and gradients through them."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise a batch; computes in float32 and returns the input's dtype."""
        if not self.training:
            return super().forward(x)
        local, axes = x.float(), [0, *range(2, x.ndim)]
        count = torch.full((1, x.shape[1]), x.numel() / x.shape[1], device=x.device)
        moments = torch.stack([local.mean(axes), local.var(axes, unbiased=False)])
        counts, means, variances = gather_with_grad(torch.cat([count, moments])[None]).unbind(1)
        total = counts.sum(0)
        mean = (counts * means).sum(0) / total
        variance = (counts * (variances + (means - mean).square())).sum(0) / total
        self._track(mean.detach(), (variance * total / (total - 1).clamp(min=1)).detach())
        scale = torch.rsqrt(variance + self.eps)
        if self.affine:
            scale = self.weight * scale
        shift = self.bias - mean * scale if self.affine else -mean * scale
        per_channel = (-1, *[1] * (x.ndim - 2))
        return (local * scale.view(per_channel) + shift.view(per_channel)).to(x.dtype)

    def _track(self, mean: Tensor, unbiased_variance: Tensor) -> None:
        if self.running_mean is None:
            return
        assert self.running_var is not None and self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(unbiased_variance, share)

    def _check_input_dim(self, input: Tensor) -> None:
        assert input.ndim > 1, f"BatchNorm needs (B, C, ...), got {tuple(input.shape)}"


def synchronize(module: nn.Module, device_type: str) -> nn.Module:
    """Replace every BatchNorm of a module by one that is synchronised over ranks; the state dict stays."""
    if device_type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(module)
    if isinstance(module, _BatchNorm):
        replacement = GatheredBatchNorm(
            module.num_features, module.eps, module.momentum, module.affine, module.track_running_stats
        )
        replacement.load_state_dict(module.state_dict())
        return replacement.train(module.training)
    for name, child in module.named_children():
        setattr(module, name, synchronize(child, device_type))
    return module

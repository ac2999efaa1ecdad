"""Shot encoder: a torchvision ResNet without its classifier, and its shot features at test time."""

from __future__ import annotations

import copy

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models import ResNet, WeightsEnum, get_model_weights
from torchvision.models.resnet import BasicBlock, Bottleneck

from bassl.errors import InputError

RESNETS: dict[int, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
    152: (Bottleneck, (3, 8, 36, 3)),
}
"""Depth -> kind of block and number of blocks in each of the four stages."""

MAX_IMAGES_CPU = 16
"""Key-frames that a CPU encodes at a time; the activations of 100 leave its caches, at a fifth of the speed."""


class ShotEncoder(ResNet):
    """Encode normalised key-frames (N, 3, H, W) as features (N, feature_dim) after global average pooling.

    Create one with `build`. State-dict names are torchvision's, without `fc.*`.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        num_blocks: tuple[int, int, int, int],
        zero_init_residual: bool = True,
    ) -> None:
        super().__init__(block, list(num_blocks), num_classes=1, zero_init_residual=zero_init_residual)
        self.fc = nn.Identity()
        self.feature_dim = 512 * block.expansion

    @classmethod
    def build(cls, depth: int = 50, zero_init_residual: bool = True, imagenet_pretrained: bool = False) -> ShotEncoder:
        """Build an encoder with new weights, or with torchvision's ImageNet weights (the first version of each).

        Raises InputError for an unknown depth, or if the ImageNet weights are neither cached nor downloadable.
        """
        if depth not in RESNETS:
            raise InputError(f"there is no ResNet of depth {depth}; choose one of {', '.join(map(str, RESNETS))}")
        encoder = cls(*RESNETS[depth], zero_init_residual=zero_init_residual)
        if imagenet_pretrained:
            encoder.load_state_dict(_imagenet_weights(depth))
        return encoder


def for_inference(encoder: nn.Module, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Return a frozen copy for test time: a ResNet's BatchNorm is folded into its convolutions, channels-last.

    The copy takes key-frames (N, 3, H, W) of any floating dtype and memory layout and returns (N, D) in `dtype`.
    """
    folded = copy.deepcopy(encoder).eval().requires_grad_(False)
    if isinstance(encoder, ResNet):
        for module in list(folded.modules()):
            _fold_batch_norms(module)
    return _FrozenEncoder(folded.to(dtype=dtype, memory_format=torch.channels_last), dtype)  # type: ignore[call-overload]


def mean_over_keyframes(encoder: nn.Module, keyframes: Tensor) -> Tensor:
    """Return test-time shot features (B, D), 32 bit: the mean over the key-frames (B, K, 3, H, W) of each shot."""
    assert keyframes.ndim == 5, f"keyframes must be (B, K, 3, H, W), got {tuple(keyframes.shape)}"
    assert not encoder.training, "test-time features need the encoder in eval mode"
    features = encoder(rearrange(keyframes, "b k c h w -> (b k) c h w"))
    features = features.to(torch.promote_types(features.dtype, torch.float32))
    return rearrange(features, "(b k) d -> b k d", k=keyframes.shape[1]).mean(dim=1)


class _FrozenEncoder(nn.Module):
    def __init__(self, folded: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.folded = folded
        self.dtype = dtype
        self.feature_dim = folded.feature_dim
        self.eval()

    def forward(self, keyframes: Tensor) -> Tensor:
        parts = keyframes.split(MAX_IMAGES_CPU) if keyframes.device.type == "cpu" else (keyframes,)
        features = [self.folded(part.to(dtype=self.dtype, memory_format=torch.channels_last)) for part in parts]
        return features[0] if len(features) == 1 else torch.cat(features)


def _fold_batch_norms(module: nn.Module) -> None:
    """Fold each BatchNorm child into the convolution before it; in a ResNet they alternate."""
    convolution: tuple[str, nn.Conv2d] | None = None
    for name, child in list(module.named_children()):
        if isinstance(child, _BatchNorm):
            assert convolution is not None, f"no convolution in front of {name}"
            setattr(module, convolution[0], fuse_conv_bn_eval(convolution[1], child))
            setattr(module, name, nn.Identity())
        convolution = (name, child) if isinstance(child, nn.Conv2d) else None


def _imagenet_weights(depth: int) -> dict[str, Tensor]:
    weights: WeightsEnum = get_model_weights(f"resnet{depth}")["IMAGENET1K_V1"]
    try:
        state_dict = weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except Exception as error:  # a missing network or a damaged download provokes anything
        raise InputError(
            f"torchvision's ImageNet weights for ResNet-{depth} are not available ({error}); download "
            f"{weights.url} on a machine with a network into {torch.hub.get_dir()}/checkpoints, "
            "or train from scratch with use_imagenet_pretrained=false"
        ) from error
    return {name: tensor for name, tensor in state_dict.items() if not name.startswith("fc.")}

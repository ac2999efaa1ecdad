"""Shot encoder: recorded features, the folded copy for test time, torchvision's names and weights."""

from __future__ import annotations

import urllib.error
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn

from bassl.errors import InputError
from bassl.model.shot_encoder import RESNETS, ShotEncoder, for_inference, mean_over_keyframes
from tests.reference import SEED, data, fill, golden


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def recorded() -> ShotEncoder:
    """The encoder of the recorded numbers, in eval mode."""
    return fill(nn.ModuleDict({"shot_encoder": ShotEncoder.build()}))["shot_encoder"].eval()


@pytest.fixture
def small() -> ShotEncoder:
    """ResNet-18 in eval mode whose BatchNorms do something."""
    encoder = ShotEncoder.build(18)
    for module in encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    return encoder.eval()


def relative_error(ours: Tensor, expected: np.ndarray | Tensor) -> float:
    expected = torch.as_tensor(expected)
    assert ours.shape == expected.shape
    return ((ours - expected).abs().max() / expected.abs().max()).item()


@torch.no_grad()
def test_features_are_the_recorded_ones(recorded: ShotEncoder) -> None:
    assert relative_error(recorded(data(SEED + 1, (2, 3, 224, 224))), golden()["encoder_out"]) < 1e-4


@torch.no_grad()
def test_shot_features_are_the_recorded_ones_also_with_the_folded_encoder(recorded: ShotEncoder) -> None:
    keyframes = data(SEED + 6, (2, 1, 3, 3, 224, 224))[:, 0]
    for encoder in (recorded, for_inference(recorded)):
        features = mean_over_keyframes(encoder, keyframes)
        assert relative_error(features, golden()["extract_out"]) < 1e-4


def test_the_folded_encoder_is_a_frozen_copy_without_batch_norm(small: ShotEncoder) -> None:
    before = {name: tensor.clone() for name, tensor in small.state_dict().items()}
    folded = for_inference(small.train())
    assert not [module for module in folded.modules() if isinstance(module, nn.BatchNorm2d)]
    assert not any(parameter.requires_grad for parameter in folded.parameters())
    assert not folded.training
    assert folded.feature_dim == small.feature_dim
    assert small.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in small.state_dict().items())
    convolutions = [module for module in folded.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == 20
    assert all(module.weight.is_contiguous(memory_format=torch.channels_last) for module in convolutions)


@torch.no_grad()
def test_the_folded_encoder_in_half_precision_stays_near(small: ShotEncoder) -> None:
    keyframes = torch.randn(2, 3, 64, 64)
    features = for_inference(small, torch.bfloat16)(keyframes)
    assert features.dtype == torch.bfloat16
    assert relative_error(features.float(), small(keyframes)) < 0.05


@torch.no_grad()
def test_an_encoder_of_ones_own_is_frozen_as_it_is() -> None:
    """BatchNorm stands behind an activation here, so it could not be folded."""
    own = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    own.feature_dim = 4
    own(torch.rand(8, 3, 8, 8))  # gives it statistics
    frozen, images = for_inference(own), torch.rand(5, 3, 8, 8)
    assert frozen.feature_dim == 4
    assert not frozen.training and not any(weight.requires_grad for weight in frozen.parameters())
    torch.testing.assert_close(frozen(images), own.eval()(images))


@torch.no_grad()
def test_shot_features_are_the_mean_over_keyframes_in_32_bit(small: ShotEncoder) -> None:
    keyframes = torch.randn(2, 3, 3, 32, 32)
    features = mean_over_keyframes(small, keyframes)
    for shot, feature in zip(keyframes, features, strict=True):
        one_by_one = [small(keyframe[None])[0] for keyframe in shot]
        torch.testing.assert_close(feature, sum(one_by_one) / 3, rtol=1e-4, atol=1e-5)
    assert mean_over_keyframes(for_inference(small, torch.bfloat16), keyframes).dtype == torch.float32


@pytest.mark.parametrize("depth", RESNETS)
def test_names_and_shapes_are_torchvisions_without_the_classifier(depth: int) -> None:
    with torch.device("meta"):
        ours = ShotEncoder.build(depth)
        theirs = getattr(torchvision.models, f"resnet{depth}")()
    expected = {name: t.shape for name, t in theirs.state_dict().items() if not name.startswith("fc.")}
    assert {name: tensor.shape for name, tensor in ours.state_dict().items()} == expected
    assert ours.feature_dim == theirs.fc.in_features


@pytest.mark.parametrize(("zero_init", "weight"), [(True, 0.0), (False, 1.0)])
def test_the_last_norm_of_a_block_starts_at_zero_if_asked(zero_init: bool, weight: float) -> None:
    encoder = ShotEncoder.build(18, zero_init_residual=zero_init)
    assert encoder.layer3[1].bn2.weight.unique().tolist() == [weight]
    assert encoder.layer3[1].bn1.weight.unique().tolist() == [1.0]


@pytest.fixture
def torch_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of torchvision's weights, and no network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))

    def no_network(*_arguments: Any, **_options: Any) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", no_network)
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def test_imagenet_weights_are_read_from_torchs_cache(torch_home: Path) -> None:
    published = torchvision.models.resnet18()
    torch.save(published.state_dict(), torch_home / "resnet18-f37072fd.pth")
    encoder = ShotEncoder.build(18, imagenet_pretrained=True)
    expected = published.state_dict()
    assert len(encoder.state_dict()) == len(expected) - 2
    assert all(torch.equal(tensor, expected[name]) for name, tensor in encoder.state_dict().items())


def test_imagenet_weights_without_a_network_are_one_clear_error(torch_home: Path) -> None:
    with pytest.raises(InputError, match=r"ResNet-18 are not available .*no route") as refused:
        ShotEncoder.build(18, imagenet_pretrained=True)
    for remedy in ("https://", "resnet18-f37072fd.pth", str(torch_home), "use_imagenet_pretrained=false"):
        assert remedy in str(refused.value)

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import types

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models import ResNet50_Weights

from bassl.errors import InputError
from bassl.model.colour import colour_histogram
from bassl.segment.encoders import IMAGENET_URL, ColourEncoder, default_encoder
from bassl.segment.model import load_model

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 3, 48, 64, 3), dtype=np.uint8)


def encode(encoder):
    return encoder.encode([[encoder.prepare(image) for image in shot] for shot in IMAGES])


def never_answer(*_arguments, **_named):
    threading.Event().wait(5)
    raise OSError


class MeanColour(nn.Module):
    """Features (N, 3): the mean of each normalised channel."""

    num_features = 3

    def forward(self, images):
        return images.float().mean((2, 3))


def test_colour_features_are_the_mean_histogram_of_the_key_frames():
    np.testing.assert_allclose(encode(ColourEncoder()), colour_histogram(IMAGES).mean(1), rtol=1e-6)


def test_colour_needs_no_torch(data_folder, tmp_path):
    code = (
        "import sys\nfrom bassl.segment.main import main\n"
        f"argv = ['--keyframes', {str(data_folder)!r}, '--encoder', 'colour', '-o', {str(tmp_path / 'o')!r}]\n"
        "assert main(argv) == 0\n"
        "assert not {'torch', 'av', 'scenedetect'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_default_is_imagenet_if_cached_else_colour_and_one_line_says_why(tmp_path, caplog, monkeypatch):
    with caplog.at_level(logging.INFO):
        assert default_encoder() == "colour"
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"encoder: colour histograms, because ImageNet weights are not in {tmp_path}")
    assert "(no network)" in line
    monkeypatch.setattr("bassl.segment.encoders.PATIENCE", 0.01)
    monkeypatch.setattr("urllib.request.urlopen", never_answer)
    assert default_encoder() == "colour"
    assert "(no answer)" in caplog.text
    weights = tmp_path / "torch" / "hub" / "checkpoints" / "resnet50-0676ba61.pth"
    weights.parent.mkdir(parents=True)
    weights.touch()
    assert default_encoder() == "imagenet"
    assert weights.parent == type(weights)(torch.hub.get_dir()) / "checkpoints"
    assert ResNet50_Weights.IMAGENET1K_V1.url == IMAGENET_URL


def test_timm_models_bring_their_dimension_and_transform(monkeypatch):
    calls = []
    timm = types.ModuleType("timm")
    timm.data = types.ModuleType("timm.data")
    timm.create_model = lambda name, **more: calls.append((name, more)) or MeanColour()
    config = {"input_size": (3, 32, 32), "crop_pct": 0.8, "mean": (0.5, 0.5, 0.5), "std": (0.25, 0.25, 0.25)}
    timm.data.resolve_model_data_config = lambda network: config
    monkeypatch.setitem(sys.modules, "timm", timm)
    monkeypatch.setitem(sys.modules, "timm.data", timm.data)
    model = load_model(None, encoder="timm:tiny", device="cpu")
    assert calls == [("tiny", {"pretrained": True, "num_classes": 0})]
    assert (model.encoder.feature_dim, model.info.encoder) == (3, "timm:tiny")
    prepared = model.encoder.prepare(IMAGES[0, 0])
    assert prepared.shape == (3, 32, 32)
    expected = (prepared.double() / 255).mean((1, 2)) / 0.25 - 2
    np.testing.assert_allclose(model.encoder.encode([[prepared]])[0], expected, atol=0.02)
    assert model.encoder.transform.resize == 40


def test_without_timm_or_its_model_one_sentence_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match=r"pip install 'bassl\[timm\]'"):
        load_model(None, encoder="timm:tiny", device="cpu")


def test_the_users_own_factory_makes_the_encoder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "my_encoder.py").write_text(
        "from torch import nn\n"
        "class Mean(nn.Module):\n"
        "    transform = {'resize': 20, 'crop': 16}\n"
        "    def forward(self, images):\n        return images.flatten(2).float().mean(2)\n"
        "def nothing():\n    return 3\n"
    )
    model = load_model(None, encoder="my_encoder:Mean", device="cpu")
    assert encode(model.encoder).shape == (2, 3)
    assert model.encoder.prepare(IMAGES[0, 0]).shape == (3, 16, 16)
    for name, message in (("my_encoder:other", "cannot be imported"), ("my_encoder:nothing", "returns int")):
        with pytest.raises(InputError, match=message):
            load_model(None, encoder=name, device="cpu")

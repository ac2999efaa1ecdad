"""Encoders of key-frames by name, and the choice of one where none is given. Imports no torch."""

from __future__ import annotations

import logging
import os
import re
import threading
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

log = logging.getLogger(__name__)

COLOUR, IMAGENET = "colour", "imagenet"
IMAGENET_URL = "https://download.pytorch.org/models/resnet50-0676ba61.pth"
CODE = re.compile(r"(?!timm:)[A-Za-z_][\w.]+:[A-Za-z_]\w*")
PATIENCE = 3.0  # seconds to wait for an answer about downloading

RgbImage = npt.NDArray[np.uint8]


class KeyframeEncoder(Protocol):
    """Key-frames to shot features.

    Attributes:
        name: for the results.
        id: hash of everything that decides the features.
        feature_dim: D.
        batch_size: shots to encode at once.
    """

    name: str
    id: str
    feature_dim: int
    batch_size: int

    def prepare(self, image: RgbImage) -> Any:
        """Reduce a key-frame (H, W, 3) to what `encode` needs; called while the film is decoded."""

    def encode(self, shots: Sequence[Sequence[Any]]) -> npt.NDArray[np.float32]:
        """Return features (B, D) of shots, the mean over the prepared key-frames of each."""


class ColourEncoder:
    """Colour histograms: no network, no weights, no torch."""

    name = "colour histograms"
    batch_size = 64

    def __init__(self) -> None:
        from bassl.model.colour import NUM_FEATURES, colour_histogram

        self.prepare = colour_histogram
        self.feature_dim = NUM_FEATURES
        self.id = f"colour histograms 1, {NUM_FEATURES}"

    def encode(self, shots: Sequence[Sequence[npt.NDArray[np.float32]]]) -> npt.NDArray[np.float32]:
        """Return the mean histograms of shots."""
        return np.stack([np.mean(histograms, axis=0) for histograms in shots])


def is_code(encoder: str | Path | None) -> bool:
    """Whether an encoder is given as `module:factory`."""
    return isinstance(encoder, str) and bool(CODE.fullmatch(encoder)) and not Path(encoder).exists()


def default_encoder() -> str:
    """Return IMAGENET if torchvision's weights are cached or can be downloaded, else COLOUR; log which and why."""
    cached = _torch_cache() / "hub" / "checkpoints" / Path(IMAGENET_URL).name
    if cached.is_file():
        log.info("encoder: torchvision's ImageNet ResNet-50, found in %s; --encoder names another", cached.parent)
        return IMAGENET
    obstacle = _obstacle_to_download()
    if obstacle is None:
        log.info("encoder: torchvision's ImageNet ResNet-50, downloaded to %s (98 MB)", cached.parent)
        return IMAGENET
    log.warning(
        "encoder: colour histograms, because ImageNet weights are not in %s and cannot be downloaded (%s); "
        "--encoder names another",
        cached.parent,
        obstacle,
    )
    return COLOUR


def _obstacle_to_download() -> str | None:
    """Return why the ImageNet weights cannot be downloaded, after PATIENCE at most; None if they can."""
    answers = ["no answer"]

    def ask() -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(IMAGENET_URL, method="HEAD"), timeout=PATIENCE):
                answers.append("")
        except (OSError, ValueError) as error:
            answers.append(str(getattr(error, "reason", None) or error))

    thread = threading.Thread(target=ask, daemon=True)  # looking up the address may take longer than any timeout
    thread.start()
    thread.join(PATIENCE)
    return answers[-1] or None


def _torch_cache() -> Path:
    """Return torch's own cache folder, by its rules."""
    if given := os.environ.get("TORCH_HOME"):
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser() / "torch"

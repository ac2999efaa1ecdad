"""A model that scores scene boundaries in a film: key-frames to shot features, shot features to probabilities."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torchvision.models import ResNet50_Weights

from bassl.dataset.transform import TEST_CROP, TEST_RESIZE, normalize, resize_and_crop
from bassl.dataset.window import clipped_windows
from bassl.errors import InputError
from bassl.model.boundary_scorer import BoundaryScorer
from bassl.model.checkpoint import Checkpoint, log_unused_keys, read_checkpoint
from bassl.model.loading import architecture_of, load_encoder, load_scorer, zero_shot_scorer
from bassl.model.shot_encoder import ShotEncoder, for_inference
from bassl.model.similarity import boundary_probabilities
from bassl.segment.device import ComputeDevice, choose_device
from bassl.segment.reference import IMAGENET, ModelReference, find_model
from bassl.segment.scenes import FINETUNED, TRAINING_FREE, ZERO_SHOT, ModelInfo

log = logging.getLogger(__name__)

WINDOWS_AT_ONCE = 256
IMAGENET_DEPTH = 50


@dataclass(frozen=True)
class SceneModel:
    """What `load_model` gives.

    Attributes:
        info: name, kind and fingerprints, as they go into the results.
        reference: the files it was read from.
        encoder: key-frames (N, 3, H, W), normalised, to features (N, D).
        scorer: windows of shot features (B, S, D) to logits (B, 2); None for the training-free scorer.
        resize, crop: test-time transform, pixels.
        neighbor_interval: shots from one of a window to the next.
    """

    info: ModelInfo
    reference: ModelReference
    encoder: nn.Module
    scorer: BoundaryScorer | None
    device: ComputeDevice
    resize: int = TEST_RESIZE
    crop: int = TEST_CROP
    neighbor_interval: int = 1

    def prepare(self, image: npt.NDArray[np.uint8]) -> Tensor:
        """A key-frame (H, W, 3), resized and cropped to (3, crop, crop) uint8: cheap to keep until there are many."""
        upright = torch.from_numpy(image).permute(2, 0, 1)[None]
        return resize_and_crop(upright, self.resize, self.crop)[0]

    @torch.inference_mode()
    def encode(self, keyframes: Tensor) -> npt.NDArray[np.float32]:
        """Shot features (B, D), the mean over key-frames, of uint8 (B, K, 3, crop, crop) as `prepare` makes them."""
        images = keyframes.flatten(0, 1).to(self.device.torch_device)
        features = self.encoder(normalize(images)).float().unflatten(0, keyframes.shape[:2]).mean(dim=1)
        return features.cpu().numpy()

    @torch.inference_mode()
    def score(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """Probability (num_shots,) that a scene ends with each shot of a film.

        From its features (num_shots, D). The last is NaN: there the film ends and nothing is to decide.
        """
        if self.scorer is None:
            return self.similarity(features)
        shots = torch.from_numpy(features).to(self.device.torch_device)
        probability = self._window_scores(shots, self.scorer).cpu().numpy()
        probability[-1:] = np.nan
        return probability

    @torch.inference_mode()
    def similarity(self, features: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
        """What the training-free scorer says, likewise."""
        probability = boundary_probabilities(torch.from_numpy(features)).numpy().astype(np.float64)
        probability[-1:] = np.nan
        return probability

    def _window_scores(self, shots: Tensor, scorer: BoundaryScorer) -> Tensor:
        found = []
        for start in range(0, len(shots), WINDOWS_AT_ONCE):
            centers = np.arange(start, min(start + WINDOWS_AT_ONCE, len(shots)))
            num_shots = np.full(len(centers), len(shots))
            windows = clipped_windows(centers, num_shots, scorer.num_shots // 2, self.neighbor_interval)
            logits = scorer(shots[torch.from_numpy(windows).to(shots.device)])
            found.append(logits.float().softmax(1)[:, 1].double())
        return torch.cat(found)


def load_model(
    name_or_path: str | Path | None = None, encoder: str | Path | None = None, device: str = "auto"
) -> SceneModel:
    """A model by the name it was trained under or by the path of its checkpoint (or its folder).

    A fine-tuned checkpoint scores with its own head. One that is only pre-trained with BaSSL scores with the
    pseudo-boundary head that pre-training gave it: zero-shot, no label has been seen. Without a name, or
    where the checkpoint holds an encoder alone (shot-level pre-training), boundaries are scored by how little
    the shots before resemble those after: training-free.

    Args:
        encoder: checkpoint, by name or path, whose shot encoder makes the features: for a fine-tuned model
            stored without one, and for the training-free scorer; "imagenet", the default there, is
            torchvision's ResNet-50.
        device: "auto", "cpu", "cuda" or "cuda:1".

    Raises:
        InputError: no such model, a file that is none, parts that do not fit each other, no such device.
    """
    return load_reference(find_model(name_or_path, encoder), device)


def load_reference(reference: ModelReference, device: str = "auto") -> SceneModel:
    """`load_model`, of files that have been found."""
    chosen = choose_device(device)
    tuned = None if reference.checkpoint is None else read_checkpoint(reference.checkpoint)
    source, network = _encoder(reference, tuned)
    stored = _stored(tuned) or _stored(source)
    scorer, kind = _scorer(tuned)
    log_unused_keys(tuned, source)
    if scorer is not None and scorer.input_dim != network.feature_dim:
        raise InputError(
            f"{reference.checkpoint} reads features of {scorer.input_dim} numbers a shot, the encoder makes "
            f"{network.feature_dim}; give the encoder that it was trained with (--encoder)"
        )
    transform = stored.get("transform") or {}
    frozen = for_inference(network, chosen.dtype).to(chosen.torch_device)
    size = (int(transform.get("resize", TEST_RESIZE)), int(transform.get("crop", TEST_CROP)))
    info = ModelInfo(
        name=_name(tuned.path) if tuned is not None else "similarity",
        kind=kind,
        sha256=tuned.sha256 if tuned is not None else None,
        encoder=_name(source.path) if source is not None else f"torchvision ResNet-{IMAGENET_DEPTH} (ImageNet)",
        encoder_id=encoder_fingerprint(network, size, chosen),
        threshold=_stored_threshold(stored) if kind == FINETUNED else None,
    )
    log.info("model: %s", info.sentence)
    return SceneModel(
        info,
        reference,
        frozen,
        None if scorer is None else scorer.eval().requires_grad_(False).to(chosen.torch_device),
        chosen,
        *size,
        int(stored.get("neighbor_interval", 1)),
    )


def encoder_fingerprint(network: ShotEncoder, size: tuple[int, int], device: ComputeDevice) -> str:
    """Hash of everything that decides the features of a key-frame: weights, transform and precision."""
    digest = hashlib.sha256(repr((size, str(device.dtype))).encode())
    for name, tensor in sorted(network.state_dict().items()):
        if not name.endswith("num_batches_tracked"):
            digest.update(name.encode())
            digest.update(tensor.contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()


def _encoder(reference: ModelReference, tuned: Checkpoint | None) -> tuple[Checkpoint | None, ShotEncoder]:
    """The checkpoint that the encoder is from (None: torchvision's), and the encoder."""
    if tuned is not None and architecture_of(tuned).encoder_depth is not None:
        if reference.encoder is not None:
            raise InputError(f"{tuned.path} brings its own encoder; leave --encoder {_shown(reference.encoder)} out")
        return tuned, load_encoder(tuned)
    wanted = (_stored(tuned).get("feature_model") or {}) if tuned is not None else {}
    if reference.encoder is None:
        name = f", {wanted['name']}" if wanted.get("name") else ""
        raise InputError(
            f"{reference.checkpoint} holds no shot encoder; name the pre-trained checkpoint that its features "
            f"came from{name}, with --encoder"
        )
    if not isinstance(reference.encoder, Path):
        return None, _imagenet_encoder()
    source = read_checkpoint(reference.encoder)
    if wanted.get("sha256") not in (None, source.sha256):
        raise InputError(
            f"{reference.checkpoint} was trained on features of {wanted.get('name')} (sha256 "
            f"{wanted['sha256'][:12]}...), and {source.path} is another checkpoint: its scores would mean nothing"
        )
    return source, load_encoder(source)


def _imagenet_encoder() -> ShotEncoder:
    try:
        return ShotEncoder.build(IMAGENET_DEPTH, imagenet_pretrained=True)
    except InputError as error:
        raise InputError(
            f"without a model of ours the encoder is torchvision's, whose weights cannot be had ({error.__cause__}); "
            "name a checkpoint with an encoder (--encoder) or a trained model (--model), or put "
            f"{ResNet50_Weights.IMAGENET1K_V1.url} into {torch.hub.get_dir()}/checkpoints"
        ) from error


def _scorer(checkpoint: Checkpoint | None) -> tuple[BoundaryScorer | None, str]:
    """What scores windows, and which of KINDS that is."""
    if checkpoint is None:
        return None, TRAINING_FREE
    if {name.split(".")[0] for name in checkpoint.state_dict} & {"head_sbd", "similarity"}:
        return load_scorer(checkpoint), FINETUNED
    scorer = zero_shot_scorer(checkpoint)
    return scorer, TRAINING_FREE if scorer is None else ZERO_SHOT


def _stored(checkpoint: Checkpoint | None) -> Mapping[str, Any]:
    """What our training wrote about the model."""
    found = checkpoint.metadata.get("bassl") if checkpoint is not None else None
    return found if isinstance(found, Mapping) else {}


def _stored_threshold(stored: Mapping[str, Any]) -> float | None:
    value = stored.get("threshold")
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def _name(path: Path) -> str:
    return path.parent.name if path.name.endswith(".ckpt") and path.parent.name else path.name


def _shown(encoder: Path | str) -> str:
    return IMAGENET if encoder == IMAGENET else str(encoder)

"""Encoders and scorers that need torch: from checkpoints, torchvision, timm, or the user's own code."""

from __future__ import annotations

import hashlib
import importlib
import logging
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from bassl.dataset.transform import IMAGENET_MEAN, IMAGENET_STD, TEST_CROP, TEST_RESIZE, normalize, resize_and_crop
from bassl.dataset.window import clipped_windows
from bassl.errors import InputError
from bassl.model.boundary_scorer import BoundaryScorer
from bassl.model.checkpoint import Checkpoint, log_unused_keys, read_checkpoint
from bassl.model.loading import architecture_of, load_encoder, load_scorer, load_structure_scorer, zero_shot_scorer
from bassl.model.relative_similarity import centered_features
from bassl.model.shot_encoder import ShotEncoder, for_inference
from bassl.model.structure import StructureScorer
from bassl.segment.encoders import COLOUR, IMAGENET, ColourEncoder, KeyframeEncoder, RgbImage
from bassl.segment.model_files import DECODERS, ModelSpec
from bassl.segment.scenes import FINETUNED, STRUCTURE, TRAINING_FREE, ZERO_SHOT, ModelInfo
from bassl.training.device import DTYPES, fastest_precision

log = logging.getLogger(__name__)

IMAGENET_DEPTH = 50
WINDOWS_AT_ONCE = 256
SHOTS_AT_ONCE = {"cpu": 8, "cuda": 64}  # on a CPU they need 30 MB each


@dataclass(frozen=True)
class Transform:
    """Test-time transform: short side to `resize` pixels, centre crop, then (x / 255 - mean) / std."""

    resize: int = TEST_RESIZE
    crop: int = TEST_CROP
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD


class NetworkEncoder:
    """A network (N, 3, crop, crop) -> (N, D) as a `KeyframeEncoder`."""

    def __init__(self, name: str, network: nn.Module, transform: Transform, device: str, dtype: torch.dtype) -> None:
        self.name, self.transform = name, transform
        self.feature_dim = int(network.feature_dim)  # type: ignore[arg-type]
        self.batch_size = SHOTS_AT_ONCE[torch.device(device).type]
        self.id = _fingerprint(network, transform, dtype)
        self._network = for_inference(network, dtype).to(device)
        self._device = device

    def prepare(self, image: RgbImage) -> Tensor:
        """Return a key-frame resized and cropped, (3, crop, crop) uint8."""
        upright = torch.tensor(image).permute(2, 0, 1)[None]
        return resize_and_crop(upright, self.transform.resize, self.transform.crop)[0]

    @torch.inference_mode()
    def encode(self, shots: Sequence[Sequence[Tensor]]) -> npt.NDArray[np.float32]:
        """Return features (B, D) of shots of K prepared key-frames each."""
        keyframes = torch.stack([torch.stack(list(images)) for images in shots])
        images = keyframes.flatten(0, 1).to(self._device)
        features = self._network(normalize(images, self.transform.mean, self.transform.std)).float()
        return features.unflatten(0, keyframes.shape[:2]).mean(dim=1).cpu().numpy()


class FilmScorer(Protocol):
    """Scores every shot of a film."""

    def logits(
        self, features: npt.NDArray[np.float32], shot_lengths: npt.NDArray[np.int64] | None = None
    ) -> npt.NDArray[np.float64]:
        """Return (num_shots,) log odds that a scene ends with each shot."""


class WindowScorer:
    """A boundary scorer over every window of a film; shot lengths are ignored."""

    def __init__(self, scorer: BoundaryScorer, neighbor_interval: int, device: str) -> None:
        self._scorer = scorer.eval().requires_grad_(False).to(device)
        self._interval, self._device = neighbor_interval, device

    def logits(
        self, features: npt.NDArray[np.float32], shot_lengths: npt.NDArray[np.int64] | None = None
    ) -> npt.NDArray[np.float64]:
        """Return (num_shots,) log odds that a scene ends with each shot."""
        logits = self._window_logits(features).double()
        return (logits[:, 1] - logits[:, 0]).cpu().numpy()

    @torch.inference_mode()
    def _window_logits(self, features: npt.NDArray[np.float32]) -> Tensor:
        if self._scorer.centers_films:
            features = centered_features(features).astype(np.float32)
        shots = torch.from_numpy(features).to(self._device)
        logits = []
        for start in range(0, len(shots), WINDOWS_AT_ONCE):
            centers = np.arange(start, min(start + WINDOWS_AT_ONCE, len(shots)))
            num_shots = np.full(len(centers), len(shots))
            windows = clipped_windows(centers, num_shots, self._scorer.num_shots // 2, self._interval)
            logits.append(self._scorer(shots[torch.from_numpy(windows).to(shots.device)]).float())
        return torch.cat(logits)


def load_networks(spec: ModelSpec, device_name: str) -> tuple[ModelInfo, ModelSpec, KeyframeEncoder, FilmScorer | None]:
    """Load the parts of a `SceneModel`; errors as of `load_model`."""
    device, dtype = choose_device(device_name)
    # 1. the encoder, out of the model's checkpoint, another checkpoint, or elsewhere
    tuned = None if spec.checkpoint is None else read_checkpoint(spec.checkpoint)
    source = _encoder_checkpoint(spec, tuned)
    stored = _metadata(tuned) or _metadata(source)
    encoder: KeyframeEncoder
    if source is not None:
        size = (tuned.test_transform if tuned is not None else None) or source.test_transform
        transform = Transform(*(size or (TEST_RESIZE, TEST_CROP)))
        encoder = NetworkEncoder(_name(source.path), load_encoder(source), transform, device, dtype)
    else:
        encoder = _named_encoder(str(spec.encoder), device, dtype)
    # 2. the scorer
    scorer, kind = _stored_scorer(tuned)
    log_unused_keys(tuned, source)
    info = ModelInfo(
        name=spec.scorer if tuned is None else _name(tuned.path),
        kind=kind,
        sha256=None if tuned is None else tuned.sha256,
        encoder=encoder.name,
        encoder_id=encoder.id,
    )
    if scorer is None:
        return replace(info, scorer=spec.scorer), spec, encoder, None
    if isinstance(scorer, StructureScorer):
        return replace(info, scorer=STRUCTURE, decoder=spec.decoder or "none"), spec, encoder, scorer
    if scorer.input_dim != encoder.feature_dim:
        raise InputError(
            f"{spec.checkpoint} takes {scorer.input_dim} features per shot, the encoder returns "
            f"{encoder.feature_dim}; give the encoder that it was trained with (--encoder)"
        )
    # 3. settings that were stored with it
    threshold = stored.get("threshold")
    decoder = spec.decoder or stored.get("decoder")
    info = replace(
        info,
        threshold=threshold if kind == FINETUNED and _is_number(threshold) else None,
        decoder=decoder if decoder in DECODERS else "none",
    )
    return info, spec, encoder, WindowScorer(scorer, int(stored.get("neighbor_interval", 1)), device)


def _encoder_checkpoint(spec: ModelSpec, tuned: Checkpoint | None) -> Checkpoint | None:
    """Return the checkpoint that holds the encoder, None for the other kinds of encoder."""
    if tuned is not None and architecture_of(tuned).encoder_depth is not None:
        if spec.encoder is not None:
            raise InputError(f"{tuned.path} has its own encoder; leave out --encoder {spec.encoder}")
        return tuned
    wanted = (_metadata(tuned).get("feature_model") or {}) if tuned is not None else {}
    if spec.encoder is None:
        name = f", {wanted['name']}" if wanted.get("name") else ""
        raise InputError(
            f"{spec.checkpoint} holds no shot encoder; name the pre-trained checkpoint that its features "
            f"came from{name}, with --encoder"
        )
    if not isinstance(spec.encoder, Path):
        return None
    source = read_checkpoint(spec.encoder)
    if wanted.get("sha256") not in (None, source.sha256):
        raise InputError(
            f"{spec.checkpoint} was trained on features of {wanted.get('name')} (sha256 "
            f"{wanted['sha256'][:12]}...), and {source.path} is another checkpoint; its scores would be meaningless"
        )
    return source


def _named_encoder(name: str, device: str, dtype: torch.dtype) -> KeyframeEncoder:
    if name == COLOUR:
        return ColourEncoder()
    if name == IMAGENET:
        title = f"torchvision ResNet-{IMAGENET_DEPTH} (ImageNet)"
        return NetworkEncoder(title, _imagenet_network(), Transform(), device, dtype)
    if name.startswith("timm:"):
        network, transform = _timm_network(name.removeprefix("timm:"))
    else:
        network, transform = _own_network(name)
    return NetworkEncoder(name, network, transform, device, dtype)


def _imagenet_network() -> ShotEncoder:
    try:
        return ShotEncoder.build(IMAGENET_DEPTH, imagenet_pretrained=True)
    except InputError as error:
        raise InputError(
            f"torchvision's ImageNet weights cannot be downloaded ({error.__cause__}); give --encoder colour, a "
            "checkpoint with an encoder (--encoder), or a trained model (--model)"
        ) from error


def _timm_network(name: str) -> tuple[nn.Module, Transform]:
    """Return a pretrained model of timm, with dimension and transform from its pretrained config."""
    try:
        import timm
        import timm.data
    except ImportError as error:
        raise InputError("--encoder timm:NAME needs timm, which is not installed; pip install 'bassl[timm]'") from error
    try:
        network = timm.create_model(name, pretrained=True, num_classes=0)
    except Exception as error:  # timm, its hub and the network have exceptions of their own
        raise InputError(
            f"timm cannot give a pretrained {name!r} ({_first_line(error)}); see timm.list_models"
        ) from error
    config = timm.data.resolve_model_data_config(network)
    crop = int(config["input_size"][-1])
    network.feature_dim = network.num_features
    resize = math.floor(crop / config["crop_pct"])
    return network, Transform(resize, crop, tuple(config["mean"]), tuple(config["std"]))


def _own_network(name: str) -> tuple[nn.Module, Transform]:
    """Return what the user's factory makes, a module (N, 3, crop, crop) -> (N, D).

    Its attribute `transform`, if any, is a mapping with some of resize, crop, mean and std.
    """
    module_name, _, factory = name.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")  # the console script does not look in the working directory
    try:
        network = getattr(importlib.import_module(module_name), factory)()
    except (ImportError, AttributeError) as error:
        raise InputError(f"--encoder {name} cannot be imported ({error}); give module:factory") from error
    if not isinstance(network, nn.Module):
        raise InputError(f"--encoder {name} returns {type(network).__name__}; return a torch.nn.Module")
    given = getattr(network, "transform", {})
    transform = replace(Transform(), **(given if isinstance(given, Mapping) else {}))
    with torch.inference_mode():
        shape = network.eval()(torch.zeros(1, 3, transform.crop, transform.crop)).shape
    if len(shape) != 2:
        raise InputError(f"--encoder {name} returns shape {tuple(shape)}; return (N, D)")
    network.feature_dim = shape[1]
    return network, transform


def _stored_scorer(checkpoint: Checkpoint | None) -> tuple[BoundaryScorer | StructureScorer | None, str]:
    """Return a checkpoint's scorer, None if it holds an encoder alone, and the kind of scoring."""
    if checkpoint is None:
        return None, TRAINING_FREE
    structure = load_structure_scorer(checkpoint)
    if structure is not None:
        return structure, FINETUNED
    if {name.split(".")[0] for name in checkpoint.state_dict} & {"head_sbd", "similarity"}:
        return load_scorer(checkpoint), FINETUNED
    scorer = zero_shot_scorer(checkpoint)
    return scorer, TRAINING_FREE if scorer is None else ZERO_SHOT


def device_names(given: str) -> tuple[str, ...]:
    """Return the devices to share films out over: all GPUs or the CPU for "auto", else those of a comma-separated list.

    Raises:
        InputError: if a name is unknown, or this machine has no such GPU.
    """
    num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if given == "auto":
        return tuple(f"cuda:{index}" for index in range(num_gpus)) or ("cpu",)
    names = tuple("cuda:0" if name.strip() == "cuda" else name.strip() for name in given.split(","))
    for name in names:
        index = name.removeprefix("cuda:")
        if name != "cpu" and not (name.startswith("cuda:") and index.isdigit()):
            raise InputError(f"device {name!r} is unknown; use auto, cpu, cuda, cuda:1, or several with commas")
        if name != "cpu" and int(index) >= num_gpus:
            raise InputError(f"there is no {name}: this machine has {num_gpus} usable GPUs; use --device auto")
    return names


def choose_device(given: str) -> tuple[str, torch.dtype]:
    """Return the first of `device_names`, and the dtype that it computes in fastest."""
    name = device_names(given)[0]
    precision, _ = fastest_precision(torch.device(name).type)
    return name, DTYPES[precision]


def _fingerprint(network: nn.Module, transform: Transform, dtype: torch.dtype) -> str:
    """Hash everything that decides the features of a key-frame: weights, transform and precision."""
    digest = hashlib.sha256(repr(((transform.resize, transform.crop), str(dtype))).encode())
    if (transform.mean, transform.std) != (IMAGENET_MEAN, IMAGENET_STD):
        digest.update(repr((transform.mean, transform.std)).encode())
    for name, tensor in sorted(network.state_dict().items()):
        if not name.endswith("num_batches_tracked"):
            digest.update(name.encode())
            digest.update(tensor.contiguous().cpu().numpy().tobytes())
    return digest.hexdigest()


def _metadata(checkpoint: Checkpoint | None) -> Mapping[str, Any]:
    """Return what training stored about the model."""
    stored = checkpoint.metadata.get("bassl") if checkpoint is not None else None
    return stored if isinstance(stored, Mapping) else {}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _name(path: Path) -> str:
    return path.parent.name if path.name.endswith(".ckpt") and path.parent.name else path.name


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]

"""Load what scores a film: an encoder of key-frames, and a scorer of shot features.

The training-free scorer over colours needs no torch.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bassl.model.scene_posterior import boundary_posterior, decoder_unary
from bassl.segment.encoders import ColourEncoder, KeyframeEncoder
from bassl.segment.model_files import ModelSpec, find_model
from bassl.segment.scenes import POSTERIOR, SIMILARITY, TRAINING_FREE, ModelInfo, Scores

if TYPE_CHECKING:
    from bassl.segment.networks import FilmScorer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SceneModel:
    """A loaded model, as `load_model` returns it. `scorer` is None for the training-free scorers."""

    info: ModelInfo
    spec: ModelSpec
    encoder: KeyframeEncoder
    scorer: FilmScorer | None = None

    def score(self, features: npt.NDArray[np.float32], shot_lengths: npt.NDArray[np.int64] | None = None) -> Scores:
        """Score the boundaries of a film from its features (num_shots, D) and shot lengths (num_shots,)."""
        if self.spec.scorer == SIMILARITY:
            training_free = _similarity(features)
        else:
            training_free = boundary_posterior(features, shot_lengths)
        if self.scorer is None:
            probability = training_free
        elif self.info.decoder == POSTERIOR:
            unary = decoder_unary(self.scorer.logits(features, shot_lengths))
            probability = boundary_posterior(features, shot_lengths, unary=unary)
        else:
            probability = 1 / (1 + np.exp(-self.scorer.logits(features, shot_lengths)))
            probability[-1:] = np.nan  # nothing follows the last shot
        return Scores(probability, training_free, self.info)


def load_model(
    name_or_path: str | Path | None = None,
    encoder: str | Path | None = None,
    device: str = "auto",
    *,
    scorer: str = POSTERIOR,
    decoder: str | None = None,
) -> SceneModel:
    """Load a model by the name it was trained under, or by the path of its checkpoint or folder.

    A fine-tuned checkpoint scores with its own head. One that is only pre-trained with BaSSL scores with its
    pseudo-boundary head: zero-shot, no label has been seen. Without a name, or if the checkpoint holds only an
    encoder, a training-free scorer is used.

    Args:
        encoder: makes the features for a model stored without encoder, and for the training-free scorer. A checkpoint
            by name or path, "colour", "imagenet", "timm:NAME", or "module:factory". Default: "imagenet" if its
            weights are cached or can be downloaded, else "colour".
        device: "auto", "cpu", "cuda" or "cuda:1".
        scorer: the training-free scorer, "posterior" or "similarity".
        decoder: "posterior" to decode a learnt model's logits, or "none". Default: what the model says, else "none".

    Raises:
        InputError: if a part is missing, invalid, or does not fit the others, or there is no such device.
    """
    return load_spec(find_model(name_or_path, encoder, scorer, decoder), device)


def load_spec(spec: ModelSpec, device: str = "auto") -> SceneModel:
    """Load the parts that `find_model` found; arguments and errors as of `load_model`."""
    if not spec.needs_torch:
        encoder = ColourEncoder()
        info = ModelInfo(spec.scorer, TRAINING_FREE, None, encoder.name, encoder.id, scorer=spec.scorer)
        model = SceneModel(info, spec, encoder)
    else:
        from bassl.segment.networks import load_networks

        model = SceneModel(*load_networks(spec, device))
    log.info("model: %s", model.info.sentence)
    return model


def _similarity(features: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    import torch

    from bassl.model.similarity import boundary_probabilities

    probability = boundary_probabilities(torch.from_numpy(features)).numpy().astype(np.float64)
    probability[-1:] = np.nan
    return probability

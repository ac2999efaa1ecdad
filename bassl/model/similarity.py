"""The training-free boundary scorer: one minus the largest cosine similarity across the boundary.

It needs only shot features and no labels, and it is the baseline that a trained head has to beat.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from bassl.errors import InputError

ROW_CHUNK = 256  # shots multiplied at a time; bounds memory and changes no score


@torch.no_grad()
def boundary_scores(features: Tensor, window: int = 8) -> Tensor:
    """Return scores, -1..1, that a scene ends with each shot of a film: minus the largest cosine across it.

    The score of shot i is minus the largest cosine over all pairs of one of the `window` shots up to and including i
    and one of the `window` shots after it; there are fewer at the film's ends. The last shot, which no shot follows,
    gets -1, the lowest score. Memory beside the features is proportional to num_shots * window.

    Args:
        features: (num_shots, D), in film order.
        window: shots on either side.

    Returns (num_shots,), in float32 or the wider type of the features.

    Raises InputError for another shape, features that are not finite, or a window below 1.
    """
    if features.ndim != 2:
        raise InputError(f"features have shape {tuple(features.shape)}; give (num_shots, D)")
    if window < 1:
        raise InputError(f"window is {window}; give 1 shot or more")
    if not torch.isfinite(features).all():
        raise InputError("features hold NaN or infinity; extract them again")
    if len(features) < 2:
        return torch.full((len(features),), -1.0, dtype=_precise(features.dtype), device=features.device)
    window = min(window, len(features) - 1)
    band = _similarity_band(features, 2 * window - 1)
    # highest[a, p]: shot a against the `window` shots after shot a + p, the boundary that it lies p before.
    highest = band.unfold(1, window, 1).amax(dim=2)
    scores = highest[:, 0].clone()
    for before in range(1, window):
        torch.maximum(scores[before:], highest[:-before, before], out=scores[before:])
    scores = -scores.clamp(-1.0, 1.0)
    scores[-1] = -1.0
    return scores


def boundary_probabilities(features: Tensor, window: int = 8) -> Tensor:
    """Return `boundary_scores` mapped to 0..1, (1 - largest cosine) / 2; the last shot gets 0.

    The values rank the shots. They are not calibrated probabilities, so choose a threshold on labelled films. For
    arguments, shapes and errors see `boundary_scores`.
    """
    return (1 + boundary_scores(features, window)) / 2


def _similarity_band(features: Tensor, width: int) -> Tensor:
    """Return cosines of each shot with each of the `width` after it, (num_shots, width); -inf past the film's end."""
    num_shots = len(features)
    dtype = _precise(features.dtype)
    offset = torch.arange(1, width + 1, device=features.device)
    band = torch.full((num_shots, width), -torch.inf, dtype=dtype, device=features.device)
    with torch.autocast(features.device.type, enabled=False):
        for start in range(0, num_shots - 1, ROW_CHUNK):
            unit = normalize(features[start : start + ROW_CHUNK + width].to(dtype), dim=1)
            similarity = unit[:ROW_CHUNK] @ unit.T
            row = torch.arange(len(similarity), device=features.device)[:, None]
            inside = row + offset < len(unit)
            found = similarity.gather(1, (row + offset).clamp(max=len(unit) - 1))
            band[start : start + ROW_CHUNK] = found.masked_fill(~inside, -torch.inf)
    return band


def _precise(dtype: torch.dtype) -> torch.dtype:
    """At least 32 bit: rounding of half precision would tie near-identical shots."""
    return torch.promote_types(dtype, torch.float32)

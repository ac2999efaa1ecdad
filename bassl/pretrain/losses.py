"""The pre-training losses of BaSSL (section 3) and of the shot-level methods as pure functions of tensors.

The contrastive losses take rows gathered from all ranks; cgm, pp and msm take this rank's rows. Arithmetic is float32
or better, also for half-precision input and inside autocast. Nothing waits for the device. A draw takes a generator on
the device of the tensors; None is the default generator.

Shapes: B windows, S dense shots in each, D embedding or feature size, H size of the CRN's tokens. A boundary
b is the last shot of the left scene, in 0..S-2.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from bassl.pretrain.alignment import cosines

Classifier = Callable[[Tensor], Tensor]


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Compute symmetric NT-Xent (SimCLR, equation 1), mean over the 2B anchors: (B, D), (B, D) -> scalar.

    Row i of `first` and row i of `second`, both of unit length, are each other's positive. The other 2B - 2 rows are
    the negatives of both. A single pair has no negatives and a loss of 0.
    """
    assert (first.ndim, second.shape) == (2, first.shape), (
        f"nt_xent takes two (B, D), got {tuple(first.shape)} and {tuple(second.shape)}"
    )
    assert temperature > 0, f"temperature must be positive, got {temperature}"
    embeddings = torch.cat([first, second])
    anchors = torch.arange(len(embeddings), device=embeddings.device)
    logits = cosines(embeddings, embeddings) / temperature
    logits = logits.masked_fill(anchors == anchors[:, None], float("-inf"))
    return F.cross_entropy(logits, anchors.roll(len(first)))


def shot_scene_matching(sparse: Tensor, dense: Tensor, boundary: Tensor, temperature: float) -> Tensor:
    """Compute SSM, each edge shot against the scene on its side: (B, 2, D), (B, S, D), (B,) -> scalar.

    The mean of one NT-Xent per side; negatives are the same side of the other windows. Embeddings have unit length.
    """
    assert (dense.ndim, sparse.shape) == (3, (len(dense), 2, dense.shape[-1])), (
        f"expected sparse (B, 2, D) and dense (B, S, D), got {tuple(sparse.shape)} and {tuple(dense.shape)}"
    )
    sides = zip(sparse.unbind(1), scene_embeddings(dense, boundary).unbind(1), strict=True)
    left, right = (nt_xent(shot, scene, temperature) for shot, scene in sides)
    return (left + right) / 2


def scene_embeddings(dense: Tensor, boundary: Tensor) -> Tensor:
    """Return the normalised mean of the shots on each side of the boundary: (B, S, D), (B,) -> (B, 2, D)."""
    _check_windows(dense, boundary)
    on_left = torch.arange(dense.shape[1], device=dense.device) <= boundary[:, None]
    dense = _at_least_float32(dense)
    sums = [dense.masked_fill(outside[..., None], 0).sum(1) for outside in (~on_left, on_left)]
    return F.normalize(torch.stack(sums, dim=1), dim=-1)


def nearest_neighbor_key(dense: Tensor, center: int) -> Tensor:
    """Return the shot of each window nearest to the centre shot, itself excluded: (B, S, D) -> (B, D).

    Embeddings have unit length. The choice has no gradient but the chosen embedding does, as in the reference, which
    has no separate encoder or queue for the keys (recorded as `nn_grad_norm`).
    """
    assert dense.ndim == 3, f"dense must be (B, S, D), got {tuple(dense.shape)}"
    assert dense.shape[1] >= 2, f"a shot has no neighbour in a window of {dense.shape[1]}"
    _check_center(center, dense)
    similarity = cosines(dense[:, center : center + 1], dense).detach().squeeze(1)
    is_center = torch.arange(dense.shape[1], device=dense.device) == center
    return _take(dense, similarity.masked_fill(is_center, float("-inf")).argmax(1))


def nearest_neighbor_matching(center_view: Tensor, dense: Tensor, center: int, temperature: float) -> Tensor:
    """Compute ShotCoL's loss, a view of the centre against its nearest neighbour: (B, D), (B, S, D) -> scalar.

    The neighbour comes from the same window, the negatives of the NT-Xent from the other windows. Embeddings have unit
    length.
    """
    return nt_xent(center_view, nearest_neighbor_key(dense, center), temperature)


def draw_group_pairs(
    boundary: Tensor, num_shots: int, center: int, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Draw two partners of the centre shot for CGM, one of its own side and one of the other, (B,) each.

    The centre is on the left iff center <= b, and never its own partner. It may not be the first or the last shot of
    the window, which can be alone on their side.
    """
    assert 0 < center < num_shots - 1, f"center must lie in 1..{num_shots - 2}, got {center}"
    positions = torch.arange(num_shots, device=boundary.device)
    own_side = (positions <= boundary[:, None]) == (center <= boundary)[:, None]
    candidates = torch.stack([own_side & (positions != center), ~own_side])
    chance = torch.rand(candidates.shape, generator=generator, device=boundary.device)
    same, other = chance.masked_fill(~candidates, -1).argmax(-1)
    return same, other


def contextual_group_matching(tokens: Tensor, center: int, same: Tensor, other: Tensor, classify: Classifier) -> Tensor:
    """Compute CGM, whether two shots belong to one scene: cross-entropy over 2B pairs, a scalar.

    Args:
        tokens: CRN output without CLS, (B, S, H).
        same, other: Partners of `draw_group_pairs`, (B,).
        classify: Maps pairs of concatenated L2-normalised tokens (2B, 2H), the centre first, to logits (2B, 2); class
            1 means one scene.
    """
    _check_windows(tokens, same)
    _check_windows(tokens, other)
    _check_center(center, tokens)
    anchor, mate, stranger = (
        F.normalize(_at_least_float32(shots), dim=-1)
        for shots in (tokens[:, center], _take(tokens, same), _take(tokens, other))
    )
    pairs = torch.cat([torch.cat([anchor, mate], dim=1), torch.cat([anchor, stranger], dim=1)])
    return _binary_cross_entropy(classify(pairs), num_positives=len(tokens))


def draw_non_boundaries(
    boundary: Tensor, num_shots: int, num_negatives: int, generator: torch.Generator | None = None
) -> Tensor:
    """Draw shots other than the boundary for PP, without replacement: (B,) -> (B, num_negatives)."""
    assert 1 <= num_negatives < num_shots, f"num_negatives must lie in 1..{num_shots - 1}, got {num_negatives}"
    chance = torch.rand(len(boundary), num_shots, generator=generator, device=boundary.device)
    return chance.scatter(1, boundary[:, None], -1.0).topk(num_negatives, dim=1).indices


def pseudo_boundary_prediction(tokens: Tensor, boundary: Tensor, negatives: Tensor, classify: Classifier) -> Tensor:
    """Compute PP, whether a shot is the last of its scene: cross-entropy over B * (1 + N) shots, a scalar.

    Args:
        tokens: CRN output without CLS, (B, S, H).
        negatives: Shots of `draw_non_boundaries`, (B, N).
        classify: Maps tokens (B * (1 + N), H) to logits (B * (1 + N), 2); class 1 means boundary.
    """
    _check_windows(tokens, boundary)
    assert negatives.ndim == 2, f"negatives must be (B, N), got {tuple(negatives.shape)}"
    _check_windows(tokens, negatives[:, 0])
    shots = [_take(tokens, boundary), *(_take(tokens, negative) for negative in negatives.unbind(1))]
    return _binary_cross_entropy(classify(torch.cat(shots)), num_positives=len(tokens))


def masked_shot_modeling(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """Compute MSM, the mean squared error of masked shots: (B, S, D), (B, S, D), (B, S) -> scalar.

    Returns 0 if no shot is masked. Unmasked shots get weight 0 instead of being removed, so no shape depends on the
    mask.

    Args:
        target: Features of the encoder; they get no gradient.
        mask: Bool, or 0 and 1.
    """
    assert (predicted.ndim, target.shape, mask.shape) == (3, predicted.shape, predicted.shape[:2]), (
        f"masked_shot_modeling takes two (B, S, D) and (B, S), "
        f"got {tuple(predicted.shape)}, {tuple(target.shape)} and {tuple(mask.shape)}"
    )
    masked = mask.bool()
    difference = _at_least_float32(predicted) - _at_least_float32(target.detach())
    errors = difference.square().mean(-1).masked_fill(~masked, 0)
    return errors.sum() / masked.sum().clamp(min=1)


def _binary_cross_entropy(logits: Tensor, num_positives: int) -> Tensor:
    """Compute the cross-entropy of (N, 2) logits; the first `num_positives` rows have class 1, the others 0."""
    labels = (torch.arange(len(logits), device=logits.device) < num_positives).long()
    return F.cross_entropy(_at_least_float32(logits), labels)


def _take(shots: Tensor, position: Tensor) -> Tensor:
    """Select one shot per window: (B, S, D), (B,) -> (B, D)."""
    return shots[torch.arange(len(shots), device=shots.device), position]


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _check_windows(shots: Tensor, position: Tensor) -> None:
    assert (shots.ndim, position.shape) == (3, shots.shape[:1]), (
        f"expected (B, S, D) and (B,), got {tuple(shots.shape)} and {tuple(position.shape)}"
    )


def _check_center(center: int, shots: Tensor) -> None:
    assert 0 <= center < shots.shape[1], f"center must lie in 0..{shots.shape[1] - 1}, got {center}"

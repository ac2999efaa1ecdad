"""The pre-training losses of BaSSL (section 3) and of the shot-level methods as pure functions of tensors.

Each takes the whole batch: what lies on other ranks has been gathered before, so that a loss knows nothing of
ranks. Arithmetic is float32 or better, also for half-precision input and inside autocast. Nothing waits for
the device, and a draw takes the generator to draw from, on the device of the tensors (None: the default one).

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
    """Symmetric NT-Xent (SimCLR, equation 1), mean over the 2B anchors: (B, D), (B, D) -> scalar.

    Row i of `first` and row i of `second`, both of unit length, are each other's positive; the other 2B - 2
    rows are the negatives of both. A single pair has no negative, and its loss is 0.
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
    """SSM: first and last shot against the scene on their side, (B, 2, D), (B, S, D), (B,) -> scalar.

    Mean of one NT-Xent a side: negatives are the same side of the other windows. Unit-length embeddings.
    """
    assert (dense.ndim, sparse.shape) == (3, (len(dense), 2, dense.shape[-1])), (
        f"expected sparse (B, 2, D) and dense (B, S, D), got {tuple(sparse.shape)} and {tuple(dense.shape)}"
    )
    sides = zip(sparse.unbind(1), scene_embeddings(dense, boundary).unbind(1), strict=True)
    left, right = (nt_xent(shot, scene, temperature) for shot, scene in sides)
    return (left + right) / 2


def scene_embeddings(dense: Tensor, boundary: Tensor) -> Tensor:
    """Normalised mean of the shots left and right of the boundary: (B, S, D), (B,) -> (B, 2, D)."""
    _check_windows(dense, boundary)
    on_left = torch.arange(dense.shape[1], device=dense.device) <= boundary[:, None]
    dense = _at_least_float32(dense)
    sums = [dense.masked_fill(outside[..., None], 0).sum(1) for outside in (~on_left, on_left)]
    return F.normalize(torch.stack(sums, dim=1), dim=-1)


def nearest_neighbor_key(dense: Tensor, center: int) -> Tensor:
    """In each window the shot most like the centre shot, itself excluded: (B, S, D) of unit length -> (B, D).

    The choice has no gradient, the chosen embedding has: so it is in the reference, where no encoder or queue
    apart makes the keys (recorded as `nn_grad_norm`).
    """
    assert dense.ndim == 3, f"dense must be (B, S, D), got {tuple(dense.shape)}"
    assert dense.shape[1] >= 2, f"a shot has no neighbour in a window of {dense.shape[1]}"
    _check_center(center, dense)
    likeness = cosines(dense[:, center : center + 1], dense).detach().squeeze(1)
    is_center = torch.arange(dense.shape[1], device=dense.device) == center
    return _take(dense, likeness.masked_fill(is_center, float("-inf")).argmax(1))


def nearest_neighbor_matching(center_view: Tensor, dense: Tensor, center: int, temperature: float) -> Tensor:
    """ShotCoL's loss: the centre's sparse view against its nearest neighbour, (B, D), (B, S, D) -> scalar.

    The neighbour is looked for within each window, the negatives of the NT-Xent are the other windows.
    Unit-length embeddings.
    """
    return nt_xent(center_view, nearest_neighbor_key(dense, center), temperature)


def draw_group_pairs(
    boundary: Tensor, num_shots: int, center: int, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Partners of the centre shot for CGM: one random shot of its own side, one of the other, (B,) each.

    The centre is on the left iff center <= b, and never its own partner. It may not be the first or the last
    shot of the window, since those can be alone on their side.
    """
    assert 0 < center < num_shots - 1, f"center must lie in 1..{num_shots - 2}, got {center}"
    positions = torch.arange(num_shots, device=boundary.device)
    own_side = (positions <= boundary[:, None]) == (center <= boundary)[:, None]
    candidates = torch.stack([own_side & (positions != center), ~own_side])
    chance = torch.rand(candidates.shape, generator=generator, device=boundary.device)
    same, other = chance.masked_fill(~candidates, -1).argmax(-1)
    return same, other


def contextual_group_matching(tokens: Tensor, center: int, same: Tensor, other: Tensor, classify: Classifier) -> Tensor:
    """CGM: do two shots belong to one scene? Cross-entropy over 2B pairs, (B, S, H), (B,), (B,) -> scalar.

    `tokens` is the CRN's output without CLS, `same` and `other` come from `draw_group_pairs`. `classify` maps
    pairs of L2-normalised tokens side by side (2B, 2H), the centre's first, to logits (2B, 2); class 1 means
    one scene.
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
    """Shots for PP other than the boundary, drawn without replacement: (B,) -> (B, num_negatives)."""
    assert 1 <= num_negatives < num_shots, f"num_negatives must lie in 1..{num_shots - 1}, got {num_negatives}"
    chance = torch.rand(len(boundary), num_shots, generator=generator, device=boundary.device)
    return chance.scatter(1, boundary[:, None], -1.0).topk(num_negatives, dim=1).indices


def pseudo_boundary_prediction(tokens: Tensor, boundary: Tensor, negatives: Tensor, classify: Classifier) -> Tensor:
    """PP: is this shot the last of its scene? Cross-entropy, (B, S, H), (B,), (B, N) -> scalar.

    `tokens` is the CRN's output without CLS, `negatives` comes from `draw_non_boundaries`. `classify` maps
    tokens (B * (1 + N), H) to logits (B * (1 + N), 2); class 1 means boundary.
    """
    _check_windows(tokens, boundary)
    assert negatives.ndim == 2, f"negatives must be (B, N), got {tuple(negatives.shape)}"
    _check_windows(tokens, negatives[:, 0])
    shots = [_take(tokens, boundary), *(_take(tokens, negative) for negative in negatives.unbind(1))]
    return _binary_cross_entropy(classify(torch.cat(shots)), num_positives=len(tokens))


def masked_shot_modeling(predicted: Tensor, target: Tensor, mask: Tensor) -> Tensor:
    """MSM: mean squared error over the features of masked shots only, (B, S, D), (B, S, D), (B, S) -> scalar.

    `target` are the encoder's features; no gradient flows into them. `mask` is bool or 0 and 1. Unmasked
    shots weigh 0 instead of being cut out, so that no shape depends on the mask. 0 where no shot is masked.
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
    """Cross-entropy of (N, 2) logits, the first `num_positives` rows of class 1, the others of class 0."""
    labels = (torch.arange(len(logits), device=logits.device) < num_positives).long()
    return F.cross_entropy(_at_least_float32(logits), labels)


def _take(shots: Tensor, position: Tensor) -> Tensor:
    """One shot of each window: (B, S, D), (B,) -> (B, D)."""
    return shots[torch.arange(len(shots), device=shots.device), position]


def _at_least_float32(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _check_windows(shots: Tensor, position: Tensor) -> None:
    assert (shots.ndim, position.shape) == (3, shots.shape[:1]), (
        f"expected (B, S, D) and (B,), got {tuple(shots.shape)} and {tuple(position.shape)}"
    )


def _check_center(center: int, shots: Tensor) -> None:
    assert 0 <= center < shots.shape[1], f"center must lie in 0..{shots.shape[1] - 1}, got {center}"

"""Scenes of one film from its boundaries, and measures between true and predicted scenes.

A boundary is the last shot of a scene. `bassl.finetune.metrics` averages over films. Definitions follow LGSS (Rao et
al., CVPR 2020, section 5) as the reference implements them; `tests/reference` pins them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bassl.errors import InputError

NEIGHBOR_SHOTS = 5  # the benchmark's Recall@3s looks no further than this many shots to either side


def scene_ranges(is_boundary: ArrayLike, keep_trailing: bool = False) -> NDArray[np.int64]:
    """Return the first and last shot of each scene, (num_scenes, 2), both inclusive.

    Args:
        is_boundary: One flag per shot, (num_shots,).
        keep_trailing: Count the shots after the last boundary as a scene. The benchmark drops them, so a film without
            a boundary has no scene.
    """
    boundary = np.asarray(is_boundary, dtype=bool)
    if boundary.ndim != 1:
        raise InputError(f"is_boundary has shape {boundary.shape}; give one flag per shot")
    last = np.flatnonzero(boundary)
    if keep_trailing and len(boundary) and not boundary[-1]:
        last = np.append(last, len(boundary) - 1)
    first = np.concatenate([[0], last + 1])[: len(last)]
    return np.stack([first, last], axis=1).astype(np.int64)


def symmetric_iou(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Average the mean best IoU of the true scenes and that of the predicted scenes.

    Both are (num_scenes, 2), begin and end on one axis. The result is NaN without a true scene, and 0 without a
    predicted one.
    """
    true, pred = _intervals(truth, "truth"), _intervals(predicted, "predicted")
    if not len(true):
        return float("nan")
    if not len(pred):
        return 0.0
    begin, end = true[:, :1], true[:, 1:]
    overlap = np.minimum(end, pred[:, 1]) - np.maximum(begin, pred[:, 0])
    # For scenes that overlap, the union is the span from first begin to last end; for others the overlap is 0.
    union = np.maximum(end, pred[:, 1]) - np.minimum(begin, pred[:, 0])
    # A span of 0 means two equal scenes of a single frame.
    iou = np.where(union == 0, 1.0, np.maximum(overlap, 0) / np.where(union == 0, 1, union))
    return float((iou.max(axis=1).mean() + iou.max(axis=0).mean()) / 2)


def frame_iou(truth: ArrayLike, predicted: ArrayLike, frames: ArrayLike) -> float:
    """Return the benchmark's mIoU of one film: in frames, without the trailing scene, in 0..1.

    A scene is last - first frames long, as in the reference, which omits the closing frame. NaN without a true
    boundary, 0 without a predicted one.

    Args:
        truth, predicted: Boundaries, (num_shots,) bool.
        frames: First and last frame of each shot, (num_shots, 2).
    """
    flags = _same_shots(truth, predicted)
    span = _frames(frames, len(flags[0]))
    scenes = [scene_ranges(boundary) for boundary in flags]
    true, pred = (np.stack([span[ranges[:, 0], 0], span[ranges[:, 1], 1]], axis=1) for ranges in scenes)
    return symmetric_iou(true, pred)


def shot_iou(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Return MASRC's mIoU of one film: in shots, with the trailing scene, in 0..1.

    `truth` and `predicted` are (num_shots,) bool boundaries. A film without boundaries is one scene.
    """
    true, pred = (
        scene_ranges(boundary, keep_trailing=True) + np.array([0, 1]) for boundary in _same_shots(truth, predicted)
    )
    return symmetric_iou(true, pred)


def recall_within(
    truth: ArrayLike,
    predicted: ArrayLike,
    frames: ArrayLike,
    max_frames: float,
    neighbor_shots: int = NEIGHBOR_SHOTS,
) -> float:
    """Return the fraction of the true boundaries of one film with a predicted one nearby (Recall@3s of LGSS).

    Nearby means at most `neighbor_shots` shots away, with less than `max_frames` frames between the last frames of the
    two shots. NaN without a true boundary. Other arguments are those of `frame_iou`.
    """
    is_true, hit = _same_shots(truth, predicted)
    num_shots = len(hit)
    last_frame = _frames(frames, num_shots)[:, 1]
    wanted = np.flatnonzero(is_true)
    if not len(wanted):
        return float("nan")
    near = wanted[:, None] + np.arange(-neighbor_shots, neighbor_shots + 1)
    inside = (near >= 0) & (near < num_shots)
    near = near.clip(0, num_shots - 1)
    distance = np.abs(last_frame[near] - last_frame[wanted][:, None])
    # The reference divides by the number of boundaries + 1e-5 (4e-7 less on the recorded rows); we do not.
    return float((inside & hit[near] & (distance < max_frames)).any(axis=1).mean())


def _same_shots(truth: ArrayLike, predicted: ArrayLike) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    is_true, hit = np.asarray(truth, dtype=bool), np.asarray(predicted, dtype=bool)
    if is_true.ndim != 1 or is_true.shape != hit.shape:
        raise InputError(f"truth {is_true.shape} and predicted {hit.shape} differ; give both (num_shots,)")
    return is_true, hit


def _intervals(scenes: ArrayLike, name: str) -> NDArray[np.float64]:
    intervals = np.asarray(scenes, dtype=np.float64)
    if intervals.ndim != 2 or intervals.shape[1] != 2:
        raise InputError(f"{name} has shape {intervals.shape}; give (num_scenes, 2): begin and end")
    return intervals


def _frames(frames: ArrayLike, num_shots: int) -> NDArray[np.int64]:
    span = np.asarray(frames)
    if span.shape != (num_shots, 2):
        raise InputError(f"frames has shape {span.shape}; give ({num_shots}, 2): first and last frame")
    return span.astype(np.int64)

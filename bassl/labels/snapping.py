"""Snap the ends of scenes to shots, and report scenes that fit the shots badly."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bassl.console import pluralize
from bassl.errors import InputError
from bassl.labels.findings import NOTE, WARNING, Finding
from bassl.labels.label_files import NO_LABEL, Labels
from bassl.video.timing import FrameTimes

SNAPS = ("nearest", "containing")
FAR = 1.0  # seconds between a scene's end and its shot's end, above which there is a warning
PAST = 2.0  # seconds past the film, which another player may count; above, there is a warning
WILD = 0.5  # fraction of the film's length past its end, above which the list is another film's

IntArray = NDArray[np.int64]


class Snapped(NamedTuple):
    """Shots that scenes end with, (E,), and how many frames each end lay from its shot's last frame, (E,)."""

    shots: IntArray
    distances: IntArray


def snap_to_shots(end_frames: ArrayLike, shot_frames: ArrayLike, rule: str = "nearest") -> Snapped:
    """Return the shot that each scene's last frame belongs to.

    Args:
        end_frames: (E,) last frame of each scene, integers, also outside the film.
        shot_frames: (num_shots, 2) first and last frame of each shot.
        rule: "nearest" takes the shot whose last frame is nearest, the earlier of two equally near. "containing" takes
            the shot that holds the frame, or the one before a gap.
    """
    assert rule in SNAPS, rule
    ends, frames = np.asarray(end_frames, np.int64), np.asarray(shot_frames, np.int64)
    if rule == "containing":
        shots = (np.searchsorted(frames[:, 0], ends, side="right") - 1).clip(0)
    else:
        after = np.searchsorted(frames[:, 1], ends).clip(0, len(frames) - 1)
        before = (after - 1).clip(0)
        is_before = np.abs(frames[before, 1] - ends) <= np.abs(frames[after, 1] - ends)
        shots = np.where(is_before, before, after)
    return Snapped(shots.astype(np.int64), np.abs(frames[shots, 1] - ends))


def labels_from_spans(
    starts: ArrayLike, ends: ArrayLike, frames: IntArray, times: FrameTimes, film: str, reading: str = ""
) -> tuple[Labels, list[Finding]]:
    """Return a film's labels, (num_shots,), from the spans of its scenes, and findings about the fit.

    A scene ends with the shot whose last frame is nearest. Whole shots between two scenes, or before the first, make a
    scene of their own. The last shot has no label.

    Args:
        starts: (E,) first frame of each scene.
        ends: (E,) last frame of each scene.
        frames: (num_shots, 2) first and last frame of each shot.
        times: when the film's frames are shown.
        film: name for the findings.
        reading: how the list was understood, for the findings.

    Raises:
        InputError: a scene ends far past the film.
    """
    # 1. order the scenes, refuse those of another film
    starts, ends = np.asarray(starts, np.int64), np.asarray(ends, np.int64)
    order = np.lexsort((ends, starts))
    starts, ends = starts[order], ends[order]
    last, rate = max(int(frames[-1, 1]), times.num_frames - 1), float(times.rate)
    past = (ends - last).clip(0)
    if past.max() > max(WILD * (last + 1), PAST * rate):
        raise InputError(f"a scene ends at frame {ends.max()}, the film with frame {last}; check the film and the unit")

    # 2. mark the shots that scenes end with
    snapped = snap_to_shots(ends, frames)
    labels = np.zeros(len(frames), np.int8)
    labels[snapped.shots] = 1
    gap_ends = _gap_ends(starts, ends, snapped.shots, frames)
    labels[gap_ends] = 1
    labels[-1] = NO_LABEL

    # 3. report how well they fit
    moved = snapped.distances[ends <= frames[-1, 1]]  # players disagree about the film's end
    text = f"{pluralize(len(starts), 'scene')}{reading}"
    if len(moved):
        text += f"; ends moved by {np.median(moved):g} frames (median), {moved.max()} at most, to the nearest shot end"
    findings = [Finding(NOTE, "scene ends snapped", film, text)]
    num_far, num_past = int((moved > FAR * rate).sum()), int((past > PAST * rate).sum())
    num_twice = len(snapped.shots) - len(np.unique(snapped.shots))
    num_overlaps = int((starts[1:] < ends[:-1] - 1).sum())
    for number, severity, noun, rest in (
        (num_far, WARNING, "scene end", f"more than {FAR:g} s from any shot's end"),
        (num_past, WARNING, "scene end", f"more than {PAST:g} s past the film, up to {past.max() / rate:.0f} s"),
        (num_twice, WARNING, "scene end", "at the same shot as another scene's end"),
        (num_overlaps, WARNING, "scene start", "before the end of the previous scene"),
        (len(gap_ends), NOTE, "gap", "of whole shots between scenes, taken for a scene"),
    ):
        if number:
            kind = f"{noun} {rest.partition(',')[0]}"
            findings.append(Finding(severity, kind, film, f"{pluralize(number, noun)} {rest}"))
    return labels, findings


def _gap_ends(starts: IntArray, ends: IntArray, shots: IntArray, frames: IntArray) -> list[int]:
    """Return the last of the whole shots between each scene and the next, and before the first scene."""
    found = []
    for shot, end, start in zip([-1, *shots.tolist()], [0, *ends.tolist()], starts.tolist(), strict=False):
        before = int(np.searchsorted(frames[:, 1], start)) - 1  # last shot that is over when the scene starts
        if before > shot and frames[shot + 1, 0] >= end:
            found.append(before)
    return found

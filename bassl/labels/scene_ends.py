"""Scenes as spans of frames into one boundary label a shot, and what is odd about spans that fit the shots badly."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bassl.console import pluralize
from bassl.errors import InputError
from bassl.labels.findings import NOTE, WARNING, Finding
from bassl.labels.label_files import NO_LABEL, Labels
from bassl.labels.protocols import snap_to_shots
from bassl.video.timing import FrameTimes

FAR = 1.0  # seconds between a scene's end and the shot's that it is snapped to, above which there is a warning
PAST = 2.0  # seconds past the film's last frame, which another player may count; above, there is a warning
WILD = 0.5  # of the film's length past its last frame, above which the list is another film's

IntArray = NDArray[np.int64]


def labels_from_spans(
    starts: ArrayLike, ends: ArrayLike, frames: IntArray, times: FrameTimes, film: str, reading: str = ""
) -> tuple[Labels, list[Finding]]:
    """Labels of a film, (num_shots,), from first and last frame of its scenes, (E,) each, and what was odd.

    A scene ends with the shot whose last frame is nearest to its own. Where the next scene starts only after one or
    more whole shots (a title, an advertisement), what lies between is a scene too, and so is what lies before the
    first. The last shot has no label. `frames` is (num_shots, 2). reading: how the list was read, for the note.

    Raises InputError for a scene that ends far past the film.
    """
    starts, ends = np.asarray(starts, np.int64), np.asarray(ends, np.int64)
    order = np.lexsort((ends, starts))
    begin, end_frames = starts[order], ends[order]
    last = max(int(frames[-1, 1]), times.num_frames - 1)
    past = (end_frames - last).clip(0)
    if past.max() > max(WILD * (last + 1), PAST * float(times.rate)):
        raise InputError(
            f"a scene ends at frame {end_frames.max()}, and the film with frame {last}; check the film and the unit"
        )
    snapped = snap_to_shots(end_frames, frames)
    is_end = np.zeros(len(frames), dtype=bool)
    is_end[snapped.shots] = True
    overlaps = int((begin[1:] < end_frames[:-1] - 1).sum())
    num_gaps = _mark_gaps(is_end, np.append(-1, snapped.shots), np.append(0, end_frames), begin, frames)
    twice = len(snapped.shots) - len(np.unique(snapped.shots))
    moved = snapped.distances[end_frames <= frames[-1, 1]]  # the film's end is where another player counts it
    text = f"{pluralize(len(begin), 'scene')}{reading}"
    if len(moved):
        text += f"; ends moved by {np.median(moved):g} frames (median), {moved.max()} at most, to the nearest shot end"
    found = [Finding(NOTE, "scene ends snapped", film, text)]
    for number, severity, one, many in (
        (
            int((moved > FAR * float(times.rate)).sum()),
            WARNING,
            f"scene end lies more than {FAR:g} s from any shot's end",
            f"scene ends lie more than {FAR:g} s from any shot's end",
        ),
        (
            int((past > PAST * float(times.rate)).sum()),
            WARNING,
            f"scene ends more than {PAST:g} s past the film, up to {past.max() / float(times.rate):.0f} s",
            f"scenes end more than {PAST:g} s past the film, up to {past.max() / float(times.rate):.0f} s",
        ),
        (
            twice,
            WARNING,
            "scene ends with the shot that another ends with",
            "scenes end with the shot that another ends with",
        ),
        (
            overlaps,
            WARNING,
            "scene starts before the one before it has ended",
            "scenes start before the one before them has ended",
        ),
        (
            num_gaps,
            NOTE,
            "stretch of shots belongs to no scene; it is taken for one",
            "stretches of shots belong to no scene; each is taken for one",
        ),
    ):
        if number:
            found.append(Finding(severity, many, film, f"{number} {one if number == 1 else many}"))
    labels = is_end.astype(np.int8)
    labels[-1] = NO_LABEL
    return labels, found


def _mark_gaps(is_end: NDArray[np.bool_], last: IntArray, end: IntArray, begin: IntArray, frames: IntArray) -> int:
    """Mark the last of the whole shots between scene i - 1 (shot last[i], frame end[i]) and the start of scene i."""
    count = 0
    for shot, frame, start in zip(last, end, begin, strict=False):
        before = int(np.searchsorted(frames[:, 1], start)) - 1  # last shot that is over when the scene starts
        if before > shot and frames[shot + 1, 0] >= frame:
            is_end[before] = True
            count += 1
    return count

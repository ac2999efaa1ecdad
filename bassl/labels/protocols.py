"""From scene annotations to one boundary label a shot: BBC Planet Earth, OVSD, and how they differ between papers.

Pure functions. An annotator says which shots a scene ends with, either by shots or by frames, which are snapped to
shots; a protocol says whose word counts. docs/data.md tells what each paper did.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bassl.console import pluralize
from bassl.errors import InputError
from bassl.labels.label_files import NO_LABEL, Labels

IntArray = NDArray[np.int64]
Flags = NDArray[np.bool_]

AGREEMENTS = ("single", "union", "majority")
SNAPS = ("nearest", "containing")
MARKS = ("end", "both")


@dataclass(frozen=True)
class Protocol:
    """How annotations become labels.

    agreement: "single" (annotator number `annotator`), "union" (any of them) or "majority" (at least
    `min_annotators`). snap: to which shot a frame belongs, "nearest" (the shot whose last frame is nearest) or
    "containing" (the shot that the frame lies in). mark: "end" labels the shot that a scene ends with, "both" also the
    one after it. drop_last: whether the last shot, whose label decides nothing, is left out.
    """

    agreement: str = "single"
    annotator: int = 0
    min_annotators: int = 1
    snap: str = "nearest"
    mark: str = "end"
    drop_last: bool = True

    def described(self) -> str:
        """For people, in the words of the options."""
        who = {
            "single": f"annotator {self.annotator}",
            "union": "any annotator",
            "majority": f"at least {pluralize(self.min_annotators, 'annotator')}",
        }[self.agreement]
        last = "left out" if self.drop_last else "kept"
        return f"{who}; snap {self.snap}; mark {self.mark}; label of the last shot {last}"

    def __post_init__(self) -> None:
        for name, value, choices in (
            ("agreement", self.agreement, AGREEMENTS),
            ("snap", self.snap, SNAPS),
            ("mark", self.mark, MARKS),
        ):
            if value not in choices:
                raise InputError(f"{name} {value!r} is unknown; choose {', '.join(choices)}")
        if self.annotator < 0 or self.min_annotators < 1:
            raise InputError(
                f"annotator {self.annotator} and min_annotators {self.min_annotators} cannot work; "
                "annotators are numbered from 0, and at least one has to agree"
            )


PROTOCOLS: dict[str, Protocol] = {
    "bbc": Protocol(),
    "bbc-union": Protocol(agreement="union"),
    "bbc-majority": Protocol(agreement="majority", min_annotators=3),
    "bbc-agree4": Protocol(agreement="majority", min_annotators=4),
    "ovsd": Protocol(snap="nearest"),
    "ovsd-both": Protocol(snap="nearest", mark="both"),
}
"""Named settings. `bbc`: annotator 0; `bbc-agree4`: TranS4mer's ">= 4 annotators"; `ovsd-both`: TranS4mer's two
positives a boundary.
"""


class Snapped(NamedTuple):
    """Shots that scenes end with, one a given frame, and how many frames each lay from its shot's last frame."""

    shots: IntArray
    distances: IntArray


def snap_to_shots(end_frames: ArrayLike, shot_frames: ArrayLike, rule: str = "nearest") -> Snapped:
    """The shot that each scene's last frame belongs to.

    `end_frames` (E,) last frame of each scene, whole numbers, also past the film's ends; `shot_frames` (num_shots, 2).
    "nearest": the shot whose last frame is nearest, the earlier of two equally near. "containing": the shot that holds
    the frame; in a gap between shots the one before, and before the first shot that one. Every result is a shot of the
    film. Raises InputError for other shapes or an unknown rule.
    """
    frames = np.asarray(shot_frames)
    ends = np.asarray(end_frames)
    if ends.size == 0:
        ends = ends.astype(np.int64)
    if frames.ndim != 2 or frames.shape[1:] != (2,) or not len(frames):
        raise InputError(f"shots have shape {frames.shape}; give (num_shots, 2): first and last frame")
    if ends.ndim != 1 or ends.dtype.kind not in "iu" or frames.dtype.kind not in "iu":
        raise InputError(f"scene ends have shape {ends.shape} and type {ends.dtype}; give whole frame numbers (E,)")
    ends, frames = ends.astype(np.int64), frames.astype(np.int64)
    if rule == "nearest":
        after = np.searchsorted(frames[:, 1], ends).clip(0, len(frames) - 1)
        before = (after - 1).clip(0)
        is_before = np.abs(frames[before, 1] - ends) <= np.abs(frames[after, 1] - ends)
        shots = np.where(is_before, before, after)
    elif rule == "containing":
        shots = (np.searchsorted(frames[:, 0], ends, side="right") - 1).clip(0)
    else:
        raise InputError(f"snap {rule!r} is unknown; choose {', '.join(SNAPS)}")
    return Snapped(shots.astype(np.int64), np.abs(frames[shots, 1] - ends))


def ends_from_first_shots(first_shots: ArrayLike, num_shots: int) -> IntArray:
    """Shots that scenes end with, from the shots that scenes begin with: each but 0, minus one.

    The last scene's end, the film's last shot, is not among them. A closing `num_shots` is understood. Raises
    InputError for shots outside the film.
    """
    first = _shots(first_shots, num_shots + 1)
    return np.unique(first[(first > 0) & (first < num_shots)]) - 1


def ends_from_last_shots(last_shots: ArrayLike, num_shots: int) -> IntArray:
    """Shots that scenes end with, sorted and each once. Raises InputError for shots outside the film."""
    return np.unique(_shots(last_shots, num_shots))


def combine(annotators: Sequence[ArrayLike], num_shots: int, protocol: Protocol) -> Labels:
    """The labels of a film, (num_shots,), from what each annotator takes for the shots that scenes end with.

    `annotators`: for each of them the shots, in any order. Labels are 1 and 0, and NO_LABEL for the last shot where
    the protocol drops it. Raises InputError for shots outside the film, and where the protocol asks for more
    annotators than there are.
    """
    if num_shots < 1:
        raise InputError(f"a film of {num_shots} shots has no labels; leave it out")
    needed = {"single": protocol.annotator + 1, "union": 1, "majority": protocol.min_annotators}[protocol.agreement]
    if len(annotators) < needed:
        raise InputError(
            f"the protocol ({protocol.agreement}) needs {pluralize(needed, 'annotator')}, there are {len(annotators)}; "
            "choose another"
        )
    votes = np.zeros((len(annotators), num_shots), dtype=bool)
    for row, ends in enumerate(annotators):
        votes[row, _shots(ends, num_shots)] = True
    if protocol.agreement == "single":
        is_end: Flags = votes[protocol.annotator].copy()
    else:
        threshold = 1 if protocol.agreement == "union" else protocol.min_annotators
        is_end = votes.sum(axis=0) >= threshold
    if protocol.drop_last:
        is_end[-1] = False  # the film's end is nobody's boundary, so it marks no neighbour
    if protocol.mark == "both":
        is_end[1:] |= is_end[:-1].copy()
    labels = is_end.astype(np.int8)
    if protocol.drop_last:
        labels[-1] = NO_LABEL
    return labels


def _shots(shots: ArrayLike, num_shots: int) -> IntArray:
    """Shot numbers as an array, checked to lie below num_shots."""
    numbers = np.asarray(shots)
    if numbers.size == 0:
        return np.zeros(0, np.int64)
    if numbers.ndim != 1 or numbers.dtype.kind not in "iu":
        raise InputError(f"shots have shape {numbers.shape} and type {numbers.dtype}; give whole numbers (E,)")
    if numbers.min() < 0 or numbers.max() >= num_shots:
        wrong = numbers.max() if numbers.min() >= 0 else numbers.min()
        raise InputError(f"shot {wrong} lies outside the film of {num_shots} shots (0 to {num_shots - 1})")
    return numbers.astype(np.int64)

"""What segmentation gives: shots, scenes and when they start and end, in frames, exact seconds and timecode.

Everything here is torch-free and made anew from an `AnalysedFilm` in no time, so another threshold costs
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bassl.console import pluralize
from bassl.dataset.shot_files import keyframe_numbers
from bassl.segment.threshold import Threshold
from bassl.video.timecode import TimecodeTrack, short_clock
from bassl.video.timing import FrameTimes

FINETUNED, ZERO_SHOT, TRAINING_FREE = "fine-tuned", "zero-shot", "training-free"
KINDS = {
    FINETUNED: "fine-tuned on labelled scenes",
    ZERO_SHOT: "zero-shot: pre-trained only, has never seen a scene label",
    TRAINING_FREE: "training-free: scores how little the shots before resemble those after",
}


@dataclass(frozen=True)
class ModelInfo:
    """What scored the boundaries.

    name: of the checkpoint, or "similarity". kind: a key of KINDS. sha256: of the checkpoint file, None
    without one.
    encoder: what the shot features are from; encoder_id: hash of its weights and settings. threshold: chosen
    on a validation split in fine-tuning, None where there was none.
    """

    name: str
    kind: str
    sha256: str | None
    encoder: str
    encoder_id: str
    threshold: float | None = None

    @property
    def sentence(self) -> str:
        """For people."""
        return f"{self.name} ({KINDS[self.kind]}); features of {self.encoder}"


@dataclass(frozen=True)
class FilmInfo:
    """A video file.

    width, height: pixels as shown, upright and square. codec: FFmpeg's name. timecode: that of the first frame, where
    the file tells.
    """

    path: Path
    width: int
    height: int
    codec: str
    has_audio: bool
    timecode: str | None = None

    @property
    def name(self) -> str:
        """File name."""
        return self.path.name


@dataclass(frozen=True)
class AnalysedFilm:
    """A film's shots and their scores, before anybody has said what score makes a boundary.

    Attributes:
        frames: (num_shots, 2) first and last frame of each shot.
        thumbnails: a small JPEG of each shot's middle key-frame.
        probability: (num_shots,) 0..1 that a scene ends with the shot; NaN for the last.
        similarity: the training-free scorer's, likewise.
        detector: where the shots are from.
        warnings: what was odd about the file, in sentences.
    """

    film: FilmInfo
    times: FrameTimes
    frames: npt.NDArray[np.int64]
    thumbnails: tuple[bytes, ...] = field(repr=False)
    probability: npt.NDArray[np.float64]
    similarity: npt.NDArray[np.float64]
    model: ModelInfo
    detector: Mapping[str, Any]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Moment:
    """A point in a film, between two frames.

    frame: number, from 0, of the frame that starts here. position: the same in an editor, where the rate is
    constant; another number only at variable rates. seconds: exact, on the clock that players show. timecode:
    SMPTE, of position.
    """

    frame: int
    position: int
    seconds: Fraction
    timecode: str

    @classmethod
    def of(cls, frame: int, position: int, times: FrameTimes, track: TimecodeTrack) -> Moment:
        """The moment at which a frame starts."""
        return cls(frame, position, times.seconds(frame), track.text(position))


@dataclass(frozen=True)
class Shot:
    """An unbroken take.

    number: from 0. start, end: its first frame, and the first that is no longer part of it. keyframes: frame numbers.
    probability: 0..1 that a scene ends with this shot, None for the film's last.
    """

    number: int
    start: Moment
    end: Moment
    keyframes: tuple[int, int, int]
    probability: float | None


@dataclass(frozen=True)
class Scene:
    """A run of shots that tell one thing. number: from 1. end: the first frame that is no longer part of it."""

    number: int
    start: Moment
    end: Moment
    shots: tuple[Shot, ...]

    @property
    def num_shots(self) -> int:
        """Number of its shots."""
        return len(self.shots)

    @property
    def seconds(self) -> Fraction:
        """How long it lasts, exactly."""
        return self.end.seconds - self.start.seconds

    @property
    def probability(self) -> float | None:
        """Of the boundary at its end; None for the film's last scene."""
        return self.shots[-1].probability

    def __str__(self) -> str:
        span = f"{short_clock(self.start.seconds)} - {short_clock(self.end.seconds)}"
        return f"scene {self.number}: {span}, {pluralize(self.num_shots, 'shot')}"


@dataclass(frozen=True)
class Segmentation:
    """A film cut into scenes; iterate over it to get them.

    labels: (num_shots,) true boundaries where they are known, as `bassl.segment.ground_truth.read_labels`
    gives them.
    """

    film: FilmInfo
    times: FrameTimes
    track: TimecodeTrack
    shots: tuple[Shot, ...]
    scenes: tuple[Scene, ...]
    threshold: Threshold
    model: ModelInfo
    detector: Mapping[str, Any]
    warnings: tuple[str, ...]
    analysed: AnalysedFilm = field(repr=False, compare=False)
    labels: npt.NDArray[np.int8] | None = field(default=None, repr=False, compare=False)
    evaluation: Mapping[str, Mapping[str, float]] = field(default_factory=dict, repr=False, compare=False)

    def __iter__(self) -> Iterator[Scene]:
        return iter(self.scenes)

    def __len__(self) -> int:
        return len(self.scenes)


def cut_into_scenes(analysed: AnalysedFilm, threshold: Threshold) -> Segmentation:
    """Scenes end with the shots at or above the threshold, and with the film.

    Each lasts until the next begins: where a given list of shots leaves frames out between two of them (dissolves),
    they belong to the scene before, so that no timeline has a hole; what it leaves out at the film's start and end
    belongs to the first and the last.
    """
    times = analysed.times
    track = TimecodeTrack.of(times.rate, analysed.film.timecode)
    spans = [(first, last + 1) for first, last in analysed.frames.tolist()]
    bounds = sorted({0, times.num_frames, *(frame for span in spans for frame in span)})
    moments = {
        frame: Moment.of(frame, position, times, track) for frame, position in times.distinct_positions(bounds).items()
    }
    shots = []
    for number, (first, end) in enumerate(spans):
        probability = float(analysed.probability[number])
        shots.append(
            Shot(
                number,
                moments[first],
                moments[end],
                keyframe_numbers(first, end - 1),
                None if np.isnan(probability) else probability,
            )
        )
    scenes: list[Scene] = []
    begin = 0
    for shot in shots:
        is_last = shot.number == len(shots) - 1
        if is_last or (shot.probability is not None and shot.probability >= threshold.value):
            members = tuple(shots[begin : shot.number + 1])
            start = members[0].start if scenes else moments[0]
            until = moments[times.num_frames] if is_last else shots[shot.number + 1].start
            scenes.append(Scene(len(scenes) + 1, start, until, members))
            begin = shot.number + 1
    return Segmentation(
        film=analysed.film,
        times=times,
        track=track,
        shots=tuple(shots),
        scenes=tuple(scenes),
        threshold=threshold,
        model=analysed.model,
        detector=analysed.detector,
        warnings=analysed.warnings,
        analysed=analysed,
    )

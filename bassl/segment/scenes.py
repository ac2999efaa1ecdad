"""Records of one film: its shots, their scores, and the scenes that follow from both.

Nothing here needs torch. Cutting takes no time, so another threshold costs nothing.
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
POSTERIOR, SIMILARITY, STRUCTURE = "posterior", "similarity", "structure"
SCORERS = (POSTERIOR, SIMILARITY)
"""Training-free scorers, the default first."""
ABOUT = {
    FINETUNED: "fine-tuned on labelled scenes",
    ZERO_SHOT: "zero-shot: pre-trained only, has never seen a scene label",
    POSTERIOR: "training-free: weighs all ways to cut the film into scenes of similar shots",
    STRUCTURE: "fine-tuned on few films: a regression on how the film changes at each shot",
    SIMILARITY: "training-free: scores how little the shots before resemble those after",
}
FOUND, MISSED, WRONG = "hit", "missed", "false"


@dataclass(frozen=True)
class ModelInfo:
    """The scorer of a film's boundaries, as stored with the results.

    Attributes:
        name: of the checkpoint, or of the training-free scorer.
        kind: FINETUNED, ZERO_SHOT or TRAINING_FREE.
        sha256: of the checkpoint file, if any.
        encoder: source of the shot features.
        encoder_id: hash of the encoder's weights and settings.
        threshold: chosen on a validation split in fine-tuning, if any.
        decoder: POSTERIOR if the model's logits were decoded by the scene posterior, else "none".
        scorer: one of SCORERS if training-free, STRUCTURE for the scorer of few labelled films, else None.
    """

    name: str
    kind: str
    sha256: str | None
    encoder: str
    encoder_id: str
    threshold: float | None = None
    decoder: str = "none"
    scorer: str | None = None

    @property
    def about(self) -> str:
        """The scorer in words."""
        text = ABOUT[self.scorer or self.kind]
        return text if self.decoder == "none" else f"{text}; decoded by the scene posterior"

    @property
    def sentence(self) -> str:
        """The scorer and its features in words."""
        return f"{self.name} ({self.about}); features of {self.encoder}"

    @property
    def is_calibrated(self) -> bool:
        """Whether scores are probabilities that a fixed threshold suits."""
        return self.kind == FINETUNED and self.decoder == "none" and self.scorer is None


@dataclass(frozen=True, eq=False)
class FilmShots:
    """A film and its shots, before any scorer has seen them.

    Attributes:
        path: the video file, or the folder of key-frames.
        width, height: pixels as shown, upright and square.
        codec: FFmpeg's name, "jpeg" for key-frames.
        timecode: of the first frame, if the file has one.
        times: when each frame is shown.
        frames: (num_shots, 2) first and last frame of each shot.
        thumbnails: a small JPEG of each shot's middle key-frame.
        features: (num_shots, D); empty if the cache was read without them.
        detector: how shots were found, for the results.
        warnings: oddities of the file, in sentences.
        has_video: False for key-frames.
        has_lengths: False if the frames are made up because no shot file exists.
    """

    path: Path
    width: int
    height: int
    codec: str
    has_audio: bool
    timecode: str | None
    times: FrameTimes
    frames: npt.NDArray[np.int64]
    thumbnails: tuple[bytes, ...]
    features: npt.NDArray[np.float32]
    detector: Mapping[str, Any]
    warnings: tuple[str, ...] = ()
    has_video: bool = True
    has_lengths: bool = True

    @property
    def name(self) -> str:
        """File name."""
        return self.path.name

    @property
    def shot_lengths(self) -> npt.NDArray[np.int64] | None:
        """(num_shots,) in frames, None if unknown."""
        return self.frames[:, 1] - self.frames[:, 0] + 1 if self.has_lengths else None


@dataclass(frozen=True, eq=False)
class Scores:
    """Probabilities (num_shots,) that a scene ends with each shot, NaN for the last.

    Attributes:
        probability: by the model.
        training_free: by the training-free scorer, for comparison.
    """

    probability: npt.NDArray[np.float64]
    training_free: npt.NDArray[np.float64]
    model: ModelInfo


@dataclass(frozen=True)
class Moment:
    """A point in a film, between two frames.

    Attributes:
        frame: number, from 0, of the frame that starts here.
        position: the same at a constant rate, for editors; differs from frame at variable rates only.
        seconds: exact, on the clock that players show.
        timecode: SMPTE, of position.
    """

    frame: int
    position: int
    seconds: Fraction
    timecode: str


@dataclass(frozen=True)
class Shot:
    """An unbroken take.

    Attributes:
        number: from 0.
        start, end: its first frame, and the first frame after it.
        keyframes: frame numbers.
        probability: 0..1 that a scene ends with this shot, None for the film's last.
    """

    number: int
    start: Moment
    end: Moment
    keyframes: tuple[int, int, int]
    probability: float | None


@dataclass(frozen=True)
class Scene:
    """Consecutive shots of one scene. `number` counts from 1, `end` is the first frame after the scene."""

    number: int
    start: Moment
    end: Moment
    shots: tuple[Shot, ...]

    @property
    def num_shots(self) -> int:
        """Number of shots."""
        return len(self.shots)

    @property
    def seconds(self) -> Fraction:
        """Exact duration."""
        return self.end.seconds - self.start.seconds

    @property
    def probability(self) -> float | None:
        """Probability of the boundary at its end; None for the film's last scene."""
        return self.shots[-1].probability

    def __str__(self) -> str:
        span = f"{short_clock(self.start.seconds)} - {short_clock(self.end.seconds)}"
        return f"scene {self.number}: {span}, {pluralize(self.num_shots, 'shot')}"


@dataclass(frozen=True)
class Segmentation:
    """A film cut into scenes; iterate over it to get them.

    Attributes:
        labels: (num_shots,) int8 true boundaries as `ground_truth.read_labels` returns them, if known.
        evaluation: metrics of "model" and "training-free" against the labels.
    """

    film: FilmShots = field(repr=False, compare=False)
    scores: Scores = field(repr=False, compare=False)
    threshold: Threshold
    shots: tuple[Shot, ...]
    scenes: tuple[Scene, ...]
    labels: npt.NDArray[np.int8] | None = field(default=None, repr=False, compare=False)
    evaluation: Mapping[str, Mapping[str, float]] = field(default_factory=dict, repr=False, compare=False)

    def __iter__(self) -> Iterator[Scene]:
        return iter(self.scenes)

    def __len__(self) -> int:
        return len(self.scenes)

    @property
    def times(self) -> FrameTimes:
        """When each frame is shown."""
        return self.film.times

    @property
    def track(self) -> TimecodeTrack:
        """How the film counts timecode."""
        return TimecodeTrack.of(self.film.times.rate, self.film.timecode)

    @property
    def model(self) -> ModelInfo:
        """The scorer."""
        return self.scores.model

    @property
    def warnings(self) -> tuple[str, ...]:
        """Oddities of the file, in sentences."""
        return self.film.warnings

    @property
    def boundaries(self) -> frozenset[int]:
        """Numbers of the shots that scenes end with, without the film's last."""
        return frozenset(scene.shots[-1].number for scene in self.scenes[:-1])

    def verdicts(self) -> list[str | None]:
        """Compare the end of each shot with the labels: FOUND, MISSED, WRONG, or None."""
        if self.labels is None:
            return [None] * len(self.shots)
        cuts = self.boundaries
        verdicts: list[str | None] = []
        for number, label in enumerate(self.labels.tolist()):
            is_true = label in (1, -1)  # uncertain boundaries count, as in the metrics
            if number in cuts:
                verdicts.append(FOUND if is_true else WRONG if label == 0 else None)
            else:
                verdicts.append(MISSED if is_true else None)
        return verdicts


def cut_into_scenes(film: FilmShots, scores: Scores, threshold: Threshold) -> Segmentation:
    """End a scene with each shot that the threshold selects, and with the film.

    Scenes leave no gaps: frames that a given shot list leaves out between two shots go to the scene before. Those
    before its first shot and after its last go to the first and the last scene.
    """
    times = film.times
    track = TimecodeTrack.of(times.rate, film.timecode)
    spans = [(first, last + 1) for first, last in film.frames.tolist()]
    bounds = sorted({0, times.num_frames, *(frame for span in spans for frame in span)})
    moments = {
        frame: Moment(frame, position, times.seconds(frame), track.text(position))
        for frame, position in times.distinct_positions(bounds).items()
    }
    shots = [
        Shot(
            number=number,
            start=moments[first],
            end=moments[end],
            keyframes=keyframe_numbers(first, end - 1),
            probability=None if np.isnan(score) else score,
        )
        for number, ((first, end), score) in enumerate(zip(spans, scores.probability.tolist(), strict=True))
    ]
    is_end = threshold.select(scores.probability)
    is_end[-1] = True
    scenes: list[Scene] = []
    begin = 0
    for last in np.flatnonzero(is_end).tolist():
        start = shots[begin].start if scenes else moments[0]
        end = shots[last + 1].start if last + 1 < len(shots) else moments[times.num_frames]
        scenes.append(Scene(len(scenes) + 1, start, end, tuple(shots[begin : last + 1])))
        begin = last + 1
    return Segmentation(film=film, scores=scores, threshold=threshold, shots=tuple(shots), scenes=tuple(scenes))

"""Timelines of the films of an evaluation: `timeline.png` and, where there are several films,
`timelines/<film>.png`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bassl.dataset.annotation import Annotations
from bassl.dataset.keyframes import NUM_KEYFRAMES, Keyframes
from bassl.plots.strip import KeyframeReader
from bassl.plots.timeline import draw_timeline

log = logging.getLogger(__name__)
MIDDLE = NUM_KEYFRAMES // 2


class ScoredShots(Protocol):
    """Columns (N,) of scored shots, such as `bassl.finetune.metrics.ShotPredictions`; film is an index."""

    @property
    def film(self) -> NDArray[np.int64]: ...
    @property
    def shot(self) -> NDArray[np.int64]: ...
    @property
    def probability(self) -> NDArray[np.float64]: ...
    @property
    def label(self) -> NDArray[np.int64]: ...


def draw_film_timelines(
    folder: Path,
    predictions: ScoredShots,
    keyframes: Keyframes,
    frames: Mapping[int, NDArray[np.int64]] | None = None,
    *,
    threshold: float = 0.5,
    fps: float = 24.0,
    max_films: int = 20,
) -> list[Path]:
    """Draw the timelines of an evaluation into `folder`; returns the files, `timeline.png` first.

    The first film in the order of the annotations is drawn as `timeline.png`. Where there are more films, up
    to max_films of them (the first included) go to `timelines/<film>.png`. Films without key-frames on disk
    get no strip, which is one log line.

    keyframes: folders of the films and the annotations that predictions.film points into. frames: first and
    last frame of every shot (num_shots, 2), by film index, at `fps` frames a second; None where unknown.
    """
    films = np.unique(predictions.film)[:max_films].tolist()
    readers = {film: film_keyframes(keyframes, film) for film in films}
    bare = [keyframes.annotations.films[film] for film in films if readers[film] is None]
    if bare:
        log.info("no key-frames of %d films, such as %s, in %s: no strip", len(bare), bare[0], keyframes.root)
    names = keyframes.annotations.films
    targets = [(folder / "timeline.png", film) for film in films[:1]]
    if len(films) > 1:
        targets += [(folder / "timelines" / f"{names[film]}.png", film) for film in films]
    for path, film in targets:
        rows = np.flatnonzero(predictions.film == film)
        # A sampler that pads may give a shot twice.
        shots, first = np.unique(predictions.shot[rows], return_index=True)
        rows = rows[first]
        draw_timeline(
            path,
            title=_title(keyframes.annotations, film, shots),
            probability=predictions.probability[rows],
            label=predictions.label[rows],
            threshold=threshold,
            keyframes=readers[film],
            shot_range=shots.tolist(),
            shot_seconds=_starts(frames, film, shots, fps),
        )
    return [path for path, _ in targets]


def _starts(
    frames: Mapping[int, NDArray[np.int64]] | None, film: int, shots: NDArray[np.int64], fps: float
) -> NDArray[np.float64] | None:
    """Start of each shot in seconds, None where the frames of some are unknown."""
    if frames is None or film not in frames or shots[-1] >= len(frames[film]):
        return None
    return frames[film][shots, 0] / fps


def film_keyframes(keyframes: Keyframes, film: int) -> KeyframeReader | None:
    """The middle key-frame of each shot of a film as a Pillow image, None for a shot that lacks it or has a
    broken one.

    None instead of the reader where the film has no folder of key-frames.
    """
    if not keyframes.path(film, 0, MIDDLE).parent.is_dir():
        return None

    def read(shot: int) -> Image.Image | None:
        try:
            with Image.open(keyframes.path(film, shot, MIDDLE)) as image:
                return image.convert("RGB")
        except (OSError, SyntaxError, ValueError):
            return None

    return read


def _title(annotations: Annotations, film: int, shots: NDArray[np.int64]) -> str:
    """Name of a film, and which of its shots are drawn where they are not all of them."""
    name = annotations.films[film]
    whole = len(shots) >= annotations.num_shots[film] - 1  # the last shot has no label, hence no row
    return f"{name}, {len(shots)} shots" if whole else f"{name}, shots {shots[0]} to {shots[-1]}"

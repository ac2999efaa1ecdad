"""Timelines of an evaluation: `timeline.png` and, of several films, `timelines/<film>.png`."""

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
from bassl.plots.style import optional_picture
from bassl.plots.tiles import KeyframeReader
from bassl.plots.timeline import draw_timeline, film_scores

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
    """Draw `timeline.png` of the first film and, of several films, `timelines/<film>.png` of each; return the files.

    A picture that cannot be drawn is one warning, since the scores are worth more than it. Films without
    key-frames on disk get no strip, which one log line says.

    Args:
        keyframes: of the annotations that predictions.film points into.
        frames: first and last frame of every shot, (num_shots, 2) by film index, where known.
        fps: frames per second.
        max_films: films to draw at most.
    """
    names = keyframes.annotations.films
    films = np.unique(predictions.film)[:max_films].tolist()
    readers = {film: film_keyframes(keyframes, film) for film in films}
    bare = [names[film] for film in films if readers[film] is None]
    if bare:
        log.info("no key-frames of %d films, such as %s, in %s: no strip", len(bare), bare[0], keyframes.root)
    targets = [(folder / "timeline.png", film) for film in films[:1]]
    if len(films) > 1:
        targets += [(folder / "timelines" / f"{names[film]}.png", film) for film in films]
    written = []
    for path, film in targets:
        with optional_picture(path):
            rows = np.flatnonzero(predictions.film == film)
            shots, first = np.unique(predictions.shot[rows], return_index=True)  # a padding sampler repeats shots
            rows = rows[first]
            seconds = None
            if frames is not None and film in frames and shots[-1] < len(frames[film]):
                seconds = frames[film][shots, 0] / fps
            scores = film_scores(
                predictions.probability[rows], predictions.label[rows], threshold, shots=shots, seconds=seconds
            )
            draw_timeline(path, _title(keyframes.annotations, film, shots), scores, readers[film])
            written.append(path)
    return written


def film_keyframes(keyframes: Keyframes, film: int) -> KeyframeReader | None:
    """Return a reader of each shot's middle key-frame, or None where the film has no folder of key-frames.

    A missing or broken key-frame is read as None.
    """
    if not keyframes.path(film, 0, MIDDLE).parent.is_dir():
        return None

    def read(shot: int) -> Image.Image | None:
        try:
            with Image.open(keyframes.path(film, shot, MIDDLE)) as image:
                return image.convert("RGB")
        except (OSError, SyntaxError, ValueError):  # all three are raised by Pillow for broken files
            return None

    return read


def _title(annotations: Annotations, film: int, shots: NDArray[np.int64]) -> str:
    """Name the film, and its shots where a part is drawn; the last shot has no label and does not count."""
    name, is_whole = annotations.films[film], len(shots) >= annotations.num_shots[film] - 1
    return f"{name}, {len(shots)} shots" if is_whole else f"{name}, shots {shots[0]} to {shots[-1]}"

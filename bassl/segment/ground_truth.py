"""Scene labels of a film, where somebody has made them, and how well a model agrees with them."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bassl.errors import InputError
from bassl.finetune.metrics import ShotPredictions, best_f1_threshold, scene_metrics
from bassl.labels.film_names import film_name_of
from bassl.labels.findings import NOTE
from bassl.labels.label_files import NO_LABEL, Labels, fit_labels, read_label_file
from bassl.labels.scene_lists import labels_from_scenes
from bassl.labels.snapping import snap_to_shots
from bassl.segment.companions import TABLES, look_at_labels, named_in, not_named
from bassl.segment.scenes import AnalysedFilm
from bassl.video.shot_list import read_shot_list
from bassl.video.timing import FrameTimes

log = logging.getLogger(__name__)


def read_labels(
    path: Path, film: Path, frames: npt.NDArray[np.int64], times: FrameTimes, timecode: str | None = None
) -> Labels:
    """Labels (num_shots,) of the film's shots, whose frames are (num_shots, 2). timecode: the film's own, if any.

    1: a scene ends with the shot, 0: not, -1: uncertain, NO_LABEL: none.

    A `.csv` or `.tsv` holds scenes: `film,start,end` in frames, seconds or timecodes (see docs/data.md), or
    the columns of PySceneDetect, as in our own scenes.csv; their ends are snapped to the nearest shot's.
    Anything else is a label file, `<shot> <label>` a line, of these very shots.

    Raises:
        InputError: no such file, a malformed one, or one of another film.
    """
    scenes = look_at_labels(path)
    name = film_name_of(Path(film.name))
    if scenes is None and path.suffix.lower() not in TABLES:
        given = read_label_file(path)
        if max(given) >= len(frames):
            raise InputError(
                f"{path} labels shot {max(given)}, and {film.name} has {len(frames)} shots; give the shots "
                "that were labelled as well (--shots), or scenes as a CSV"
            )
        labels, found = fit_labels(given, len(frames), name)
    elif scenes is None:
        ends = read_shot_list(path).in_film(times)[:, 1]
        labels, found = np.zeros(len(frames), np.int8), []
        labels[snap_to_shots(ends, frames).shots] = 1
        labels[-1] = NO_LABEL
    else:
        written = named_in(scenes, film)
        if written is None:
            raise not_named(path, film)
        labels, found = labels_from_scenes(scenes, written, frames, times, name, timecode)
    for finding in found:
        log.log(logging.INFO if finding.severity == NOTE else logging.WARNING, "%s: %s", path.name, finding.what)
    return labels


def evaluate(
    labels: Labels, analysed: AnalysedFilm, probability: npt.NDArray[np.float64], threshold: float
) -> dict[str, float]:
    """The benchmark's metrics (`bassl.finetune.metrics`) of one film, and F1_best, at its best threshold.

    Shots without label are left out; metrics without anything to measure are left out too.
    """
    shot = np.flatnonzero((labels != NO_LABEL) & np.isfinite(probability))
    known = ShotPredictions(np.zeros(len(shot), np.int64), shot, probability[shot], labels[shot].astype(np.int64))
    found = scene_metrics(known, {0: _at_positions(analysed)}, threshold, float(analysed.times.rate))
    if (abs(known.label) == 1).any():
        best = best_f1_threshold(known.probability, abs(known.label))
        found["F1_best"] = scene_metrics(known, None, best)["F1"]
    return {name: value for name, value in found.items() if np.isfinite(value)}


def _at_positions(analysed: AnalysedFilm) -> npt.NDArray[np.int64]:
    """First and last frame of each shot at the constant rate, which seconds are reckoned from."""
    times = analysed.times
    if not times.is_variable:
        return analysed.frames
    spans = [(times.position(first), times.position(last + 1) - 1) for first, last in analysed.frames.tolist()]
    return np.array([(first, max(first, last)) for first, last in spans], np.int64)

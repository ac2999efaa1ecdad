"""Scene labels of a film, where somebody has made them, and how well a model agrees with them."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bassl.errors import InputError
from bassl.finetune.metrics import ShotPredictions, best_f1_threshold, scene_metrics
from bassl.prepare.findings import NOTE
from bassl.prepare.labels import NO_LABEL, Labels, fit_labels, read_label_file
from bassl.prepare.names import film_name_of, find_film
from bassl.prepare.protocols import snap_to_shots
from bassl.prepare.scenes import labels_from_scenes, read_scene_list
from bassl.segment.scenes import AnalysedFilm
from bassl.segment.shot_list import START_FRAME, read_shot_list
from bassl.segment.timing import FrameTimes

log = logging.getLogger(__name__)
TABLES = (".csv", ".tsv")


def read_labels(path: Path, film: Path, frames: npt.NDArray[np.int64], times: FrameTimes) -> Labels:
    """Labels (num_shots,) of the film's shots, whose frames are (num_shots, 2).

    1: a scene ends with the shot, 0: not, -1: uncertain, NO_LABEL: none.

    A `.csv` or `.tsv` holds scenes: `film,start,end` in frames, seconds or timecodes (see docs/data.md), or
    the columns of PySceneDetect, as in our own scenes.csv; their ends are snapped to the nearest shot's.
    Anything else is a label file, `<shot> <label>` a line, of these very shots.

    Raises:
        InputError: no such file, a malformed one, or one of another film.
    """
    if not path.is_file():
        raise InputError(f"label file {path} does not exist; give a scene list or a label file")
    name = film_name_of(Path(film.name))
    if path.suffix.lower() not in TABLES:
        given = read_label_file(path)
        if max(given) >= len(frames):
            raise InputError(
                f"{path} labels shot {max(given)}, and {film.name} has {len(frames)} shots; give the shots "
                "that were labelled as well (--shots), or scenes as a CSV"
            )
        labels, found = fit_labels(given, len(frames), name)
    elif _has_shot_columns(path):
        ends = read_shot_list(path).in_film(times)[:, 1]
        labels, found = np.zeros(len(frames), np.int8), []
        labels[snap_to_shots(ends, frames).shots] = 1
        labels[-1] = NO_LABEL
    else:
        scenes = read_scene_list(path)
        written = next((text for text in scenes.scenes if find_film(text, [name]) == name), None)
        if written is None:
            names = ", ".join(list(scenes.scenes)[:5])
            raise InputError(f"{path} holds no scenes of {film.name}; it names {names[:200]}")
        labels, found = labels_from_scenes(scenes, written, frames, times, name)
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
    found = scene_metrics(known, {0: analysed.frames}, threshold, float(analysed.times.rate))
    if (abs(known.label) == 1).any():
        best = best_f1_threshold(known.probability, abs(known.label))
        found["F1_best"] = scene_metrics(known, None, best)["F1"]
    return {name: value for name, value in found.items() if np.isfinite(value)}


def _has_shot_columns(path: Path) -> bool:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return any(START_FRAME in line for _, line in zip(range(3), file, strict=False))

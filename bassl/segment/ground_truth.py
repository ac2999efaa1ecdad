"""Scene labels of a film, and how well scores agree with them."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bassl.errors import InputError
from bassl.finetune.metrics import ShotPredictions, best_f1_threshold, scene_metrics
from bassl.labels.film_names import film_name_of, match_file
from bassl.labels.findings import NOTE, Finding
from bassl.labels.label_files import NO_LABEL, Labels, fit_labels, read_label_file
from bassl.labels.scene_lists import SceneList, labels_from_scenes, read_scene_list
from bassl.labels.snapping import snap_to_shots
from bassl.segment.inputs import file_named_after, no_list
from bassl.segment.scenes import FilmShots
from bassl.video.shot_list import has_shot_columns, read_shot_list

log = logging.getLogger(__name__)
TABLES = (".csv", ".tsv")


def labels_for(given: Path | None, film: Path, num_films: int) -> Path | None:
    """Return the file with a film's labels, checked to be readable; a scene list may hold several films.

    Of several films, those without labels are logged and segmented without.

    Raises:
        InputError: if the file is missing or malformed, holds other films only, or is one film's for several.
    """
    if given is None:
        return None
    path = file_named_after(film, given) if given.is_dir() else given
    if path is not None:
        scenes = read_scenes(path)
        if path == given and num_films > 1 and scenes is None:
            raise InputError(f"--labels {given} is for one film, not {num_films}; give a folder with a file per film")
        if scenes is None or _name_in(scenes, film) is not None:
            return path
    if num_films == 1:
        raise no_list(film, given, "--labels") if path is None else _no_scenes(path, film)
    log.warning("%s: %s has no labels for it; it is not measured", film.name, path or given)
    return None


def read_scenes(path: Path) -> SceneList | None:
    """Read a file of labels, and return its scenes if it is a scene list.

    Raises:
        InputError: if the file is missing or malformed.
    """
    if not path.is_file():
        raise InputError(f"label file {path} does not exist; give a scene list or a label file")
    if path.suffix.lower() not in TABLES:
        read_label_file(path)
    elif has_shot_columns(path):
        read_shot_list(path)
    else:
        return read_scene_list(path)
    return None


def read_labels(path: Path, film: FilmShots) -> Labels:
    """Return labels (num_shots,): 1 a scene ends with the shot, 0 not, -1 uncertain, NO_LABEL none.

    A `.csv` or `.tsv` holds scenes: `film,start,end` in frames, seconds or timecodes (see docs/data.md), or
    PySceneDetect's columns, as in our own scenes.csv. Their ends are snapped to the nearest shot's. Any other file is a
    label file, `<shot> <label>` per line, of these very shots.

    Raises:
        InputError: if the file is missing or malformed, or is another film's.
    """
    scenes = read_scenes(path)
    name = film_name_of(Path(film.name))
    num_shots = len(film.frames)
    findings: list[Finding] = []
    if scenes is not None:
        name_in_list = _name_in(scenes, film.path)
        if name_in_list is None:
            raise _no_scenes(path, film.path)
        labels, findings = labels_from_scenes(scenes, name_in_list, film.frames, film.times, name, film.timecode)
    elif path.suffix.lower() in TABLES:
        ends = read_shot_list(path).in_film(film.times)[:, 1]
        labels = np.zeros(num_shots, np.int8)
        labels[snap_to_shots(ends, film.frames).shots] = 1
        labels[-1] = NO_LABEL
    else:
        by_shot = read_label_file(path)
        if max(by_shot) >= num_shots:
            raise InputError(
                f"{path} labels shot {max(by_shot)}, and {film.name} has {num_shots} shots; give the shots "
                "that were labelled as well (--shots), or scenes as a CSV"
            )
        labels, findings = fit_labels(by_shot, num_shots, name)
    for finding in findings:
        log.log(logging.INFO if finding.severity == NOTE else logging.WARNING, "%s: %s", path.name, finding.what)
    return labels


def evaluate(
    labels: Labels, film: FilmShots, probability: npt.NDArray[np.float64], threshold: float
) -> dict[str, float]:
    """Return the benchmark's metrics of one film, and F1_best, the F1 at its best threshold.

    Shots without label are left out, and so are metrics without anything to measure.
    """
    shot = np.flatnonzero((labels != NO_LABEL) & np.isfinite(probability))
    rows = ShotPredictions(np.zeros(len(shot), np.int64), shot, probability[shot], labels[shot].astype(np.int64))
    metrics = scene_metrics(rows, {0: _frames_at_constant_rate(film)}, threshold, float(film.times.rate))
    if (abs(rows.label) == 1).any():
        best = best_f1_threshold(rows.probability, abs(rows.label))
        metrics["F1_best"] = scene_metrics(rows, None, best)["F1"]
    return {name: value for name, value in metrics.items() if np.isfinite(value)}


def _frames_at_constant_rate(film: FilmShots) -> npt.NDArray[np.int64]:
    """Return first and last frame of each shot at the constant rate that seconds are computed from."""
    times = film.times
    if not times.is_variable:
        return film.frames
    spans = [(times.position(first), times.position(last + 1) - 1) for first, last in film.frames.tolist()]
    return np.array([(first, max(first, last)) for first, last in spans], np.int64)


def _name_in(scenes: SceneList, film: Path) -> str | None:
    """Return the name that a list gives a film, if any. Raise InputError if it gives two."""
    try:
        return match_file(scenes.scenes, film.absolute())
    except InputError as error:
        raise InputError(f"{scenes.path}: {error}") from error


def _no_scenes(path: Path, film: Path) -> InputError:
    names = ", ".join(list(read_scene_list(path).scenes)[:5])
    return InputError(f"{path} holds no scenes of {film.name}; it names {names[:200]}")

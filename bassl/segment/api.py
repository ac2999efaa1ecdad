"""Segmenting films from Python; `from bassl.segment import load_model, segment` leads here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from bassl.errors import InputError
from bassl.files import lock_folder
from bassl.segment.analyse import analyse
from bassl.segment.cache import Cache, default_folder
from bassl.segment.companions import labels_of
from bassl.segment.reference import find_model
from bassl.segment.scenes import FINETUNED, TRAINING_FREE, AnalysedFilm, Segmentation, cut_into_scenes
from bassl.segment.threshold import choose_threshold
from bassl.video.settings import DetectorSettings, ShotSettings
from bassl.video.shot_list import read_shot_list

if TYPE_CHECKING:
    from bassl.segment.model import SceneModel


def segment(
    film: str | Path,
    model: SceneModel | str | Path | None = None,
    *,
    threshold: float | None = None,
    num_scenes: int | None = None,
    shots: str | Path | None = None,
    detector: DetectorSettings | None = None,
    device: str = "auto",
    cache: str | Path | None = None,
    labels: str | Path | None = None,
    show_progress: bool = False,
) -> Segmentation:
    """Cut a film into scenes.

        model = load_model("bassl")
        for scene in segment("film.mp4", model):
            print(scene.start.timecode, scene.end.timecode, scene.num_shots)

    Args:
        film: a video file.
        model: from `load_model`, or what that takes: a name, a path, None for the training-free scorer. Where
            the cache knows the film's scores a name or a path is not even loaded.
        threshold: probability, 0..1, from which on a shot ends a scene. None: see `choose_threshold`.
        num_scenes: cut at the highest-scoring boundaries into so many scenes instead.
        shots: file with the film's shots (`read_shot_list`), in place of a detector.
        detector: how shots are found, by default PySceneDetect's adaptive detector.
        device: where a model that is loaded here computes: "auto", "cpu", "cuda:1".
        cache: folder that keeps features and scores for the next call; None: nothing is kept
            (`bassl.segment.default_cache()` is the command's).
        labels: file with the film's true scenes (`read_labels`); they are stored with the result.
        show_progress: bars on stderr.

    Raises:
        InputError: a film, model, shot list, label file or number that cannot work.
    """
    if labels is not None:
        labels = labels_of(Path(labels), Path(film), 1)
    settings = ShotSettings(detector or DetectorSettings(), None if shots is None else read_shot_list(Path(shots)))
    reference = find_model(model, None) if model is None or isinstance(model, str | Path) else model.reference

    def load() -> SceneModel:
        from bassl.segment.model import load_reference

        return load_reference(reference, device) if model is None or isinstance(model, str | Path) else model

    kept = Cache(None if cache is None else Path(cache))
    analysed = analyse(Path(film), reference, load, settings, kept, show_progress)
    return finish(analysed, threshold, num_scenes, None if labels is None else Path(labels))


def finish(
    analysed: AnalysedFilm, threshold: float | None, num_scenes: int | None, labels: Path | None
) -> Segmentation:
    """Scenes of a film that has been analysed; arguments as of `segment`. Takes no time."""
    model = analysed.model
    chosen = choose_threshold(
        analysed.probability, threshold, num_scenes, model.threshold, is_calibrated=model.kind == FINETUNED
    )
    found = cut_into_scenes(analysed, chosen)
    if labels is None:
        return found
    from bassl.segment.ground_truth import evaluate, read_labels

    film = analysed.film
    truth = read_labels(labels, film.path, analysed.frames, analysed.times, film.timecode)
    evaluation = {"model": evaluate(truth, analysed, analysed.probability, chosen.value)}
    if model.kind != TRAINING_FREE:
        free = choose_threshold(analysed.similarity, is_calibrated=False)
        evaluation["training-free"] = evaluate(truth, analysed, analysed.similarity, free.value)
    return replace(found, labels=truth, evaluation=evaluation)


def write(segmentation: Segmentation, folder: str | Path, formats: str = "json,csv,shots,html") -> list[Path]:
    """Write a segmentation into a folder in these formats (`output.formats`); returns the files.

    Raises:
        InputError: an unknown format, or a folder that cannot be written, also as another process does.
    """
    from bassl.segment.output.formats import parse_formats, write_formats

    names = parse_formats(formats)
    try:
        with lock_folder(Path(folder), f"another process is writing to {folder}; wait for it, or name another folder"):
            return write_formats(segmentation, Path(folder), names)
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror}); nothing is left half-written") from error


def default_cache() -> Path:
    """The folder in which `bassl segment` keeps features and scores."""
    return default_folder()

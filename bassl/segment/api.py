"""Segment films from Python; `from bassl.segment import load_model, segment` leads here.

One film passes through five records: Options, then FilmShots, Scores and Segmentation (`scenes`), then FilmResult.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from bassl.errors import InputError
from bassl.files import lock_folder
from bassl.segment.cache import Cache, default_folder, key_of
from bassl.segment.encode import encode_film
from bassl.segment.model_files import ModelSpec, find_model
from bassl.segment.output.results import parse_formats, write_formats, write_results
from bassl.segment.scenes import TRAINING_FREE, FilmShots, Scores, Segmentation, cut_into_scenes
from bassl.segment.threshold import check_threshold, choose_threshold
from bassl.video import MissingExtra, check_installed
from bassl.video.film_files import fingerprint
from bassl.video.settings import DetectorSettings, ShotSettings
from bassl.video.shot_list import read_shot_list

if TYPE_CHECKING:
    from bassl.segment.model import SceneModel

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """What a call asks of one film.

    Attributes:
        film: a video file, or a folder of key-frames (`keyframe_folder`).
        model: the parts of the model that scores it.
        folder: of the results; None writes none.
        labels: file with the film's true scenes.
        formats: names of `output.results.FORMATS`.
        ffmpeg: the program that cuts clips; None cuts none.
        cache: folder that keeps features and scores; None keeps none.
    """

    film: Path
    model: ModelSpec
    folder: Path | None = None
    shots: ShotSettings = field(default_factory=ShotSettings)
    labels: Path | None = None
    threshold: float | None = None
    num_scenes: int | None = None
    formats: tuple[str, ...] = ()
    ffmpeg: str | None = None
    cache: Path | None = None
    show_progress: bool = False


@dataclass(frozen=True)
class FilmResult:
    """What became of a film.

    Attributes:
        files: results that were written.
        removed: names of files of an earlier call that were removed.
        error: one sentence if the film failed, else None.
    """

    options: Options
    segmentation: Segmentation | None = None
    files: tuple[Path, ...] = ()
    removed: tuple[str, ...] = ()
    error: str | None = None


class ModelError(InputError):
    """The model cannot be loaded, so no film can be segmented."""


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
        film: a video file, or a film's folder of key-frames in MovieNet's layout.
        model: from `load_model`, or its first argument: a name, a path, None for the training-free scorer. If the
            cache holds the film's scores, a name or a path is not even loaded.
        threshold: probability, 0..1, from which a shot ends a scene. Default: see `choose_threshold`.
        num_scenes: cut at the highest-scoring boundaries into so many scenes instead.
        shots: file with the film's shots (`read_shot_list`), in place of a detector.
        detector: how shots are found. Default: PySceneDetect's adaptive detector.
        device: where a model that is loaded here computes: "auto", "cpu", "cuda:1".
        cache: folder that keeps features and scores for the next call. Default: none
            (`bassl.segment.default_cache()` is the command's).
        labels: file with the film's true scenes (`read_labels`), to be stored with the result and measured against.
        show_progress: show progress bars on stderr.

    Raises:
        InputError: if a film, model, shot list, label file or number is invalid.
    """
    path = Path(film)
    check_threshold(threshold, num_scenes)
    if labels is not None:
        from bassl.segment.ground_truth import labels_for

        labels = labels_for(Path(labels), path, num_films=1)
    options = Options(
        film=path,
        model=find_model(model) if model is None or isinstance(model, str | Path) else model.spec,
        shots=ShotSettings(detector or DetectorSettings(), None if shots is None else read_shot_list(Path(shots))),
        labels=None if labels is None else Path(labels),
        threshold=threshold,
        num_scenes=num_scenes,
        cache=None if cache is None else Path(cache),
        show_progress=show_progress,
    )
    load = model_loader(options.model, device) if model is None or isinstance(model, str | Path) else lambda: model
    return cut(*analyse(options, load), options)


def write(segmentation: Segmentation, folder: str | Path, formats: str = "json,csv,shots,html") -> list[Path]:
    """Write a segmentation into a folder in these formats (`output.results`), and return the files.

    Raises:
        InputError: if a format is unknown, or the folder cannot be written or another process writes to it.
    """
    names = parse_formats(formats)
    try:
        with lock_folder(Path(folder), f"another process is writing to {folder}; wait for it, or name another folder"):
            return write_formats(segmentation, Path(folder), names)
    except OSError as error:
        raise InputError(f"{folder} cannot be written ({error.strerror}); name another folder") from error


def default_cache() -> Path:
    """Return the folder in which `bassl segment` keeps features and scores."""
    return default_folder()


def segment_film(options: Options, load: Callable[[], SceneModel]) -> FilmResult:
    """Segment a film and write its results; whatever is wrong with the film is in the returned record.

    Raises:
        ModelError, MissingExtra: concern all films.
    """
    try:
        segmentation = cut(*analyse(options, load), options)
        files, removed = _write_results(segmentation, options)
    except (ModelError, MissingExtra):
        raise
    except InputError as error:
        return FilmResult(options, error=str(error))
    except OSError as error:
        return FilmResult(options, error=f"{error.filename or options.folder}: {error.strerror or error}")
    except Exception as error:
        log.exception("%s failed because of a bug in bassl", options.film)
        return FilmResult(options, error=f"bug in bassl ({type(error).__name__}: {error}); please report it")
    return FilmResult(options, segmentation, tuple(files), tuple(removed))


def model_loader(spec: ModelSpec, device: str) -> Callable[[], SceneModel]:
    """Return a function that loads the model at its first call; it raises ModelError if that fails."""
    loaded: list[SceneModel] = []

    def load() -> SceneModel:
        if not loaded:
            from bassl.segment.model import load_spec

            try:
                loaded.append(load_spec(spec, device))
            except InputError as error:
                raise ModelError(str(error)) from error
        return loaded[0]

    return load


def analyse(options: Options, load: Callable[[], SceneModel]) -> tuple[FilmShots, Scores]:
    """Return shots and scores of a film; if the cache has both, neither torch nor PyAV is imported.

    Raises:
        MissingExtra: if a library that reads films is not installed.
        InputError: if the film cannot be read, the shot list is another film's, or `load` raises it.
    """
    cache, spec, path = Cache(options.cache), options.model, options.film
    is_video = not path.is_dir()
    # 1. what is known from an earlier call
    film_key = (_fingerprint(path), options.shots.key_parts() if is_video else "key-frames")
    scores_key = key_of("scores", film_key, [fingerprint(file) for file in spec.files], str(spec))
    scores = cache.read_scores(scores_key) if spec.is_known_by_name else None
    if scores is not None:
        film = cache.read_shots(key_of("shots", film_key, scores.model.encoder_id), path, with_features=False)
        if film is not None:
            log.info("%s: known from an earlier call", path.name)
            return film, scores
    # 2. shots and features
    if is_video:
        check_installed()  # before weights are downloaded
    model = load()
    shots_key = key_of("shots", film_key, model.encoder.id)
    film = cache.read_shots(shots_key, path, with_features=True)
    if film is None:
        if is_video:
            film = encode_film(path, model.encoder, options.shots, options.show_progress)
        else:
            from bassl.segment.keyframe_folder import encode_keyframes

            film = encode_keyframes(path, model.encoder, options.show_progress)
        cache.write_shots(shots_key, film)
    # 3. scores
    scores = model.score(film.features, film.shot_lengths)
    cache.write_scores(scores_key, scores)
    return film, scores


def cut(film: FilmShots, scores: Scores, options: Options) -> Segmentation:
    """Return the scenes of a film that has been analysed, measured against its labels if there are any."""
    model = scores.model
    threshold = choose_threshold(
        scores.probability,
        options.threshold,
        options.num_scenes,
        stored=model.threshold if model.is_calibrated else None,
        is_calibrated=model.is_calibrated,
    )
    segmentation = cut_into_scenes(film, scores, threshold)
    if options.labels is None:
        return segmentation
    from bassl.segment.ground_truth import evaluate, read_labels

    labels = read_labels(options.labels, film)
    evaluation = {"model": evaluate(labels, film, scores.probability, threshold.value)}
    if model.kind != TRAINING_FREE:
        own = choose_threshold(scores.training_free, is_calibrated=False)
        evaluation["training-free"] = evaluate(labels, film, scores.training_free, own.value)
    return replace(segmentation, labels=labels, evaluation=evaluation)


def _write_results(segmentation: Segmentation, options: Options) -> tuple[list[Path], list[str]]:
    if options.folder is None:
        return [], []
    given = options.shots.given
    return write_results(
        segmentation,
        options.folder,
        options.formats,
        ffmpeg=options.ffmpeg,
        keep=[path for path in (options.labels, given.path if given else None) if path is not None],
        show_progress=options.show_progress,
    )


def _fingerprint(path: Path) -> str:
    try:
        if path.is_dir():
            from bassl.segment.keyframe_folder import fingerprint as folder_fingerprint

            return folder_fingerprint(path)
        if path.exists() and not path.is_file():  # reading a pipe would block
            raise InputError(f"{path} is not a regular file; give a video file")
        return fingerprint(path)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; give a video file") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from error

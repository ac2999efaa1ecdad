"""From a film to its shots and their scores: what takes long, and is therefore kept for the next call."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from bassl.errors import InputError
from bassl.segment.cache import Cache, FilmShots, Scores, key_of
from bassl.segment.reference import ModelReference
from bassl.segment.scenes import AnalysedFilm
from bassl.video.extras import check_installed, missing_extra
from bassl.video.film_files import fingerprint
from bassl.video.settings import ShotSettings

if TYPE_CHECKING:
    from bassl.segment.model import SceneModel

log = logging.getLogger(__name__)


def analyse(
    path: Path,
    reference: ModelReference,
    load: Callable[[], SceneModel],
    settings: ShotSettings,
    cache: Cache,
    show_progress: bool = False,
) -> AnalysedFilm:
    """Shots and scores of a film, from the cache where it has them: then neither torch nor PyAV is imported.

    load: gives the model of `reference`; called only when something has to be computed.

    Raises:
        MissingExtra: a library that reads films is not installed.
        InputError: a film that cannot be read, a shot list that is not the film's, or what `load` raises.
    """
    film_key = (_fingerprint(path), settings.key_parts())
    scores_key = key_of(("scores", *film_key, [fingerprint(file) for file in reference.files], str(reference.encoder)))
    scores = cache.read_scores(scores_key)
    if scores is not None:
        shots = cache.read_shots(key_of(("shots", *film_key, scores.model.encoder_id)), path, with_features=False)
        if shots is not None:
            log.info("%s: known from an earlier call", path.name)
            return _analysed(shots, scores)
    check_installed()  # before weights are fetched
    model = load()
    shots_key = key_of(("shots", *film_key, model.info.encoder_id))
    shots = cache.read_shots(shots_key, path, with_features=True)
    if shots is None:
        shots = _encode_film(path, model, settings, show_progress)
        cache.write_shots(shots_key, shots)
    scores = Scores(model.score(shots.features), model.similarity(shots.features), model.info)
    cache.write_scores(scores_key, scores)
    return _analysed(shots, scores)


def _encode_film(path: Path, model: SceneModel, settings: ShotSettings, show_progress: bool) -> FilmShots:
    try:
        from bassl.segment.encode import encode_film
    except ImportError as error:
        raise missing_extra(error) from error
    return encode_film(path, model, settings, show_progress)


def _analysed(shots: FilmShots, scores: Scores) -> AnalysedFilm:
    return AnalysedFilm(
        film=shots.film,
        times=shots.times,
        frames=shots.frames,
        thumbnails=shots.thumbnails,
        probability=scores.probability,
        similarity=scores.similarity,
        model=scores.model,
        detector=shots.detector,
        warnings=shots.warnings,
    )


def _fingerprint(path: Path) -> str:
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise InputError(f"{path} is no file; give a video file")
    try:
        return fingerprint(path)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; give a video file") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from error

"""From a film to its shots and their scores: what takes long, and is therefore kept for the next call."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from tqdm import tqdm

from bassl.errors import InputError
from bassl.segment.background import in_background
from bassl.segment.cache import Cache, FilmShots, Scores, fingerprint, key_of
from bassl.segment.extras import missing_extra
from bassl.segment.reference import ModelReference
from bassl.segment.scenes import AnalysedFilm, FilmInfo
from bassl.segment.settings import ShotSettings

if TYPE_CHECKING:
    from torch import Tensor

    from bassl.segment.keyframes import ShotKeyframes
    from bassl.segment.model import SceneModel

log = logging.getLogger(__name__)

THUMBNAIL_LINES = 120
THUMBNAIL_QUALITY = 70
AHEAD = 32  # shots decoded before the encoder has come to them, 450 kB each
BATCH = {"cpu": 8, "cuda": 64}  # shots encoded at a time; on a CPU they need 30 MB each


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
    model = load()
    shots_key = key_of(("shots", *film_key, model.info.encoder_id))
    shots = cache.read_shots(shots_key, path, with_features=True)
    if shots is None:
        shots = encode_film(path, model, settings, show_progress)
        cache.write_shots(shots_key, shots)
    scores = Scores(model.score(shots.features), model.similarity(shots.features), model.info)
    cache.write_scores(scores_key, scores)
    return _analysed(shots, scores)


def encode_film(path: Path, model: SceneModel, settings: ShotSettings, show_progress: bool = False) -> FilmShots:
    """Shots of a film with their features, in one pass; memory does not grow with the film but for what is
    returned.

    Raises:
        InputError: as `analyse`.
    """
    try:
        from bassl.segment.video import FilmReader, scan_times
    except ImportError as error:
        raise missing_extra(error) from error
    given = None if settings.given is None else settings.given.in_film(scan_times(path))
    frames, features, thumbnails, batch = [], [], [], []
    with ExitStack() as stack:
        reader = stack.enter_context(FilmReader(path))
        bars = [
            stack.enter_context(
                tqdm(total=total, desc=f"{path.name[:40]}: {what}", unit=unit, disable=not show_progress)
            )
            for what, unit, total in (
                ("reading", " frames", reader.num_frames or None),
                ("encoding", " shots", None),
            )
        ]
        shots = _shots(reader, settings, given, bars[0])
        size = BATCH[model.device.torch_device.type]
        for first, last, keyframes, thumbnail in stack.enter_context(
            closing(in_background(_prepared(shots, model), AHEAD))
        ):
            frames.append((first, last))
            thumbnails.append(thumbnail)
            batch.append(keyframes)
            if len(batch) == size:
                features.append(_encode(model, batch))
                bars[1].update(len(batch))
                batch = []
        if batch:
            features.append(_encode(model, batch))
            bars[1].update(len(batch))
        times, warnings = reader.times(), reader.warnings()
    encoded = np.concatenate(features)
    if not np.isfinite(encoded).all():
        raise InputError(
            f"the encoder of {model.info.encoder} gives NaN or infinity for {path.name}; it may have diverged"
        )
    for warning in warnings:
        log.warning("%s: %s", path.name, warning)
    width, height = reader.size
    film = FilmInfo(path, width, height, reader.codec, reader.has_audio, reader.timecode)
    return FilmShots(
        film,
        times,
        np.array(frames, np.int64),
        tuple(thumbnails),
        encoded,
        settings.described(),
        tuple(warnings),
    )


def _shots(
    reader: Any, settings: ShotSettings, given: npt.NDArray[np.int64] | None, bar: Any
) -> Iterator[ShotKeyframes]:
    from bassl.segment.keyframes import detected_shots, given_shots

    if given is not None:
        return given_shots(reader, given, bar.update)
    try:
        from bassl.segment.cuts import CutFinder

        finder = CutFinder(settings.detector, reader.rate)
    except ImportError as error:
        raise missing_extra(error) from error
    return detected_shots(reader, finder, on_frame=bar.update)


def _prepared(shots: Iterator[ShotKeyframes], model: SceneModel) -> Iterator[tuple[int, int, Tensor, bytes]]:
    import torch

    for shot in shots:
        keyframes = torch.stack([model.prepare(image) for image in shot.images])
        yield shot.first, shot.last, keyframes, _thumbnail(shot.images[1])


def _encode(model: SceneModel, batch: list[Tensor]) -> npt.NDArray[np.float32]:
    import torch

    return model.encode(torch.stack(batch))


def _thumbnail(image: npt.NDArray[np.uint8]) -> bytes:
    picture = Image.fromarray(image)
    picture.thumbnail((4 * THUMBNAIL_LINES, THUMBNAIL_LINES), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=THUMBNAIL_QUALITY, optimize=True)
    return buffer.getvalue()


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
    try:
        return fingerprint(path)
    except FileNotFoundError as error:
        raise InputError(f"{path} does not exist; give a video file") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from error

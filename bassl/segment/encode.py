"""One pass over a film: shots, the features of each, and a picture to show of it.

The film is decoded in a thread while the encoder computes, and neither gets far ahead of the other.
"""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from bassl.errors import InputError
from bassl.segment.background import Abandoned, in_background
from bassl.segment.cache import FilmShots
from bassl.segment.model import SceneModel
from bassl.segment.scenes import FilmInfo
from bassl.video.cuts import CutFinder
from bassl.video.keyframes import ShotKeyframes, detected_shots, given_shots
from bassl.video.reader import FilmReader, scan_times
from bassl.video.settings import ShotSettings

log = logging.getLogger(__name__)

THUMBNAIL_LINES = 120
THUMBNAIL_QUALITY = 70
AHEAD = 32  # shots decoded before the encoder has come to them, 450 kB each
BATCH = {"cpu": 8, "cuda": 64}  # shots encoded at a time; on a CPU they need 30 MB each


class PreparedShot(NamedTuple):
    """A shot, ready to be encoded. keyframes: (3, 3, crop, crop) uint8; thumbnail: JPEG of the middle one."""

    first: int
    last: int
    keyframes: Tensor
    thumbnail: bytes


def encode_film(path: Path, model: SceneModel, settings: ShotSettings, show_progress: bool = False) -> FilmShots:
    """Shots of a film with their features; memory does not grow with the film but for what is returned.

    Raises:
        InputError: a film that cannot be read, a shot list that is not the film's, features that are not finite.
    """
    given = None if settings.given is None else settings.given.in_film(scan_times(path))
    spans, thumbnails, features = [], [], []
    with FilmReader(path) as reader, _bar(path, "reading", " frames", reader.num_frames, show_progress) as reading:
        is_wanted = threading.Event()

        def on_frame() -> None:
            reading.update()
            if not is_wanted.is_set():
                raise Abandoned

        if given is None:
            shots = detected_shots(reader, CutFinder(settings.detector, reader.rate), on_frame=on_frame)
        else:
            shots = given_shots(reader, given, on_frame)
        with (
            _bar(path, "encoding", " shots", 0, show_progress) as encoding,
            closing(in_background(_prepared(shots, model), AHEAD, is_wanted)) as prepared,
        ):
            while batch := list(islice(prepared, BATCH[model.device.torch_device.type])):
                features.append(model.encode(torch.stack([shot.keyframes for shot in batch])))
                spans += [(shot.first, shot.last) for shot in batch]
                thumbnails += [shot.thumbnail for shot in batch]
                encoding.update(len(batch))
        times, warnings = reader.times(), reader.warnings()
    encoded = np.concatenate(features)
    if not np.isfinite(encoded).all():
        raise InputError(
            f"features of {path.name} hold NaN or infinity; the encoder ({model.info.encoder}) has diverged"
        )
    frames = np.array(spans, np.int64)
    if settings.given is not None:
        warnings += settings.given.warnings(frames, times)
    for warning in warnings:
        log.warning("%s: %s", path.name, warning)
    film = FilmInfo(path, *reader.size, reader.codec, reader.has_audio, reader.timecode)
    return FilmShots(film, times, frames, tuple(thumbnails), encoded, settings.described(), tuple(warnings))


def _prepared(shots: Iterator[ShotKeyframes], model: SceneModel) -> Iterator[PreparedShot]:
    for shot in shots:
        keyframes = torch.stack([model.prepare(image) for image in shot.images])
        yield PreparedShot(shot.first, shot.last, keyframes, _thumbnail(shot.images[1]))


def _thumbnail(image: npt.NDArray[np.uint8]) -> bytes:
    picture = Image.fromarray(image)
    picture.thumbnail((4 * THUMBNAIL_LINES, THUMBNAIL_LINES), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=THUMBNAIL_QUALITY, optimize=True)
    return buffer.getvalue()


def _bar(path: Path, what: str, unit: str, total: int, show: bool) -> Any:
    return tqdm(total=total or None, desc=f"{path.name[:40]}: {what}", unit=unit, leave=False, disable=not show)

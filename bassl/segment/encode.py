"""Read a film once: its shots, the features of each, and a thumbnail. Video is decoded while the encoder computes."""

from __future__ import annotations

import io
import logging
import threading
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image
from tqdm import tqdm

from bassl.errors import InputError
from bassl.segment.encoders import KeyframeEncoder
from bassl.segment.prefetch import Abandoned, prefetch
from bassl.segment.scenes import FilmShots
from bassl.video import missing_extra
from bassl.video.settings import ShotSettings

log = logging.getLogger(__name__)

THUMBNAIL_LINES = 120
THUMBNAIL_QUALITY = 70
AHEAD = 32  # shots decoded before the encoder has reached them, 450 kB each


class ShotImages(Protocol):
    """A shot's first and last frame, and three key-frames (H, W, 3)."""

    @property
    def first(self) -> int: ...
    @property
    def last(self) -> int: ...
    @property
    def images(self) -> tuple[npt.NDArray[np.uint8], ...]: ...


class EncodedShots(NamedTuple):
    """frames: (num_shots, 2); thumbnails: JPEG of the middle key-frames; features: (num_shots, D)."""

    frames: npt.NDArray[np.int64]
    thumbnails: tuple[bytes, ...]
    features: npt.NDArray[np.float32]


def encode_film(path: Path, encoder: KeyframeEncoder, settings: ShotSettings, show_progress: bool = False) -> FilmShots:
    """Return the shots of a video file with their features; memory grows with the result only.

    Raises:
        MissingExtra: if PyAV or PySceneDetect is not installed.
        InputError: if the film cannot be read, the shot list is another film's, or features are NaN or infinite.
    """
    try:
        from bassl.video.cuts import CutFinder
        from bassl.video.keyframes import detected_shots, given_shots
        from bassl.video.reader import FilmReader, scan_times
    except ImportError as error:
        raise missing_extra(error) from error
    given = None if settings.given is None else settings.given.in_film(scan_times(path))
    with FilmReader(path) as reader, _bar(path, "reading", " frames", reader.num_frames, show_progress) as reading:
        is_wanted = threading.Event()

        def on_frame() -> None:
            reading.update()
            if not is_wanted.is_set():
                raise Abandoned

        shots: Iterator[ShotImages]
        if given is None:
            shots = detected_shots(reader, CutFinder(settings.detector, reader.rate), on_frame=on_frame)
        else:
            shots = given_shots(reader, given, on_frame)
        encoded = encode_shots(shots, encoder, path, is_wanted, show_progress)
        times, warnings = reader.times(), reader.warnings()
    if settings.given is not None:
        warnings += settings.given.warnings(encoded.frames, times)
    for warning in warnings:
        log.warning("%s: %s", path.name, warning)
    width, height = reader.size
    return FilmShots(
        path=path,
        width=width,
        height=height,
        codec=reader.codec,
        has_audio=reader.has_audio,
        timecode=reader.timecode,
        times=times,
        detector=settings.described(),
        warnings=tuple(warnings),
        **encoded._asdict(),
    )


def encode_shots(
    shots: Iterator[ShotImages],
    encoder: KeyframeEncoder,
    path: Path,
    is_wanted: threading.Event | None = None,
    show_progress: bool = False,
) -> EncodedShots:
    """Encode shots that are read in a thread.

    Raises:
        InputError: if features are NaN or infinite.
    """
    spans, thumbnails, features = [], [], []

    def prepared() -> Iterator[tuple[tuple[int, int], list[Any], bytes]]:
        for shot in shots:
            images = [encoder.prepare(image) for image in shot.images]
            yield (shot.first, shot.last), images, _thumbnail(shot.images[1])

    with (
        _bar(path, "encoding", " shots", 0, show_progress) as encoding,
        closing(prefetch(prepared(), AHEAD, is_wanted)) as waiting,
    ):
        while batch := list(islice(waiting, encoder.batch_size)):
            features.append(encoder.encode([images for _, images, _ in batch]))
            spans += [span for span, _, _ in batch]
            thumbnails += [thumbnail for _, _, thumbnail in batch]
            encoding.update(len(batch))
    encoded = np.concatenate(features)
    if not np.isfinite(encoded).all():
        raise InputError(f"features of {path.name} contain NaN or infinity; the encoder ({encoder.name}) has diverged")
    return EncodedShots(np.array(spans, np.int64), tuple(thumbnails), encoded)


def _thumbnail(image: npt.NDArray[np.uint8]) -> bytes:
    picture = Image.fromarray(image)
    picture.thumbnail((4 * THUMBNAIL_LINES, THUMBNAIL_LINES), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=THUMBNAIL_QUALITY, optimize=True)
    return buffer.getvalue()


def _bar(path: Path, what: str, unit: str, total: int, show: bool) -> Any:
    return tqdm(total=total or None, desc=f"{path.name[:40]}: {what}", unit=unit, leave=False, disable=not show)

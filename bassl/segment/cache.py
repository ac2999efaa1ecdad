"""What has been computed for a film, kept for the next call: features by encoder, scores by model.

A film is known by its size, its time of change and a sample of its bytes, so it may be moved and renamed; a
model by the same of its files. Two files a film: `<key>.shots.npz` and `<key>.scores.npz`, replaced as a
whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import zipfile
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bassl.files import write_atomically
from bassl.segment.scenes import FilmInfo, ModelInfo
from bassl.video.timing import FrameTimes

log = logging.getLogger(__name__)

VERSION = 2  # of everything that decides what is computed; raise it when that changes


@dataclass(frozen=True)
class FilmShots:
    """A film's shots before any scorer has seen them; `features` (num_shots, D), the rest as in AnalysedFilm."""

    film: FilmInfo
    times: FrameTimes
    frames: npt.NDArray[np.int64]
    thumbnails: tuple[bytes, ...]
    features: npt.NDArray[np.float32]
    detector: dict[str, Any]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Scores:
    """A model's word on a film's shots: `probability` and `similarity` as in AnalysedFilm."""

    probability: npt.NDArray[np.float64]
    similarity: npt.NDArray[np.float64]
    model: ModelInfo


def default_folder() -> Path:
    """`$BASSL_CACHE`, else `bassl` in the user's cache folder."""
    given = os.environ.get("BASSL_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bassl"


def key_of(parts: Iterable[Any]) -> str:
    """A name for what these parts (plain values) decide."""
    return hashlib.sha256(json.dumps([VERSION, *parts], sort_keys=True, default=str).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Cache:
    """A folder of results. None: keep nothing, know nothing."""

    folder: Path | None

    def read_shots(self, key: str, path: Path, with_features: bool) -> FilmShots | None:
        """A film's shots, as the film at `path`; None where they are not known. Features only where asked for."""
        stored = self._read(f"{key}.shots.npz", () if with_features else ("features",))
        if stored is None:
            return None
        about = json.loads(str(stored["about"]))
        thumbnails = _cut(stored["thumbnails"].tobytes(), stored["thumbnail_sizes"].tolist())
        return FilmShots(
            FilmInfo(path, **about["film"]),
            _times(about["times"], stored["ticks"]),
            stored["frames"],
            thumbnails,
            stored.get("features", np.zeros((0, 0), np.float32)),
            about["detector"],
            tuple(about["warnings"]),
        )

    def write_shots(self, key: str, shots: FilmShots) -> None:
        """Keep a film's shots."""
        film, times = asdict(shots.film), asdict(shots.times)
        ticks = times.pop("ticks")
        about = {
            "film": {name: value for name, value in film.items() if name != "path"},
            "times": {name: str(value) for name, value in times.items()},
            "detector": shots.detector,
            "warnings": shots.warnings,
        }
        self._write(
            f"{key}.shots.npz",
            about=np.array(json.dumps(about)),
            ticks=np.zeros(0, np.int64) if ticks is None else ticks,
            frames=shots.frames,
            thumbnails=np.frombuffer(b"".join(shots.thumbnails), np.uint8),
            thumbnail_sizes=np.array([len(image) for image in shots.thumbnails], np.int64),
            features=shots.features,
        )

    def read_scores(self, key: str) -> Scores | None:
        """A model's scores; None where they are not known."""
        stored = self._read(f"{key}.scores.npz", ())
        if stored is None:
            return None
        return Scores(stored["probability"], stored["similarity"], ModelInfo(**json.loads(str(stored["model"]))))

    def write_scores(self, key: str, scores: Scores) -> None:
        """Keep a model's scores."""
        self._write(
            f"{key}.scores.npz",
            probability=scores.probability,
            similarity=scores.similarity,
            model=np.array(json.dumps(asdict(scores.model))),
        )

    def _read(self, name: str, without: tuple[str, ...]) -> dict[str, npt.NDArray[Any]] | None:
        if self.folder is None or not (self.folder / name).is_file():
            return None
        try:
            with np.load(self.folder / name, allow_pickle=False) as stored:
                return {field: stored[field] for field in stored.files if field not in without}
        except (OSError, EOFError, ValueError, zipfile.BadZipFile, KeyError) as error:
            log.warning("%s is damaged (%s) and is made again", self.folder / name, error)
            return None

    def _write(self, name: str, **fields: npt.NDArray[Any]) -> None:
        """A cache that cannot be written is worth a warning, not the result."""
        if self.folder is None:
            return
        try:
            write_atomically(self.folder / name, lambda path: np.savez(path, **fields))  # type: ignore[arg-type]
        except OSError as error:
            log.warning(
                "nothing is kept for the next call: %s cannot be written (%s)", self.folder / name, error.strerror
            )


def _times(about: dict[str, str], ticks: npt.NDArray[np.int64]) -> FrameTimes:
    return FrameTimes(
        Fraction(about["rate"]),
        Fraction(about["start"]),
        int(about["num_frames"]),
        ticks if len(ticks) else None,
        Fraction(about["time_base"]),
        int(about["last_ticks"]),
    )


def _cut(joined: bytes, sizes: list[int]) -> tuple[bytes, ...]:
    ends = np.cumsum([0, *sizes]).tolist()
    return tuple(joined[begin:end] for begin, end in pairwise(ends))

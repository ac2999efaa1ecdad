"""Keep what was computed for a film: shots and features per encoder, scores per model.

A film is identified by its size, modification time and a sample of its bytes, so it may be moved and renamed. Models
are identified by the same of their files. Each entry is one file that is replaced as a whole.
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
from bassl.segment.scenes import FilmShots, ModelInfo, Scores
from bassl.video.timing import FrameTimes

log = logging.getLogger(__name__)

VERSION = 4  # raise it when something changes what is computed
FACTS = ("width", "height", "codec", "has_audio", "timecode", "detector", "warnings", "has_video", "has_lengths")


def default_folder() -> Path:
    """Return `$BASSL_CACHE`, else `bassl` in the user's cache folder."""
    if given := os.environ.get("BASSL_CACHE"):
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bassl"


def key_of(*parts: Any) -> str:
    """Return a name for what these parts, plain values, decide."""
    return hashlib.sha256(json.dumps([VERSION, *parts], sort_keys=True, default=str).encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Cache:
    """A folder of results; with None nothing is kept and nothing is found."""

    folder: Path | None

    def read_shots(self, key: str, path: Path, with_features: bool) -> FilmShots | None:
        """Return the shots of the film that now lies at `path`, or None."""
        stored = self._read(f"{key}.shots.npz", () if with_features else ("features",))
        if stored is None:
            return None
        facts = json.loads(str(stored["facts"]))
        times = facts.pop("times")
        ends = np.cumsum([0, *stored["thumbnail_sizes"].tolist()]).tolist()
        joined = stored["thumbnails"].tobytes()
        return FilmShots(
            path=path,
            times=FrameTimes(
                rate=Fraction(times["rate"]),
                start=Fraction(times["start"]),
                num_frames=int(times["num_frames"]),
                ticks=stored["ticks"] if len(stored["ticks"]) else None,
                time_base=Fraction(times["time_base"]),
                last_ticks=int(times["last_ticks"]),
            ),
            frames=stored["frames"],
            thumbnails=tuple(joined[begin:end] for begin, end in pairwise(ends)),
            features=stored.get("features", np.zeros((0, 0), np.float32)),
            **facts | {"warnings": tuple(facts["warnings"])},
        )

    def write_shots(self, key: str, film: FilmShots) -> None:
        """Keep a film's shots."""
        times = asdict(film.times)
        ticks = times.pop("ticks")
        facts = {name: getattr(film, name) for name in FACTS}
        facts["times"] = {name: str(value) for name, value in times.items()}
        self._write(
            f"{key}.shots.npz",
            facts=np.array(json.dumps(facts)),
            ticks=np.zeros(0, np.int64) if ticks is None else ticks,
            frames=film.frames,
            thumbnails=np.frombuffer(b"".join(film.thumbnails), np.uint8),
            thumbnail_sizes=np.array([len(image) for image in film.thumbnails], np.int64),
            features=film.features,
        )

    def read_scores(self, key: str) -> Scores | None:
        """Return a model's scores, or None."""
        stored = self._read(f"{key}.scores.npz", ())
        if stored is None:
            return None
        model = ModelInfo(**json.loads(str(stored["model"])))
        return Scores(stored["probability"], stored["training_free"], model)

    def write_scores(self, key: str, scores: Scores) -> None:
        """Keep a model's scores."""
        self._write(
            f"{key}.scores.npz",
            probability=scores.probability,
            training_free=scores.training_free,
            model=np.array(json.dumps(asdict(scores.model))),
        )

    def _read(self, name: str, without: Iterable[str]) -> dict[str, npt.NDArray[Any]] | None:
        if self.folder is None or not (self.folder / name).is_file():
            return None
        try:
            with np.load(self.folder / name, allow_pickle=False) as stored:
                return {field: stored[field] for field in stored.files if field not in without}
        except (OSError, EOFError, ValueError, zipfile.BadZipFile, KeyError) as error:
            log.warning("%s is damaged (%s) and is computed again", self.folder / name, error)
            return None

    def _write(self, name: str, **fields: npt.NDArray[Any]) -> None:
        """Write an entry; a full or read-only disk costs a warning, not the result."""
        if self.folder is None:
            return
        try:
            write_atomically(self.folder / name, lambda path: np.savez(path, **fields))  # type: ignore[arg-type]
        except OSError as error:
            log.warning("%s cannot be written (%s); the next call computes again", self.folder / name, error.strerror)

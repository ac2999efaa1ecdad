"""Settings of shot detection; needs none of the libraries."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from bassl.errors import InputError
from bassl.video.film_files import fingerprint
from bassl.video.shot_list import ShotList

TRANSNET = "transnetv2"
THRESHOLDS = {"adaptive": 3.0, "content": 27.0, TRANSNET: 0.5}
"""Default threshold of each detector."""


@dataclass(frozen=True)
class DetectorSettings:
    """A shot detector.

    Attributes:
        name: a key of THRESHOLDS.
        threshold: None for the default; a higher one finds fewer cuts.
        min_seconds: the shortest allowed shot.
        network: TransNetV2 as an ONNX file, for that detector only.
    """

    name: str = "adaptive"
    threshold: float | None = None
    min_seconds: float = 0.6
    network: Path | None = None

    def __post_init__(self) -> None:
        """Raise InputError for invalid settings."""
        if self.name not in THRESHOLDS:
            raise InputError(f"shot detector {self.name!r} is unknown; choose {', '.join(THRESHOLDS)}")
        if self.threshold is not None and not 0 < self.threshold < 1000:
            raise InputError(f"shot threshold {self.threshold} is out of range; the default is {THRESHOLDS[self.name]}")
        if not 0 <= self.min_seconds <= 600:
            raise InputError(f"a shortest shot of {self.min_seconds} s is out of range; give 0 to 600 seconds")
        if self.name == TRANSNET and self.network is None:
            raise InputError("detector transnetv2 needs its network; give --transnetv2 FILE.onnx")
        if self.network is not None and self.name != TRANSNET:
            raise InputError(f"{self.network} is for the transnetv2 detector, not for {self.name}; leave it out")
        if self.network is not None and not self.network.is_file():
            raise InputError(f"{self.network} does not exist; give TransNetV2 as an ONNX file")

    @property
    def used_threshold(self) -> float:
        """Return the threshold, or the detector's default."""
        return THRESHOLDS[self.name] if self.threshold is None else self.threshold


@dataclass(frozen=True)
class ShotSettings:
    """Shots from a detector, or from a given list."""

    detector: DetectorSettings = field(default_factory=DetectorSettings)
    given: ShotList | None = None

    def described(self) -> dict[str, Any]:
        """Return the settings for the results."""
        if self.given is not None:
            return {"name": "given", "file": self.given.path.name}
        found = asdict(self.detector)
        found["network"] = None if self.detector.network is None else self.detector.network.name
        return {**found, "threshold": self.detector.used_threshold}

    def key_parts(self) -> list[Any]:
        """Return everything that decides the shots, for the cache."""
        if self.given is not None:
            return ["given", self.given.frames.tolist(), [[str(a), str(b)] for a, b in self.given.seconds or ()]]
        network = self.detector.network
        return ["detected", self.described(), None if network is None else fingerprint(network)]

"""Find where shots end, while the frames of a film are read."""

from __future__ import annotations

from fractions import Fraction
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from av.video.reformatter import VideoReformatter

from bassl.video import pyscenedetect
from bassl.video.reader import Picture
from bassl.video.settings import TRANSNET, DetectorSettings

LONG_SIDE = 256  # pixels; PySceneDetect's own default


class CutFinder:
    """Reports the first frames of new shots in ascending order, some frames late."""

    def __init__(self, settings: DetectorSettings, rate: Fraction) -> None:
        """rate: nominal frames per second. Raises InputError if a library or the network is missing."""
        min_frames = max(1, round(settings.min_seconds * rate))
        self._detector: Detector
        self._size: tuple[int, int] | None = None
        if settings.name == TRANSNET:
            from bassl.video.transnet import HEIGHT, WIDTH, TransNetV2

            assert settings.network is not None
            self._detector = TransNetV2(settings.network, settings.used_threshold, min_frames)
            self._size, self._format = (WIDTH, HEIGHT), "rgb24"
        else:
            self._detector = PySceneDetect(settings.name, settings.used_threshold, min_frames, rate)
            self._format = "bgr24"
        self._shrink = VideoReformatter()

    def push(self, picture: Picture) -> list[int]:
        """Return the cuts that this frame makes certain."""
        small = picture.small
        scale = LONG_SIDE / max(small.width, small.height)
        width, height = self._size or (max(2, round(small.width * scale)), max(2, round(small.height * scale)))
        image = self._shrink.reformat(small, width=width, height=height, format=self._format, interpolation="AREA")
        return self._detector.push(np.asarray(image.to_ndarray(), np.uint8))

    def finish(self) -> list[int]:
        """Return the cuts that only the end of the film makes certain."""
        return self._detector.finish()


class Detector(Protocol):
    """Finds cuts in a sequence of images (H, W, 3)."""

    def push(self, image: npt.NDArray[np.uint8], /) -> list[int]:
        """Return the cuts that this frame makes certain."""

    def finish(self) -> list[int]:
        """Return the remaining cuts."""


class PySceneDetect:
    """A detector of PySceneDetect; images are BGR."""

    def __init__(self, name: str, threshold: float, min_frames: int, rate: Fraction) -> None:
        library = pyscenedetect()
        self._timecode, self._rate = library.FrameTimecode, rate
        self._detector: Any
        if name == "adaptive":
            self._detector = library.AdaptiveDetector(adaptive_threshold=threshold, min_scene_len=min_frames)
        else:
            self._detector = library.ContentDetector(threshold=threshold, min_scene_len=min_frames)
        self._num_seen = 0

    def push(self, image: npt.NDArray[np.uint8], /) -> list[int]:
        """Return the cuts that this frame makes certain."""
        now = self._timecode(self._num_seen, self._rate)
        self._num_seen += 1
        return [cut.frame_num for cut in self._detector.process_frame(now, image)]

    def finish(self) -> list[int]:
        """Return the remaining cuts."""
        last = self._timecode(max(0, self._num_seen - 1), self._rate)
        return [cut.frame_num for cut in self._detector.post_process(last)]

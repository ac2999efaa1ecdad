"""Where one shot ends and the next begins: PySceneDetect's detectors, fed one frame at a time."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from av.video.reformatter import VideoReformatter

from bassl.errors import InputError
from bassl.segment.video import Picture

DETECTORS = ("adaptive", "content", "transnetv2")
LONG_SIDE = 256  # pixels; PySceneDetect's own default
THRESHOLDS = {"adaptive": 3.0, "content": 27.0, "transnetv2": 0.5}


@dataclass(frozen=True)
class DetectorSettings:
    """How shots are found.

    name: one of DETECTORS. threshold: of PySceneDetect, None for its default; higher finds fewer cuts. min_seconds: the
    shortest shot there may be. model: file of TransNetV2 in ONNX form, for that detector only.
    """

    name: str = "adaptive"
    threshold: float | None = None
    min_seconds: float = 0.6
    model: Path | None = None

    def checked(self) -> DetectorSettings:
        """The same, or InputError for what cannot be."""
        if self.name not in DETECTORS:
            raise InputError(f"shot detector {self.name!r} is unknown; choose one of {', '.join(DETECTORS)}")
        if self.threshold is not None and not self.threshold > 0:
            raise InputError(f"shot threshold {self.threshold} is not above 0; the default is {THRESHOLDS[self.name]}")
        if not 0 <= self.min_seconds <= 600:
            raise InputError(f"shortest shot {self.min_seconds} s is not between 0 and 600 seconds")
        if (self.name == "transnetv2") != (self.model is not None):
            raise InputError(
                "detector transnetv2 needs its network: give --transnetv2 FILE.onnx"
                if self.model is None
                else f"{self.model} is read by the transnetv2 detector alone, and {self.name} was chosen"
            )
        if self.model is not None and not self.model.is_file():
            raise InputError(f"{self.model} does not exist; give TransNetV2 as an ONNX file")
        return self

    def described(self) -> dict[str, Any]:
        """For the record: names and numbers only."""
        threshold = THRESHOLDS[self.name] if self.threshold is None else self.threshold
        return {**asdict(self), "threshold": threshold, "model": self.model.name if self.model else None}


class CutFinder:
    """First frames of new shots, found while the frames go by, some frames late."""

    def __init__(self, settings: DetectorSettings, rate: Fraction) -> None:
        """rate: frames a second, nominal. Raises InputError where the detector lacks a library."""
        self._rate = rate
        self._detector = _detector(settings, max(1, round(settings.min_seconds * rate)))
        self._last: Any = None
        self._shrink = VideoReformatter()

    def push(self, picture: Picture) -> list[int]:
        """Cuts that this frame makes sure of."""
        from scenedetect import FrameTimecode

        self._last = FrameTimecode(picture.index, self._rate)
        small = picture.small
        scale = LONG_SIDE / max(small.width, small.height)
        width, height = (max(2, round(side * scale)) for side in (small.width, small.height))
        image = self._shrink.reformat(small, width=width, height=height, format="bgr24", interpolation="AREA")
        return self._frames(self._detector.process_frame(self._last, image.to_ndarray()))

    def finish(self) -> list[int]:
        """Cuts known only now that the film is over."""
        return self._frames(self._detector.post_process(self._last))

    @staticmethod
    def _frames(cuts: list[Any]) -> list[int]:
        return [cut.frame_num for cut in cuts]


def _detector(settings: DetectorSettings, min_frames: int) -> Any:
    import scenedetect

    threshold = THRESHOLDS[settings.name] if settings.threshold is None else settings.threshold
    if settings.name == "adaptive":
        return scenedetect.AdaptiveDetector(adaptive_threshold=threshold, min_scene_len=min_frames)
    if settings.name == "content":
        return scenedetect.ContentDetector(threshold=threshold, min_scene_len=min_frames)
    try:
        import onnxruntime  # noqa: F401
        from scenedetect.detectors.transnet_v2 import TransnetV2Detector
    except ImportError as error:
        raise InputError("detector transnetv2 needs ONNX Runtime; install it with pip install onnxruntime") from error
    return TransnetV2Detector(model_path=str(settings.model), threshold=threshold, min_scene_len=min_frames)

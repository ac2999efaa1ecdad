"""Where one shot ends and the next begins: PySceneDetect's detectors, fed one frame at a time."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from av.video.reformatter import VideoReformatter

from bassl.errors import InputError
from bassl.segment.extras import pyscenedetect
from bassl.segment.settings import DetectorSettings
from bassl.segment.video import Picture

LONG_SIDE = 256  # pixels; PySceneDetect's own default


class CutFinder:
    """First frames of new shots, found while the frames go by, some frames late."""

    def __init__(self, settings: DetectorSettings, rate: Fraction) -> None:
        """rate: frames a second, nominal. Raises InputError where the detector lacks a library."""
        self._rate = rate
        self._timecode = pyscenedetect().FrameTimecode
        self._detector = _detector(settings, max(1, round(settings.min_seconds * rate)))
        self._last: Any = None
        self._shrink = VideoReformatter()

    def push(self, picture: Picture) -> list[int]:
        """Cuts that this frame makes sure of."""
        self._last = self._timecode(picture.index, self._rate)
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
    scenedetect = pyscenedetect()
    if settings.name == "adaptive":
        return scenedetect.AdaptiveDetector(adaptive_threshold=settings.used_threshold, min_scene_len=min_frames)
    if settings.name == "content":
        return scenedetect.ContentDetector(threshold=settings.used_threshold, min_scene_len=min_frames)
    try:
        import onnxruntime  # noqa: F401
        from scenedetect.detectors.transnet_v2 import TransnetV2Detector
    except ImportError as error:
        raise InputError("detector transnetv2 needs ONNX Runtime; install it with: pip install onnxruntime") from error
    return TransnetV2Detector(
        model_path=str(settings.network), threshold=settings.used_threshold, min_scene_len=min_frames
    )

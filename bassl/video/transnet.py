"""TransNetV2 (Soucek and Lokoc, 2020), run frame by frame from an ONNX file.

Windows and padding are those of the authors' inference code: 100 frames of 48 x 27 pixels, the middle 50 used,
with the film's first and last frame repeated at its ends. (As of 0.7.2, PySceneDetect's TransNetV2 detector loses
a film's first cut and adds one before its last frame.)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from bassl.errors import InputError

WIDTH, HEIGHT = 48, 27
WINDOW, MARGIN = 100, 25  # frames


class TransNetV2:
    """Reports cuts from the network's probabilities, some 75 frames late; takes frames (27, 48, 3) uint8 RGB."""

    def __init__(self, network: Path, threshold: float, min_frames: int) -> None:
        """Read the network: input (B, 100, 27, 48, 3), first output (B, 100, 1), probabilities.

        Raises InputError if ONNX Runtime is missing, or the file is not such a network.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise InputError("TransNetV2 needs ONNX Runtime; install it with: pip install onnxruntime") from error
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(network), providers=onnxruntime.get_available_providers()
            )
        except Exception as error:  # ONNX Runtime has its own exceptions for each way to fail
            raise InputError(f"{network} cannot be read as an ONNX network ({error})") from error
        self._network, self._threshold, self._min_frames = network, threshold, min_frames
        self._frames: list[npt.NDArray[np.uint8]] = []
        self._num_seen = self._num_judged = self._last_cut = 0
        self._transition: int | None = None

    def push(self, image: npt.NDArray[np.uint8]) -> list[int]:
        """Return the first frames of new shots that are certain now."""
        if not self._frames:
            self._frames = [image] * MARGIN
        self._frames.append(image)
        self._num_seen += 1
        return self._judge() if len(self._frames) == WINDOW else []

    def finish(self) -> list[int]:
        """Return the remaining cuts at the end of the film."""
        cuts = []
        while self._num_judged < self._num_seen:
            self._frames += [self._frames[-1]] * (WINDOW - len(self._frames))
            cuts += self._judge()
        return cuts

    def _judge(self) -> list[int]:
        """Judge the middle of the window, and advance by its length."""
        probability = self._predict(np.stack(self._frames))[MARGIN : WINDOW - MARGIN]
        self._frames = self._frames[WINDOW - 2 * MARGIN :]
        cuts = []
        for value in probability[: self._num_seen - self._num_judged]:
            cuts += self._step(self._num_judged, bool(value > self._threshold))
            self._num_judged += 1
        return cuts

    def _step(self, frame: int, is_transition: bool) -> list[int]:
        """End a shot with the frame that the network marks; of a run of marked frames, with the middle one."""
        if is_transition:
            self._transition = frame if self._transition is None else self._transition
            return []
        if self._transition is None:
            return []
        cut = (self._transition + frame - 1) // 2 + 1
        self._transition = None
        if cut - self._last_cut < self._min_frames:
            return []
        self._last_cut = cut
        return [cut]

    def _predict(self, window: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        inputs = self._session.get_inputs()[0]
        images = window[None] if "uint8" in inputs.type else window[None].astype(np.float32)
        try:
            found = np.asarray(self._session.run(None, {inputs.name: images})[0], np.float32).reshape(-1)
        except Exception as error:
            raise InputError(f"{self._network} does not run as TransNetV2 ({error}); see docs/video.md") from error
        if found.shape != (WINDOW,):
            raise InputError(f"{self._network} is not TransNetV2: it gives {found.size} numbers for {WINDOW} frames")
        return found

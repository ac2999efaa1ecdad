"""Scenes and shots as PySceneDetect's own objects, for its writers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bassl.segment.scenes import Moment, Scene, Segmentation, Shot
from bassl.video.extras import pyscenedetect


def at_positions(segmentation: Segmentation, parts: Sequence[Scene | Shot], first: int = 0) -> list[tuple[Any, Any]]:
    """Start and end of each part as FrameTimecodes in whole frames at the film's (nominal) rate, exact.

    first: number to give the film's first frame.
    """
    timecode = pyscenedetect().FrameTimecode
    rate = segmentation.times.rate
    return [(timecode(first + part.start.position, rate), timecode(first + part.end.position, rate)) for part in parts]


def at_times(segmentation: Segmentation, parts: Sequence[Scene | Shot]) -> list[tuple[Any, Any]]:
    """The same in time since the first frame: other than `at_positions` only at variable frame rates."""
    times = segmentation.times
    if not times.is_variable:
        return at_positions(segmentation, parts)
    library = pyscenedetect()

    def at(moment: Moment) -> Any:
        ticks = (moment.seconds - times.start) / times.time_base
        assert ticks.denominator == 1, ticks
        return library.FrameTimecode(library.common.Timecode(int(ticks), times.time_base), times.rate)

    return [(at(part.start), at(part.end)) for part in parts]

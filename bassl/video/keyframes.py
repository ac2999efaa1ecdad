"""Shots with their three key-frames, in one pass over the film.

Which frames are key-frames is known only when the shot has ended, so the small frames of the running shot are
kept; but no more of them than BUFFER, so that memory does not grow with the length of a shot. Those of longer
shots are read again from the file, by jumping to them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from bassl.dataset.shot_files import keyframe_numbers
from bassl.video.cuts import CutFinder
from bassl.video.reader import FilmReader, Picture, RgbImage
from bassl.video.refetch import FrameFetcher

BUFFER = 600  # frames of 150 kB: 90 MB
LATE = 16  # frames by which a detector may report a cut late without a frame being lost from the buffer


@dataclass(frozen=True)
class ShotKeyframes:
    """A shot: first and last frame, the numbers of its three key-frames, and these, each (H, W, 3) uint8 RGB."""

    first: int
    last: int
    numbers: tuple[int, int, int]
    images: tuple[RgbImage, RgbImage, RgbImage]


def detected_shots(
    reader: FilmReader, finder: CutFinder, buffer: int = BUFFER, on_frame: Callable[[], object] = lambda: None
) -> Iterator[ShotKeyframes]:
    """Shots as `finder` cuts the film, each as soon as it is known. They follow each other without gaps.

    `buffer`: most frames to keep; has no effect on what comes out. `on_frame` is called for every frame.
    """
    kept: deque[Picture] = deque()
    first = 0
    with FrameFetcher(reader) as fetcher:
        for picture in reader.pictures():
            on_frame()
            kept.append(picture)
            for cut in finder.push(picture):
                if cut > first:
                    yield _shot(first, cut - 1, kept, fetcher)
                    first = cut
            _forget(kept, first + max(0, picture.index - LATE - first) // 4, buffer)
        for cut in finder.finish():
            if cut > first:
                yield _shot(first, cut - 1, kept, fetcher)
                first = cut
        yield _shot(first, len(reader.ticks) - 1, kept, fetcher)


def given_shots(
    reader: FilmReader, frames: npt.NDArray[np.int64], on_frame: Callable[[], object] = lambda: None
) -> Iterator[ShotKeyframes]:
    """Shots whose first and last frames, (num_shots, 2) in order, are known already.

    Shots that the film ends before are left out, and the one that it ends in is cut short there.
    """
    waiting = deque((int(first), int(last)) for first, last in frames)
    kept: dict[int, Picture] = {}
    wanted = sorted({number for shot in waiting for number in keyframe_numbers(*shot)}, reverse=True)
    for picture in reader.pictures():
        on_frame()
        while wanted and wanted[-1] < picture.index:
            wanted.pop()
        if wanted and wanted[-1] == picture.index:
            kept[picture.index] = picture
        while waiting and picture.index >= waiting[0][1]:
            yield _kept_shot(*waiting.popleft(), kept)
    num_frames = len(reader.ticks)
    if waiting and waiting[0][0] < num_frames:
        first, last = waiting[0][0], num_frames - 1
        with FrameFetcher(reader) as fetcher:
            yield _shot(first, last, deque(kept.values()), fetcher)


def _kept_shot(first: int, last: int, kept: dict[int, Picture]) -> ShotKeyframes:
    numbers = keyframe_numbers(first, last)
    images = [kept[number].rgb() for number in numbers]
    for number in [number for number in kept if number <= last]:
        del kept[number]
    return ShotKeyframes(first, last, numbers, (images[0], images[1], images[2]))


def _shot(first: int, last: int, kept: deque[Picture], fetcher: FrameFetcher) -> ShotKeyframes:
    """The shot, with key-frames out of what is kept, else fetched; nothing up to its end is kept any longer."""
    numbers = keyframe_numbers(first, last)
    at_hand = {picture.index: picture for picture in kept if picture.index in numbers}
    at_hand |= fetcher.fetch(sorted(set(numbers) - set(at_hand)))
    while kept and kept[0].index <= last:
        kept.popleft()
    images = [at_hand[number].rgb() for number in numbers]
    return ShotKeyframes(first, last, numbers, (images[0], images[1], images[2]))


def _forget(kept: deque[Picture], oldest: int, limit: int) -> None:
    """Drop the frames before `oldest`, which no key-frame can be any more, and the oldest above the limit."""
    while kept and (kept[0].index < oldest or len(kept) > limit):
        kept.popleft()

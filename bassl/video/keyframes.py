"""Find shots with their three key-frames in one pass over a film.

Key-frames are known only when a shot has ended, so the small frames of the current shot are kept, at most BUFFER of
them. Those of longer shots are read again from the file, by seeking.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType

import numpy as np
import numpy.typing as npt

from bassl.dataset.shot_files import keyframe_numbers
from bassl.errors import InputError
from bassl.video.cuts import CutFinder
from bassl.video.reader import FilmReader, Picture, RgbImage

BUFFER = 600  # frames of 150 kB: 90 MB
LATE = 16  # frames after a cut within which a detector reports it, without losing a frame from the buffer
NEAR = 150  # frames ahead that are cheaper to decode than to seek
EARLIER = (0, 10, 60)  # seconds before a frame to seek to, until one lands before it


@dataclass(frozen=True)
class ShotKeyframes:
    """A shot: first and last frame, and numbers and images, (H, W, 3) uint8 RGB, of its three key-frames."""

    first: int
    last: int
    numbers: tuple[int, int, int]
    images: tuple[RgbImage, RgbImage, RgbImage]


def detected_shots(
    reader: FilmReader, finder: CutFinder, buffer: int = BUFFER, on_frame: Callable[[], object] = lambda: None
) -> Iterator[ShotKeyframes]:
    """Yield shots as `finder` cuts the film, without gaps, each as soon as it is known.

    Args:
        buffer: frames to keep at most; does not change the result.
        on_frame: called for every frame.
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
    """Yield shots with the given first and last frames, (num_shots, 2) in order.

    Shots after the end of the film are left out, and the one that it ends in is shortened.
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
    """Return a shot with key-frames from `kept`, else fetched, and drop the frames up to its end from `kept`."""
    numbers = keyframe_numbers(first, last)
    pictures = {picture.index: picture for picture in kept if picture.index in numbers}
    pictures |= fetcher.fetch(sorted(set(numbers) - set(pictures)))
    while kept and kept[0].index <= last:
        kept.popleft()
    images = [pictures[number].rgb() for number in numbers]
    return ShotKeyframes(first, last, numbers, (images[0], images[1], images[2]))


def _forget(kept: deque[Picture], oldest: int, limit: int) -> None:
    """Drop the frames before `oldest`, which cannot be key-frames, and the oldest above the limit."""
    while kept and (kept[0].index < oldest or len(kept) > limit):
        kept.popleft()


class FrameFetcher:
    """Read frames that `reader` has passed already, through a second reader; a context manager.

    Frames are identified by their times. If a film has no times, or seeking fails, frames are counted from its start.
    """

    def __init__(self, reader: FilmReader) -> None:
        self._counted = reader
        self._second: FilmReader | None = None
        self._timed: Iterator[tuple[int, Picture]] = iter(())
        self._last_fetched: int | None = None
        self._counting: Iterator[Picture] | None = None

    def __enter__(self) -> FrameFetcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def fetch(self, numbers: Sequence[int]) -> dict[int, Picture]:
        """Return the frames with these ascending numbers, by number.

        Raises:
            InputError: if the file no longer holds them.
        """
        pictures = {}
        for number in numbers:
            picture = self._by_time(number) if self._counted.is_timed and self._counting is None else None
            pictures[number] = picture or self._by_counting(number)
            self._last_fetched = number
        return pictures

    def _by_time(self, number: int) -> Picture | None:
        tick = self._counted.ticks[number]
        is_near = self._last_fetched is not None and 0 < number - self._last_fetched <= NEAR
        if is_near and (found := self._next_at(tick, number)):
            return found
        if self._second is None:
            self._second = FilmReader(self._counted.path)
        for seconds in EARLIER:
            self._timed = self._second.pictures_from(tick - round(seconds / self._second.time_base))
            if found := self._next_at(tick, number):
                return found
        return None

    def _next_at(self, tick: int, number: int) -> Picture | None:
        """Return the frame with this time, if it comes before any later one."""
        for at, picture in self._timed:
            if at == tick:
                return Picture(number, picture.small, picture.rotation)
            if at > tick:
                return None
        return None

    def _by_counting(self, number: int) -> Picture:
        if self._counting is None or (self._last_fetched is not None and self._last_fetched >= number):
            self._close()
            self._second = FilmReader(self._counted.path)
            self._counting = self._second.pictures()
        for picture in self._counting:
            if picture.index == number:
                return picture
        raise InputError(
            f"frame {number} of {self._counted.path} has disappeared; do not change a film while it is read"
        )

    def _close(self) -> None:
        if self._second is not None:
            self._second.close()
            self._second = None

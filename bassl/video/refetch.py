"""Single frames of a film that is being read, read a second time by jumping to them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import TracebackType

from bassl.errors import InputError
from bassl.video.reader import FilmReader, Picture

NEAR = 150  # frames ahead that are cheaper to decode than to jump to
FURTHER_BACK = (0, 10, 60)  # seconds before a frame to jump to, until one of the jumps lands before it


class FrameFetcher:
    """Fetches frames that `reader` has read before, through a second reader, opened when first needed.

    A context manager. Frames are told by their times, so what comes back is the very frame that was counted;
    where a film has no times, or jumping in it fails, frames are counted from its beginning.
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
        """The frames with these numbers, ascending, by number.

        Raises:
            InputError: the file no longer holds them.
        """
        found = {}
        for number in numbers:
            picture = self._by_time(number) if self._counted.is_timed and self._counting is None else None
            found[number] = picture or self._by_counting(number)
            self._last_fetched = number
        return found

    def _by_time(self, number: int) -> Picture | None:
        tick = self._counted.ticks[number]
        is_near = self._last_fetched is not None and 0 < number - self._last_fetched <= NEAR
        if is_near and (found := self._next_at(tick, number)):
            return found
        if self._second is None:
            self._second = FilmReader(self._counted.path)
        for seconds in FURTHER_BACK:
            self._timed = self._second.pictures_from(tick - round(seconds / self._second.time_base))
            if found := self._next_at(tick, number):
                return found
        return None

    def _next_at(self, tick: int, number: int) -> Picture | None:
        """The frame with this time, if it comes before any later one."""
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
            f"frame {number} of {self._counted.path} was there and is not any more; "
            "do not change a film while it is read"
        )

    def _close(self) -> None:
        if self._second is not None:
            self._second.close()
            self._second = None

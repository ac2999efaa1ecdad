"""Exact display times of frames, at constant and at variable frame rates."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from bassl.errors import InputError

COMMON_RATES = (
    *(Fraction(rate) for rate in (24, 25, 30, 48, 50, 60, 12, 15, 100, 120)),
    *(Fraction(1000 * rate, 1001) for rate in (24, 30, 60, 48, 15, 120)),
)
ROUNDING = 0.002  # seconds by which containers round times (Matroska: to milliseconds)
MAX_RATE = 1000
MAX_GRID = 60  # frames per second; a finer grid fits anything


@dataclass(frozen=True)
class FrameTimes:
    """Display times of frames 0 .. num_frames - 1 on the clock that players show.

    Attributes:
        rate: frames per second, exact if constant, else the nominal rate that editors conform the film to.
        start: seconds at which frame 0 is shown, 0 in most films.
        ticks: (num_frames,) display times in units of `time_base` from frame 0's; None at a constant rate.
        time_base: seconds per tick.
        last_ticks: duration of the last frame.
    """

    rate: Fraction
    start: Fraction
    num_frames: int
    ticks: npt.NDArray[np.int64] | None = None
    time_base: Fraction = Fraction(1)
    last_ticks: int = 0

    @property
    def is_variable(self) -> bool:
        """Whether frames have different durations."""
        return self.ticks is not None

    @property
    def duration(self) -> Fraction:
        """Seconds from the start of frame 0 to the end of the last."""
        return self.seconds(self.num_frames) - self.start

    def seconds(self, frame: int) -> Fraction:
        """Return the exact seconds at which a frame starts, or for `num_frames` at which the film ends."""
        assert 0 <= frame <= self.num_frames, f"frame {frame} of {self.num_frames}"
        if self.ticks is None:
            return self.start + frame / self.rate
        if frame < self.num_frames:
            return self.start + int(self.ticks[frame]) * self.time_base
        return self.start + (int(self.ticks[-1]) + self.last_ticks) * self.time_base

    def position(self, frame: int) -> int:
        """Return the frame number at the constant rate of an editor: the frame's own, or the nearest to its time."""
        if self.ticks is None:
            return frame
        return round((self.seconds(frame) - self.start) * self.rate)

    def distinct_positions(self, frames: Sequence[int]) -> dict[int, int]:
        """Return `position` of ascending frames, moved so that no two share one.

        Editors take no clip shorter than a frame. No position is after the end of the film unless there are more
        frames than positions.
        """
        if self.ticks is None:
            return {frame: frame for frame in frames}
        steps = np.arange(len(frames))
        apart = np.maximum.accumulate(np.array([self.position(frame) for frame in frames]) - steps) + steps
        last = max(self.position(self.num_frames), len(frames) - 1)
        return dict(zip(frames, np.minimum(apart, last - steps[::-1]).tolist(), strict=True))

    def nearest_frame(self, seconds: Fraction) -> int:
        """Return the frame that starts nearest to a time on the film's clock; `num_frames` at its end."""
        if self.ticks is None:
            return min(max(round((seconds - self.start) * self.rate), 0), self.num_frames)
        ends = np.append(self.ticks, self.ticks[-1] + self.last_ticks)
        return int(np.abs(ends - float((seconds - self.start) / self.time_base)).argmin())


def measure_times(
    ticks: Sequence[int] | npt.NDArray[np.int64],
    time_base: Fraction,
    guesses: Iterable[Fraction | None],
    start: Fraction = Fraction(0),
    last_ticks: int | None = None,
) -> FrameTimes:
    """Return the times of frames shown at strictly increasing `ticks`, in units of time_base seconds.

    The rate is constant if one of the guesses, or a common rate, fits every frame to 2 ms (Matroska rounds to 1 ms)
    and a quarter of a frame. Else each frame has its own time.

    Args:
        guesses: rates stated by the container, most trusted first; None and absurd ones are skipped.
        start: seconds of the first frame on the film's clock.
        last_ticks: duration of the last frame, if stated by the container.

    Raises:
        InputError: if there are no frames.
    """
    shown = np.asarray(ticks, dtype=np.int64)
    if not len(shown):
        raise InputError("the film has no frames")
    shown = shown - shown[0]
    trusted = [Fraction(guess) for guess in guesses if guess is not None and 0 < guess <= MAX_RATE]
    if len(shown) == 1:
        return FrameTimes(trusted[0] if trusted else Fraction(24), start, 1)
    mean = Fraction(len(shown) - 1) / (int(shown[-1]) * time_base)
    seconds = shown * float(time_base)
    near_mean = sorted((rate for rate in COMMON_RATES if abs(rate / mean - 1) < 0.01), key=lambda r: abs(r - mean))
    for rate in (*trusted, *near_mean):
        drift = np.abs(seconds - np.arange(len(shown)) / float(rate))
        if drift.max() <= min(max(ROUNDING, float(time_base)), 0.25 / float(rate)):
            return FrameTimes(rate, start, len(shown))
    usual = last_ticks or int(np.median(np.diff(shown)))
    return FrameTimes(_nominal(mean, trusted, seconds), start, len(shown), shown, time_base, max(1, usual))


def _nominal(mean: Fraction, trusted: list[Fraction], seconds: npt.NDArray[np.float64]) -> Fraction:
    """Return a rate that editors know for a variable rate, so that timecode follows the clock.

    In this order: the container's if it is near the mean, or if all frames lie on its grid; a common one near the mean;
    a whole one of the container's; the next whole common one above the mean, so that no frame is lost.
    """
    known = [rate for rate in trusted if rate in COMMON_RATES]
    if near := _nearest(known, mean, 0.05):
        return near
    for rate in known:
        places = seconds * float(rate)
        if rate <= MAX_GRID and np.abs(places - np.rint(places)).max() <= min(0.25, ROUNDING * float(rate)):
            return rate
    whole = [rate for rate in trusted if rate.denominator == 1]
    near = _nearest(COMMON_RATES, mean, 0.02) or _nearest(whole, mean, 0.25)
    above = (rate for rate in COMMON_RATES if rate >= mean and rate.denominator == 1)
    return near or min(above, default=Fraction(math.ceil(mean)))


def _nearest(candidates: Iterable[Fraction], mean: Fraction, tolerance: float) -> Fraction | None:
    near = min(candidates, key=lambda rate: abs(rate - mean), default=None)
    return near if near is not None and abs(near / mean - 1) < tolerance else None

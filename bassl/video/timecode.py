"""Format exact times as SMPTE timecodes and clock times.

SMPTE timecode counts frames. At 23.976 frames per second it counts 24 per "second", so after an hour it is 3.6 s behind
the clock. Drop-frame timecode (29.97 and 59.94 only, SMPTE ST 12-1) skips frame numbers, not frames, at the start of
every minute except each tenth, and so follows the clock. It is written with a semicolon.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction

DROP_FRAME_RATES = (Fraction(30000, 1001), Fraction(60000, 1001))
DAY_HOURS = 24
TAG = re.compile(r"(\d\d):(\d\d):(\d\d)([:;.])(\d\d\d?)")


def uses_drop_frame(rate: Fraction) -> bool:
    """Whether timecode at `rate` frames per second is drop-frame by custom: 29.97 and 59.94."""
    return rate in DROP_FRAME_RATES


def frames_per_count(rate: Fraction) -> int:
    """Return the frames that timecode counts per second: `rate` rounded, 24 for 23.976."""
    return max(1, math.floor(rate + Fraction(1, 2)))


def timecode(frame: int, rate: Fraction, drop: bool | None = None) -> str:
    """Return the SMPTE timecode `HH:MM:SS:FF` (`HH:MM:SS;FF` in drop-frame) of a frame, counted from 0.

    It wraps after 24 hours. With `drop` None, `uses_drop_frame` decides.
    """
    assert frame >= 0, f"frame {frame} is negative"
    count = frames_per_count(rate)
    is_drop = uses_drop_frame(rate) if drop is None else drop
    if is_drop:
        assert count % 30 == 0, f"drop-frame timecode is not defined at {rate} frames a second"
        frame = _drop_frame_number(frame, count)
    seconds, frames = divmod(frame, count)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    mark = ";" if is_drop else ":"
    return f"{hours % DAY_HOURS:02d}:{minutes:02d}:{seconds:02d}{mark}{frames:0{max(2, len(str(count - 1)))}d}"


@dataclass(frozen=True)
class TimecodeTrack:
    """How a film counts: the number of its frame 0 (`first`), and whether it is drop-frame (`drop`)."""

    rate: Fraction
    first: int
    drop: bool

    @classmethod
    def of(cls, rate: Fraction, tag: str | None) -> TimecodeTrack:
        """Return the track of a file with a `timecode` tag such as 01:00:00:00; without one it starts at 0."""
        match = TAG.fullmatch(tag.strip()) if tag else None
        count = frames_per_count(rate)
        if match is None or int(match[2]) > 59 or int(match[3]) > 59 or int(match[5]) >= count:
            return cls(rate, 0, uses_drop_frame(rate))
        hours, minutes, seconds, frames = (int(match[group]) for group in (1, 2, 3, 5))
        drop = match[4] in ";." and uses_drop_frame(rate)
        whole_minutes = 60 * hours + minutes
        dropped = count // 15 * (whole_minutes - whole_minutes // 10) if drop else 0
        return cls(rate, (60 * whole_minutes + seconds) * count + frames - dropped, drop)

    def text(self, position: int) -> str:
        """Return the timecode of the frame at a position of the film."""
        return timecode(self.first + position, self.rate, self.drop)


def clock(seconds: Fraction) -> str:
    """Return `HH:MM:SS.mmm`, rounded up so that a player that seeks there shows the frame that starts then."""
    milliseconds = math.ceil(seconds * 1000)
    whole, milliseconds = divmod(milliseconds, 1000)
    minutes, whole = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{whole:02d}.{milliseconds:03d}"


def short_clock(seconds: Fraction) -> str:
    """Return `M:SS` or `H:MM:SS`, rounded down."""
    minutes, whole = divmod(math.floor(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{whole:02d}" if hours else f"{minutes}:{whole:02d}"


def _drop_frame_number(frame: int, count: int) -> int:
    """Return the number that drop-frame timecode shows: each minute but the tenth skips 2 numbers (4 at 59.94)."""
    dropped = count // 15
    per_minute = 60 * count - dropped
    per_ten_minutes = 10 * 60 * count - 9 * dropped
    tens, rest = divmod(frame, per_ten_minutes)
    minutes = max(0, rest - dropped) // per_minute
    return frame + dropped * (9 * tens + minutes)

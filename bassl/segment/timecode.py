"""Times as people and editors write them: SMPTE timecodes, clock times, exact seconds. Nothing is ever a float.

SMPTE timecode counts frames: at 23.976 frames a second it counts 24 to a "second", so after an hour it is 3.6 s
behind the clock. Drop-frame timecode (29.97 and 59.94 only, SMPTE ST 12-1) leaves out frame numbers, not frames, at
the start of every minute but each tenth, and so stays with the clock; it is written with a semicolon.
"""

from __future__ import annotations

import math
from fractions import Fraction

DROP_FRAME_RATES = (Fraction(30000, 1001), Fraction(60000, 1001))
DAY_HOURS = 24


def uses_drop_frame(rate: Fraction) -> bool:
    """Whether timecode at `rate` frames a second is drop-frame by custom: 29.97 and 59.94."""
    return rate in DROP_FRAME_RATES


def frames_per_count(rate: Fraction) -> int:
    """Frames that timecode counts to a second: `rate` rounded, 24 for 23.976."""
    return max(1, math.floor(rate + Fraction(1, 2)))


def timecode(frame: int, rate: Fraction, drop: bool | None = None) -> str:
    """SMPTE timecode `HH:MM:SS:FF` (`HH:MM:SS;FF` in drop-frame) of frame number `frame`, counted from 0.

    `rate` in frames a second; `drop` None: drop-frame where `uses_drop_frame`. Starts again at 0 after 24 hours, as
    clocks in editors do.
    """
    assert frame >= 0, f"frame {frame} is negative"
    count = frames_per_count(rate)
    is_drop = uses_drop_frame(rate) if drop is None else drop
    if is_drop:
        assert count % 30 == 0, f"drop-frame timecode is not defined at {rate} frames a second"
        frame = _with_left_out_numbers(frame, count)
    seconds, frames = divmod(frame, count)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    width = len(str(count - 1))
    return f"{hours % DAY_HOURS:02d}:{minutes:02d}:{seconds:02d}{';' if is_drop else ':'}{frames:0{max(2, width)}d}"


def clock(seconds: Fraction) -> str:
    """`HH:MM:SS.mmm`, rounded up to a millisecond: a player that seeks there shows the frame that starts then.

    Rounded to the nearest it would often show the frame before.
    """
    milliseconds = math.ceil(seconds * 1000)
    whole, milliseconds = divmod(milliseconds, 1000)
    minutes, whole = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{whole:02d}.{milliseconds:03d}"


def short_clock(seconds: Fraction) -> str:
    """`M:SS` or `H:MM:SS`, rounded down: for people."""
    minutes, whole = divmod(math.floor(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{whole:02d}" if hours else f"{minutes}:{whole:02d}"


def _with_left_out_numbers(frame: int, count: int) -> int:
    """The frame number that drop-frame timecode shows: 2 numbers a minute left out (4 at 59.94), none each tenth."""
    dropped = count // 15
    per_minute = 60 * count - dropped
    per_ten_minutes = 10 * 60 * count - 9 * dropped
    tens, rest = divmod(frame, per_ten_minutes)
    minutes = max(0, rest - dropped) // per_minute
    return frame + dropped * (9 * tens + minutes)

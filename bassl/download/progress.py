"""A progress line for work that is counted in bytes, without any package."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TextIO


class Progress:
    """Says what is done, of what, how fast and how much longer: on a terminal one line that renews itself,
    elsewhere a line every 30 seconds.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self.stream, self.clock = stream, clock
        self.is_terminal = stream.isatty()

    def of(self, name: str) -> Callable[[int, int | None], None]:
        """Begin something new; call the result with what is done and what there is, in bytes."""
        self.name, self.begun, self.due = name, self.clock(), 0.0
        self.first: int | None = None
        self.is_whole = False
        return self._report

    def _report(self, done: int, total: int | None) -> None:
        now = self.clock()
        if self.first is None:
            self.first = done
        if self.is_whole or (now < self.due and done != total):
            return
        self.is_whole = done == total
        self.due = now + (0.2 if self.is_terminal else 30.0)
        rate = max(done - self.first, 0) / (now - self.begun) if now > self.begun else 0.0
        line = format_progress(self.name, done, total, rate)
        # on a terminal the cursor goes back to the left end, where whatever comes next is written
        end = "\r" if self.is_terminal and not self.is_whole else "\n"
        self.stream.write((line.ljust(78) if self.is_terminal else line) + end)
        self.stream.flush()


def format_bytes(count: float) -> str:
    """Decimal units, as disks and data sets are sold: 1500000 -> `1.5 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def format_progress(name: str, done: int, total: int | None, rate: float) -> str:
    """One line; `rate` in bytes a second."""
    if total is None:
        return f"{name}  {format_bytes(done)}  {format_bytes(rate)}/s"
    line = f"{name}  {format_bytes(done)} of {format_bytes(total)}  {100 * done // max(total, 1)} %"
    if rate > 0 and done < total:
        minutes, seconds = divmod(round((total - done) / rate), 60)
        left = f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {seconds} s"
        line += f"  {format_bytes(rate)}/s  {left} left"
    return line

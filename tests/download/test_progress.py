"""The progress line."""

from __future__ import annotations

import io

import pytest

from bassl.download.progress import Progress, format_bytes, format_progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1500, "1.5 kB"),
        (160e9, "160.0 GB"),
        (2e12, "2.0 TB"),
        (3e15, "3000.0 TB"),
    ],
)
def test_bytes_are_told_in_decimal_units(count, text):
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("done", "total", "rate", "text"),
    [
        (40e9, 160e9, 20e6, "a  40.0 GB of 160.0 GB  25 %  20.0 MB/s  1 h 40 min left"),
        (1e6, 10e6, 1e5, "a  1.0 MB of 10.0 MB  10 %  100.0 kB/s  1 min 30 s left"),
        (10, 10, 5.0, "a  10 B of 10 B  100 %"),
        (0, 10, 0.0, "a  0 B of 10 B  0 %"),
        (0, 0, 0.0, "a  0 B of 0 B  0 %"),
        (1500, None, 100.0, "a  1.5 kB  100 B/s"),
    ],
)
def test_a_line_tells_share_rate_and_time_left(done, total, rate, text):
    assert format_progress("a", int(done), None if total is None else int(total), rate) == text


def test_a_terminal_gets_one_line_that_ends_when_the_work_does():
    now = iter([0.0, 1.0, 1.1, 2.0, 3.0, 3.1]).__next__
    stream = Terminal()
    report = Progress(stream, now).of("a")
    for done in (100, 150, 200, 300, 300):
        report(done, 300)
    lines = [line.rstrip() for line in stream.getvalue().splitlines()]
    assert lines == [
        "a  100 B of 300 B  33 %",
        "a  200 B of 300 B  66 %  50 B/s  0 min 2 s left",
        "a  300 B of 300 B  100 %",
    ]
    assert stream.getvalue().count("\n") == 1


def test_a_file_gets_a_line_every_half_minute_and_the_last_one():
    now = iter([0.0, *map(float, range(1, 71))]).__next__
    stream = io.StringIO()
    report = Progress(stream, now).of("a")
    for done in range(1, 71):
        report(done, 70)
    assert [line.split()[1] for line in stream.getvalue().splitlines()] == ["1", "31", "61", "70"]

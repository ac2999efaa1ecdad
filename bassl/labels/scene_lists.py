"""Scene lists `film, start, end` in frames, seconds or timecodes, and the boundary labels that they give."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bassl.errors import InputError
from bassl.labels.findings import Finding
from bassl.labels.label_files import Labels
from bassl.labels.snapping import PAST, labels_from_spans
from bassl.video.tables import TIMECODE, is_time, parse_number, parse_whole, read_table
from bassl.video.timecode import TimecodeTrack, frames_per_count, uses_drop_frame
from bassl.video.timing import FrameTimes

UNITS = ("auto", "frames", "seconds", "timecode")
HEADERS = {
    "film": ("film", "video", "video_id", "movie", "name"),
    "start": ("start", "begin"),
    "end": ("end", "stop"),
}
SECONDS = ("s", "sec", "secs", "second", "seconds")
TIMECODES = ("timecode", "tc", "time")
DAY_MINUTES = 24 * 60  # after which timecode starts again at 0

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class SceneRow:
    """A scene as written: start and end, still text, and its line in the file."""

    start: str
    end: str
    line: int


@dataclass(frozen=True)
class SceneList:
    """Scenes by the film's name as written.

    Attributes:
        path: the file.
        unit: "frames", "seconds" or "timecode".
        scenes: rows of each film.
        is_guessed: whether the unit was inferred from the numbers.
    """

    path: Path
    unit: str
    scenes: dict[str, list[SceneRow]]
    is_guessed: bool = False


def read_scene_list(path: Path, unit: str = "auto") -> SceneList:
    """Read a table of scenes; a header, if there is one, names the columns.

    A column name may state the unit: `start_frame`, `end_seconds`, `start_timecode`. Else `unit` does. With "auto",
    colons make timecodes, a decimal point in any number makes all of them seconds, and the rest are frames.

    Raises InputError with file and line for anything malformed.
    """
    assert unit in UNITS, unit
    columns = (0, 1, 2)
    scenes: dict[str, list[SceneRow]] = {}
    for index, (line, fields) in enumerate(read_table(path, "scene list")):
        if index == 0 and not any(map(is_time, fields[1:])):
            columns, stated = _read_header(path, line, fields)
            unit = stated or unit
            continue
        if len(fields) <= max(columns):
            raise InputError(f"{path}, line {line}: {len(fields)} fields; give film, start and end")
        film, start, end = (fields[column] for column in columns)
        if wrong := next((text for text in (start, end) if not is_time(text)), None):
            raise InputError(f"{path}, line {line}: {wrong[:40]!r} is not a frame, second or timecode; correct it")
        scenes.setdefault(film, []).append(SceneRow(start, end, line))
    if not scenes:
        raise InputError(f"scene list {path} holds no scenes; give lines 'film,start,end'")
    return SceneList(path, _find_unit(path, unit, scenes.values()), scenes, is_guessed=unit == "auto")


def _read_header(path: Path, line: int, fields: Sequence[str]) -> tuple[tuple[int, int, int], str | None]:
    """Return the positions of film, start and end, and the unit that their names state."""
    # `Start Time (s)` -> ["start", "time (s"]: the first word names the column, the rest may state its unit
    names = [re.split(r"[\s_(\[]+", field.lower().rstrip(")]"), maxsplit=1) for field in fields]
    positions: dict[str, int] = {}
    for column, spellings in HEADERS.items():
        for position, (field, parts) in enumerate(zip(fields, names, strict=True)):
            is_column = field.lower() in spellings or (column != "film" and parts[0] in spellings)
            if is_column and column not in positions:
                positions[column] = position
    if missing := next((column for column in HEADERS if column not in positions), None):
        raise InputError(f"{path}, line {line}: no column {missing!r} among {', '.join(fields)[:120]!r}; name one so")
    units = {_stated_unit(names[positions[column]]) for column in ("start", "end")} - {None}
    if len(units) > 1:
        raise InputError(f"{path}, line {line}: start and end are in different units; give both in one")
    return (positions["film"], positions["start"], positions["end"]), next(iter(units), None)


def _stated_unit(parts: Sequence[str]) -> str | None:
    suffix = parts[1] if len(parts) > 1 else ""
    if suffix.startswith("frame"):
        return "frames"
    return "seconds" if suffix in SECONDS else "timecode" if suffix in TIMECODES else None


def _find_unit(path: Path, unit: str, films: Iterable[list[SceneRow]]) -> str:
    """Return the unit of all times, inferred for "auto". Raises InputError for a time in another one."""
    times = [(row.line, text) for rows in films for row in rows for text in (row.start, row.end)]
    if unit == "auto":
        unit = "timecode" if ":" in times[0][1] else "seconds" if any("." in text for _, text in times) else "frames"
    for line, text in times:
        fits = {"timecode": ":" in text, "seconds": ":" not in text, "frames": parse_whole(text) is not None}[unit]
        if not fits:
            raise InputError(f"{path}, line {line}: {text!r} is not in {unit} like the rest; use one unit")
    return unit


def to_frame(text: str, unit: str, times: FrameTimes, track: TimecodeTrack | None = None) -> int:
    """Return the frame that starts nearest to a time of a scene list, extrapolated past the film's end.

    Timecodes are `h:mm:ss` or `mm:ss`, with `.fraction` of a second, or with `:ff` frames counted at the rounded rate
    (`;ff`: drop-frame). At 23.976 frames a second, `1:00:00:00` is frame 86,400 at 3603.6 s.

    Args:
        text: the time as written.
        unit: "frames", "seconds" or "timecode".
        times: when the film's frames are shown.
        track: the film's own timecode, which times with frames then count from.

    Raises:
        InputError: more than 59 minutes or seconds, frames past the rate, or a time before the film.
    """
    if unit == "frames":
        frame = parse_whole(text)
        assert frame is not None, text
        return frame
    if unit == "seconds":
        number = parse_number(text)
        assert number is not None, text
        seconds = number
    else:
        match = TIMECODE.fullmatch(text)
        assert match is not None, text
        hours, minutes, whole = (int(match[group] or 0) for group in (1, 2, 3))
        if whole > 59 or (match[1] is not None and minutes > 59):
            raise InputError(f"timecode {text!r} has more than 59 minutes or seconds; correct it")
        whole += 60 * minutes + 3600 * hours
        if match[5] is not None:
            counts = (whole, int(match[5]))
            return _frame_of_counts(text, *counts, is_drop=match[4] == ";", times=times, track=track)
        seconds = whole + Fraction(f"0.{match[6] or 0}")
    after = seconds - times.start - times.duration
    return times.num_frames + round(after * times.rate) if after > 0 else times.nearest_frame(seconds)


def _frame_of_counts(
    text: str, seconds: int, frame: int, is_drop: bool, times: FrameTimes, track: TimecodeTrack | None
) -> int:
    """Return the frame of a timecode that counts frames, also past midnight. SMPTE ST 12-1."""
    per_second = frames_per_count(times.rate)
    if frame >= per_second:
        raise InputError(f"timecode {text!r} has frame {frame}, the film {per_second} per second; correct it")
    if is_drop and not uses_drop_frame(times.rate):
        raise InputError(f"timecode {text!r} is drop-frame, which exists at 29.97 and 59.94 frames per second only")
    frames = seconds * per_second + frame
    dropped = per_second // 15  # counts that each minute but every tenth leaves out
    drops = is_drop if track is None else track.drop
    if drops:
        frames -= dropped * (seconds // 60 - seconds // 600)
    first = 0 if track is None else track.first
    if track is None or frames >= first:
        return frames - first
    day = DAY_MINUTES * 60 * per_second - (dropped * (DAY_MINUTES - DAY_MINUTES // 10) if drops else 0)
    if frames + day - first <= times.position(times.num_frames):
        return frames + day - first
    raise InputError(
        f"timecode {text!r} lies before the film, whose own begins at {track.text(0)}; count from there, or give "
        "seconds"
    )


def labels_from_scenes(
    scenes: SceneList,
    written: str,
    frames: IntArray,
    times: FrameTimes,
    film: str,
    timecode: str | None = None,
) -> tuple[Labels, list[Finding]]:
    """Return a film's labels, (num_shots,), from its scenes, and findings about the fit (see `labels_from_spans`).

    Args:
        scenes: the list.
        written: what the list calls the film.
        frames: (num_shots, 2) first and last frame of each shot.
        times: when the film's frames are shown.
        film: name for the findings.
        timecode: of the film's first frame, if its file has one.

    Raises:
        InputError: a scene that ends before it starts or lies past the film, or frame numbers that look like seconds.
    """
    starts, ends = [], []
    track = TimecodeTrack.of(times.rate, timecode) if timecode else None
    for row in scenes.scenes[written]:
        where = f"{scenes.path}, line {row.line}"
        try:
            start, end = (to_frame(text, scenes.unit, times, track) for text in (row.start, row.end))
        except InputError as error:
            raise InputError(f"{where}: {error}") from error
        if end < start:
            raise InputError(f"{where}: the scene ends ({row.end}) before it starts ({row.start}); correct it")
        if start > frames[-1, 1]:
            raise InputError(
                f"{where}: the scene starts at {row.start}, frame {start}, past the film's last frame, "
                f"{frames[-1, 1]}; check the film and the unit ({scenes.unit})"
            )
        starts.append(start)
        ends.append(end if scenes.unit == "frames" else max(end - 1, start))  # times end where the next scene starts
    reading = f", read as {scenes.unit}" if scenes.is_guessed else ""
    if reading and scenes.unit == "frames":
        _refuse_likely_seconds(scenes, max(ends), times)
        reading += " (if they are seconds, call the columns start_seconds and end_seconds, or give --unit seconds)"
    try:
        return labels_from_spans(starts, ends, frames, times, film, reading)
    except InputError as error:
        raise InputError(f"{scenes.path}: {error} ({scenes.unit})") from error


def _refuse_likely_seconds(scenes: SceneList, last_end: int, times: FrameTimes) -> None:
    """Raise InputError if numbers taken for frames cover little of the film, and all of it as seconds."""
    if last_end < times.num_frames / 2 and last_end <= float(times.duration) + PAST:
        raise InputError(
            f"{scenes.path}: the last scene ends at {last_end}, which can be a frame (of {times.num_frames}) or a "
            f"second (of {float(times.duration):.0f}); name the columns start_frame and end_frame or start_seconds "
            "and end_seconds, or give --unit"
        )

"""Scene lists `film, start, end` in frames, seconds or timecodes, turned into one boundary label a shot."""

from __future__ import annotations

import csv
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
from bassl.labels.scene_ends import PAST, labels_from_spans
from bassl.video.timecode import TimecodeTrack, frames_per_count, uses_drop_frame
from bassl.video.timing import FrameTimes

UNITS = ("auto", "frames", "seconds", "timecode")
HEADERS = {
    "film": ("film", "video", "video_id", "movie", "name"),
    "start": ("start", "begin"),
    "end": ("end", "stop"),
}
TIMECODE = re.compile(r"(?:(\d{1,4}):)?(\d{1,2}):(\d{1,2})(?:([:;])(\d{1,3})|[.,](\d{1,9}))?", re.ASCII)
NUMBER = re.compile(r"\d{1,11}(?:\.\d{1,12})?", re.ASCII)
DAY_MINUTES = 24 * 60  # after which timecode starts again at 0

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class SceneRow:
    """A scene as its line in the file says: start and end, still text, and where it stands."""

    start: str
    end: str
    line: int


@dataclass(frozen=True)
class SceneList:
    """Scenes by the film's name as written. unit: "frames", "seconds" or "timecode"; is_guessed: told by the look."""

    path: Path
    unit: str
    scenes: dict[str, list[SceneRow]]
    is_guessed: bool = False


def read_scene_list(path: Path, unit: str = "auto") -> SceneList:
    """Read a CSV (or TSV, or semicolons) of scenes; the header, if there is one, names the columns.

    A start or end column may carry its unit: `start_frame`, `end_seconds`, `start_timecode`. Else `unit` says it, or
    "auto": colons make timecodes, a decimal point anywhere makes all numbers seconds, else they are frames.

    Raises InputError with file and line for anything malformed.
    """
    if unit not in UNITS:
        raise InputError(f"unit {unit!r} is unknown; choose {', '.join(UNITS)}")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise InputError(f"scene list {path} cannot be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise InputError(f"scene list {path} is no text ({error.reason}); save it as UTF-8 CSV") from error
    head = next((line for line in lines if line.strip()), "")
    columns, scenes = (0, 1, 2), dict[str, list[SceneRow]]()
    is_first = True
    try:
        for number, row in enumerate(csv.reader(lines, delimiter=_delimiter(head)), 1):
            fields = [field.strip() for field in row]
            if not any(fields):
                continue
            if is_first and (header := _header(path, fields)) is not None:
                columns, stated = header
                unit = stated or unit
            else:
                if len(fields) <= max(columns):
                    raise InputError(f"{path}, line {number}: {len(fields)} fields; give film, start and end")
                film, start, end = (fields[column] for column in columns)
                for text in (start, end):
                    if not (TIMECODE.fullmatch(text) or NUMBER.fullmatch(text)):
                        raise InputError(f"{path}, line {number}: {text[:40]!r} is no frame, second or timecode")
                scenes.setdefault(film, []).append(SceneRow(start, end, number))
            is_first = False
    except csv.Error as error:
        raise InputError(f"scene list {path} is no CSV ({error}); save it again") from error
    if not scenes:
        raise InputError(f"scene list {path} holds no scenes; give lines 'film,start,end'")
    return SceneList(path, _unit(path, unit, scenes.values()), scenes, unit == "auto")


def _delimiter(head: str) -> str:
    """What separates the fields: what makes frames or times of them, else the first of tab, semicolon and comma."""
    there = [mark for mark in "\t;," if mark in head] or [","]
    for mark in there:  # `film,00:00:00;00,00:01:00;02` has semicolons too
        fields = [field.strip().strip('"') for field in head.split(mark)]
        if sum(bool(NUMBER.fullmatch(field) or TIMECODE.fullmatch(field)) for field in fields) > 1:
            return mark
    return there[0]


def _header(path: Path, fields: Sequence[str]) -> tuple[tuple[int, int, int], str | None] | None:
    """Positions of film, start and end, and their unit, where the fields are a header."""
    names = [re.split(r"[\s_(\[]+", field.lower().rstrip(")]"), maxsplit=1) for field in fields]
    if any(NUMBER.fullmatch(field) or TIMECODE.fullmatch(field) for field in fields[1:]):
        return None
    found: dict[str, int] = {}
    for wanted, spellings in HEADERS.items():
        for position, (field, parts) in enumerate(zip(fields, names, strict=True)):
            if wanted not in found and (field.lower() in spellings or (wanted != "film" and parts[0] in spellings)):
                found[wanted] = position
    if set(found) != set(HEADERS):
        lost = next(name for name in HEADERS if name not in found)
        raise InputError(f"{path}, line 1: no column {lost} among {', '.join(fields)[:120]!r}; name it so")
    units = {_stated_unit(names[found[name]]) for name in ("start", "end")} - {None}
    if len(units) > 1:
        raise InputError(f"{path}, line 1: start and end are in different units; give both in one")
    return (found["film"], found["start"], found["end"]), next(iter(units), None)


def _stated_unit(parts: Sequence[str]) -> str | None:
    suffix = parts[1] if len(parts) > 1 else ""
    if suffix in ("s", "sec", "secs", "second", "seconds"):
        return "seconds"
    if suffix.startswith("frame"):
        return "frames"
    return "timecode" if suffix in ("timecode", "tc", "time") else None


def _unit(path: Path, unit: str, films: Iterable[list[SceneRow]]) -> str:
    rows = [row for scenes in films for row in scenes]
    texts = [text for row in rows for text in (row.start, row.end)]
    if unit == "auto":
        unit = "timecode" if ":" in texts[0] else "seconds" if any("." in text for text in texts) else "frames"
    for row in rows:
        for text in (row.start, row.end):
            is_fitting = {"timecode": ":" in text, "seconds": ":" not in text, "frames": text.isdigit()}[unit]
            if not is_fitting:
                raise InputError(f"{path}, line {row.line}: {text!r} is not in {unit} as the rest; give one unit")
    return unit


def to_frame(text: str, unit: str, times: FrameTimes, track: TimecodeTrack | None = None) -> int:
    """The frame that starts at, or nearest to, a time of a scene list; past the film's end it is extrapolated.

    Timecodes: `h:mm:ss`, `mm:ss`, with `.fraction` of a second, or `:ff` for frames counted at the rounded rate (`;ff`
    is drop-frame, as broadcast at 29.97 has it): at 23.976, `1:00:00:00` is frame 86,400, 3603.6 s. Where the film has
    a timecode of its own (`track`), those with frames count as it does, as editors show them. Raises InputError for
    more than 59 minutes or seconds, for frames past the rate, and for what lies before the film.
    """
    if unit == "frames":
        return int(text)
    if unit == "seconds":
        seconds = Fraction(text)
    else:
        match = TIMECODE.fullmatch(text)
        assert match is not None, text
        hours, minutes, whole = (int(match[group] or 0) for group in (1, 2, 3))
        if whole > 59 or (match[1] is not None and minutes > 59):
            raise InputError(f"timecode {text!r} has more than 59 minutes or seconds; correct it")
        whole += 60 * minutes + 3600 * hours
        if match[5] is not None:
            return _counted_frame(text, whole, match[4], int(match[5]), times, track)
        seconds = whole + Fraction(f"0.{match[6] or 0}")
    after = seconds - times.start - times.duration
    return times.num_frames + round(after * times.rate) if after > 0 else times.nearest_frame(seconds)


def _counted_frame(
    text: str, seconds: int, separator: str, frame: int, times: FrameTimes, track: TimecodeTrack | None
) -> int:
    """Frame of a timecode that counts frames, whenever they are shown, also past midnight. SMPTE ST 12-1."""
    rate = times.rate
    counted = frames_per_count(rate)
    if frame >= counted:
        raise InputError(f"timecode {text!r} has frame {frame}, the film {counted} a second; correct it")
    frames = seconds * counted + frame
    if separator == ";" and not uses_drop_frame(rate):
        raise InputError(f"timecode {text!r} is drop-frame, which only 29.97 and 59.94 frames a second have")
    if separator == ";" if track is None else track.drop:
        frames -= counted // 15 * (seconds // 60 - seconds // 600)
    first = 0 if track is None else track.first
    if track is not None and frames < first:
        day = DAY_MINUTES * 60 * counted - (counted // 15 * (DAY_MINUTES - DAY_MINUTES // 10) if track.drop else 0)
        if frames + day - first <= times.position(times.num_frames):
            return frames + day - first
        raise InputError(
            f"timecode {text!r} lies before the film, whose own begins at {track.text(0)}; count from there, "
            "or give seconds"
        )
    return frames - first


def labels_from_scenes(
    scenes: SceneList,
    written: str,
    frames: IntArray,
    times: FrameTimes,
    film: str,
    timecode: str | None = None,
) -> tuple[Labels, list[Finding]]:
    """Labels of a film, (num_shots,), from its scenes, and how far their ends lay from the shots'.

    A scene's last frame is in frames its `end`, in seconds and timecodes the frame before that moment; for the rest
    see `labels_from_spans`. `frames` is (num_shots, 2), `timecode` the film's own, where it has one.

    Raises InputError for a scene that ends before it starts, that lies past the film, and for numbers without a unit
    that look like seconds.
    """
    ends, starts = [], []
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
        ends.append(end if scenes.unit == "frames" else max(end - 1, start))  # times end with the next's start
    reading = f", read as {scenes.unit}" if scenes.is_guessed else ""
    if reading and scenes.unit == "frames":
        _check_frames(scenes, max(ends), times)
        reading += " (if they are seconds, call the columns start_seconds and end_seconds, or give --unit seconds)"
    try:
        return labels_from_spans(starts, ends, frames, times, film, reading)
    except InputError as error:
        raise InputError(f"{scenes.path}: {error} ({scenes.unit})") from error


def _check_frames(scenes: SceneList, last_end: int, times: FrameTimes) -> None:
    """Raise InputError where numbers taken for frames cover little of the film, and would fit it as seconds."""
    if last_end < times.num_frames / 2 and last_end <= float(times.duration) + PAST:
        raise InputError(
            f"{scenes.path}: the last scene ends at {last_end}, which can be a frame (of {times.num_frames}) or a "
            f"second (of {float(times.duration):.0f}); say which by the columns' names, start_frame and end_frame or "
            "start_seconds and end_seconds, or by --unit"
        )

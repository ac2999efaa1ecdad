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
from bassl.labels.findings import NOTE, WARNING, Finding
from bassl.labels.label_files import NO_LABEL, Labels
from bassl.labels.protocols import snap_to_shots
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
FAR = 1.0  # seconds between a scene's end and the shot's that it is snapped to, above which there is a warning
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
    """Scenes by the film's name as written. unit: "frames", "seconds" or "timecode"."""

    path: Path
    unit: str
    scenes: dict[str, list[SceneRow]]


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
    delimiter = next((mark for mark in "\t;" if mark in head), ",")
    columns, scenes = (0, 1, 2), dict[str, list[SceneRow]]()
    is_first = True
    try:
        for number, row in enumerate(csv.reader(lines, delimiter=delimiter), 1):
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
    return SceneList(path, _unit(path, unit, scenes.values()), scenes)


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

    A scene ends with the shot whose last frame is nearest to its own: in frames its `end`, in seconds and timecodes
    the frame before that moment. Where the next scene starts only after one or more whole shots (a title, an
    advertisement), what lies between is a scene too, and so is what lies before the first. The last shot has no label.
    `frames` is (num_shots, 2), `timecode` the film's own, where it has one.

    Raises InputError for a scene that ends before it starts, or that starts past the film's last frame.
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
    order = np.lexsort((ends, starts))
    begin, end_frames = np.asarray(starts, np.int64)[order], np.asarray(ends, np.int64)[order]
    snapped = snap_to_shots(end_frames, frames)
    is_end = np.zeros(len(frames), dtype=bool)
    is_end[snapped.shots] = True
    overlaps = int((begin[1:] < end_frames[:-1] - 1).sum())
    num_gaps = _mark_gaps(is_end, np.append(-1, snapped.shots), np.append(0, end_frames), begin, frames)
    twice = len(snapped.shots) - len(np.unique(snapped.shots))
    far = snapped.distances > FAR * float(times.rate)
    far[end_frames > frames[-1, 1]] = False  # the film's end, as another player counts it
    text = f"{len(begin)} scenes; ends moved by {np.median(snapped.distances):g} frames (median), "
    text += f"{snapped.distances.max()} at most, to the nearest shot end"
    found = [Finding(NOTE, "scene ends snapped", film, text)]
    for number, severity, what in (
        (int(far.sum()), WARNING, f"scene ends lie more than {FAR:g} s from any shot's end"),
        (twice, WARNING, "scenes end with the shot that another ends with"),
        (overlaps, WARNING, "scenes start before the one before them has ended"),
        (num_gaps, NOTE, "stretches of shots belong to no scene; each is taken for one"),
    ):
        if number:
            found.append(Finding(severity, what, film, f"{number} {what}"))
    labels = is_end.astype(np.int8)
    labels[-1] = NO_LABEL
    return labels, found


def _mark_gaps(is_end: NDArray[np.bool_], last: IntArray, end: IntArray, begin: IntArray, frames: IntArray) -> int:
    """Mark the last of the whole shots between scene i - 1 (shot last[i], frame end[i]) and the start of scene i."""
    count = 0
    for shot, frame, start in zip(last, end, begin, strict=False):
        before = int(np.searchsorted(frames[:, 1], start)) - 1  # last shot that is over when the scene starts
        if before > shot and frames[shot + 1, 0] >= frame:
            is_end[before] = True
            count += 1
    return count

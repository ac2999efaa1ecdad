"""One film into its key-frames, its shot file and a record of its times, so that only a whole film is ever visible.

Order of writing: key-frames into `.partial-<film>`, the record, the folder's final name, and last the shot file, whose
presence says that the film is done. What a killed run left of a film is removed before the film is made again.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bassl.errors import InputError
from bassl.files import remove_leftovers, write_atomically
from bassl.prepare.layout import Layout, keyframe_name, write_shot_file
from bassl.video.film_files import content_of
from bassl.video.settings import ShotSettings
from bassl.video.timing import FrameTimes

if TYPE_CHECKING:
    from PIL.Image import Image as PillowImage

    from bassl.video.keyframes import ShotKeyframes
    from bassl.video.reader import FilmReader

JPEG_QUALITY = 90
REPORT_EVERY = 500  # frames


@dataclass(frozen=True)
class FilmJob:
    """A film to prepare: its file, its name, and how its shots are found."""

    source: Path
    name: str
    target: Path
    shots: ShotSettings


def record_path(target: Path, name: str) -> Path:
    """The record of a film: file, times, frames."""
    return target / ".prepare" / "films" / f"{name}.json"


def is_done(target: Path, name: str) -> bool:
    """Whether the film is whole."""
    layout = Layout.of(target)
    return (layout.shots / f"{name}.txt").is_file() and record_path(target, name).is_file()


def read_record(target: Path, name: str) -> dict[str, Any]:
    """The record of a film that is done. Raises InputError where it is damaged."""
    path = record_path(target, name)
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        times_of(record)
        record["file"], record["bytes"]
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        raise InputError(f"{path} is damaged ({error}); remove it, and the film is prepared again") from error
    assert isinstance(record, dict)
    return record


def times_of(record: Mapping[str, Any]) -> FrameTimes:
    """When a film's frames are shown, from its record."""
    ticks = np.asarray(record["ticks"], dtype=np.int64) if "ticks" in record else None
    return FrameTimes(
        Fraction(record["rate"]),
        Fraction(record["start"]),
        int(record["num_frames"]),
        ticks,
        Fraction(record.get("time_base", 1)),
        int(record.get("last_ticks", 0)),
    )


def clear(target: Path, name: str) -> None:
    """Remove what is there of a film that is not done."""
    layout = Layout.of(target)
    (layout.shots / f"{name}.txt").unlink(missing_ok=True)
    for folder in (layout.keyframes / name, partial_folder(target, name)):
        if folder.is_dir():
            shutil.rmtree(folder)
    record_path(target, name).unlink(missing_ok=True)


def sweep(target: Path) -> None:
    """Remove what killed runs left: half-made films and files under temporary names. The target must be held."""
    layout = Layout.of(target)
    for folder in layout.keyframes.glob(".partial-*"):
        shutil.rmtree(folder)
    places = (target / ".prepare", target / ".prepare" / "films", layout.shots, layout.labels, layout.split.parent)
    for place in (*places, layout.annotations):
        remove_leftovers(place)


def partial_folder(target: Path, name: str) -> Path:
    """Where a film's key-frames lie until they are complete."""
    return Layout.of(target).keyframes / f".partial-{name}"


def prepare_film(job: FilmJob, report: Callable[[int, int], None] = lambda done, total: None) -> list[str]:
    """Decode a film once, write its key-frames, and then the rest; returns what was wrong with its file.

    `report` gets frames done and frames expected (0: not known) now and then. Raises InputError for a film that cannot
    be read, OSError where it cannot be written; then nothing of it stays.
    """
    from PIL import Image

    from bassl.video.reader import FilmReader

    layout, partial = Layout.of(job.target), partial_folder(job.target, job.name)
    clear(job.target, job.name)
    partial.mkdir(parents=True)
    frames: list[tuple[int, int]] = []
    numbers: list[tuple[int, int, int]] = []
    try:
        with FilmReader(job.source) as reader:
            for shot in _shots(job, reader, _every(REPORT_EVERY, reader.num_frames, report)):
                for keyframe, image in enumerate(shot.images):
                    path = partial / keyframe_name(len(frames), keyframe)
                    _write(Image.fromarray(image), path)
                frames.append((shot.first, shot.last))
                numbers.append(shot.numbers)
            record = _record(job.source, reader.times(), reader.size, len(frames), reader.timecode)
            warnings = reader.warnings()
        text = json.dumps(record) + "\n"
        path = record_path(job.target, job.name)
        write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
        if hasattr(os, "sync"):
            os.sync()  # the shot file must not outlive the key-frames when the power fails
        partial.rename(layout.keyframes / job.name)
        write_shot_file(layout.shots / f"{job.name}.txt", np.asarray(frames), np.asarray(numbers))
    except BaseException:
        clear(job.target, job.name)
        raise
    return warnings


def _write(image: PillowImage, path: Path) -> None:
    """Write a key-frame; an error of the disk tells the file, which those of Pillow do not."""
    content = BytesIO()
    image.save(content, "JPEG", quality=JPEG_QUALITY)
    try:
        path.write_bytes(content.getvalue())
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _shots(job: FilmJob, reader: FilmReader, on_frame: Callable[[], object]) -> Iterator[ShotKeyframes]:
    from bassl.video.cuts import CutFinder
    from bassl.video.keyframes import detected_shots, given_shots
    from bassl.video.reader import scan_times

    if job.shots.given is not None:
        return given_shots(reader, job.shots.given.in_film(scan_times(job.source)), on_frame)
    return detected_shots(reader, CutFinder(job.shots.detector, reader.rate), on_frame=on_frame)


def _every(number: int, total: int, report: Callable[[int, int], None]) -> Callable[[], None]:
    """Count frames, and report each `number`th."""
    count = 0

    def on_frame() -> None:
        nonlocal count
        count += 1
        if count % number == 0:
            report(count, total)

    return on_frame


def _record(
    source: Path, times: FrameTimes, size: tuple[int, int], num_shots: int, timecode: str | None
) -> dict[str, Any]:
    """What later steps need of a film without opening it again. Nothing in it depends on when or where it was made."""
    record: dict[str, Any] = {
        "file": source.name,
        "bytes": source.stat().st_size,
        "content": content_of(source),
        "rate": str(times.rate),
        "start": str(times.start),
        "num_frames": times.num_frames,
        "num_shots": num_shots,
        "width": size[0],
        "height": size[1],
    }
    if timecode:
        record["timecode"] = timecode
    if times.ticks is not None:
        record |= {
            "time_base": str(times.time_base),
            "last_ticks": times.last_ticks,
            "ticks": times.ticks.tolist(),
        }
    return record

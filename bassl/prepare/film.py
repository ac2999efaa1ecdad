"""Turn one film into key-frames, a shot file and a record of its times.

Files are written in this order: key-frames into `.partial-<film>`, the record, the folder's final name, and last the
shot file, which marks the film as done. What a killed run left of a film is removed before it is made again.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
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


@dataclass(frozen=True)
class FilmJob:
    """A film to prepare: its file, its name, the data set, and how its shots are found."""

    source: Path
    name: str
    target: Path
    shots: ShotSettings


def prepare_film(job: FilmJob) -> list[str]:
    """Decode a film once, write its key-frames and then the rest, and return warnings about its file.

    Raises InputError if the film cannot be read, OSError if it cannot be written. Nothing of it stays then.
    """
    from PIL import Image

    from bassl.video.reader import FilmReader

    layout, partial = Layout.of(job.target), partial_folder(job.target, job.name)
    remove_film(job.target, job.name)
    partial.mkdir(parents=True)
    frames: list[tuple[int, int]] = []
    keyframes: list[tuple[int, int, int]] = []
    try:
        # 1. one pass over the film: detect shots, write their key-frames
        with FilmReader(job.source) as reader:
            for shot in _read_shots(job, reader):
                for number, image in enumerate(shot.images):
                    _write_jpeg(Image.fromarray(image), partial / keyframe_name(len(frames), number))
                frames.append((shot.first, shot.last))
                keyframes.append(shot.numbers)
            record = _make_record(job.source, reader, num_shots=len(frames))
            warnings = reader.warnings()

        # 2. the rest, the shot file last
        text = json.dumps(record) + "\n"
        path = record_path(job.target, job.name)
        write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
        if hasattr(os, "sync"):
            os.sync()  # the shot file must not outlive the key-frames when the power fails
        partial.rename(layout.keyframes / job.name)
        write_shot_file(layout.shots / f"{job.name}.txt", np.asarray(frames), np.asarray(keyframes))
    except BaseException:
        remove_film(job.target, job.name)
        raise
    return warnings


def _read_shots(job: FilmJob, reader: FilmReader) -> Iterator[ShotKeyframes]:
    from bassl.video.cuts import CutFinder
    from bassl.video.keyframes import detected_shots, given_shots
    from bassl.video.reader import scan_times

    if job.shots.given is not None:
        return given_shots(reader, job.shots.given.in_film(scan_times(job.source)))
    return detected_shots(reader, CutFinder(job.shots.detector, reader.rate))


def _write_jpeg(image: PillowImage, path: Path) -> None:
    """Write a key-frame. An OSError names the file, which Pillow's would not."""
    content = BytesIO()
    image.save(content, "JPEG", quality=JPEG_QUALITY)
    try:
        path.write_bytes(content.getvalue())
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _make_record(source: Path, reader: FilmReader, num_shots: int) -> dict[str, Any]:
    """Return what later steps need of a film. Nothing in it depends on when or where it was made."""
    times = reader.times()
    record: dict[str, Any] = {
        "file": source.name,
        "bytes": source.stat().st_size,
        "content": content_of(source),
        "rate": str(times.rate),
        "start": str(times.start),
        "num_frames": times.num_frames,
        "num_shots": num_shots,
        "width": reader.size[0],
        "height": reader.size[1],
    }
    if reader.timecode:
        record["timecode"] = reader.timecode
    if times.ticks is not None:
        ticks = times.ticks.tolist()
        record |= {"time_base": str(times.time_base), "last_ticks": times.last_ticks, "ticks": ticks}
    return record


def record_path(target: Path, name: str) -> Path:
    """Return the path of a film's record: its file, times and size."""
    return target / ".prepare" / "films" / f"{name}.json"


def is_done(target: Path, name: str) -> bool:
    """Return whether a film is complete."""
    return (Layout.of(target).shots / f"{name}.txt").is_file() and record_path(target, name).is_file()


def read_record(target: Path, name: str) -> dict[str, Any]:
    """Read the record of a film that is done. Raises InputError if it is damaged."""
    path = record_path(target, name)
    try:
        record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        record_times(record)
        record["file"], record["bytes"]
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        raise InputError(f"{path} is damaged ({error}); remove it to prepare the film again") from error
    return record


def record_times(record: Mapping[str, Any]) -> FrameTimes:
    """Return when a film's frames are shown, from its record."""
    return FrameTimes(
        rate=Fraction(record["rate"]),
        start=Fraction(record["start"]),
        num_frames=int(record["num_frames"]),
        ticks=np.asarray(record["ticks"], dtype=np.int64) if "ticks" in record else None,
        time_base=Fraction(record.get("time_base", 1)),
        last_ticks=int(record.get("last_ticks", 0)),
    )


def partial_folder(target: Path, name: str) -> Path:
    """Return the folder of a film's key-frames until they are complete."""
    return Layout.of(target).keyframes / f".partial-{name}"


def remove_film(target: Path, name: str) -> None:
    """Remove all files of a film."""
    layout = Layout.of(target)
    (layout.shots / f"{name}.txt").unlink(missing_ok=True)
    for folder in (layout.keyframes / name, partial_folder(target, name)):
        if folder.is_dir():
            shutil.rmtree(folder)
    record_path(target, name).unlink(missing_ok=True)


def remove_partial_films(target: Path) -> None:
    """Remove what killed runs left: partial films and temporary files. The target must be locked."""
    layout = Layout.of(target)
    for folder in layout.keyframes.glob(".partial-*"):
        shutil.rmtree(folder)
    hidden = target / ".prepare"
    places = (hidden, hidden / "films", layout.shots, layout.labels, layout.split.parent, layout.annotations)
    for place in places:
        remove_leftovers(place)

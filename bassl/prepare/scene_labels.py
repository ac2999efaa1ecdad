"""Scene labels from the user's files into the label files of a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bassl.console import pluralize
from bassl.dataset.shot_files import read_shot_frames
from bassl.errors import InputError
from bassl.labels.film_names import find_film
from bassl.labels.findings import ERROR, NOTE, WARNING, Finding
from bassl.labels.label_files import Labels, fit_labels, read_label_file, write_label_file
from bassl.labels.scene_ends import labels_from_spans
from bassl.labels.scene_lists import SceneList, labels_from_scenes, read_scene_list
from bassl.prepare.film import read_record, times_of
from bassl.prepare.layout import Layout
from bassl.video.shot_list import has_shot_columns, read_shot_list

Written = Mapping[str, SceneList | Path]
"""Where the labels of a film are, by what the source calls it: in a list of scenes, or in a file of its own."""


def check_source(source: Path, unit: str, films: Sequence[str]) -> None:
    """Raise InputError for a source of labels that cannot be read, that names none of the films, or one of them twice.

    films: those that are prepared, or will be.
    """
    written = _read(source, unit, films)
    if not _match(written, films, source)[0]:
        raise InputError(
            f"{source} names none of the films here: it has {_some(list(written))}, here are {_some(films)}; "
            "call them by name or file name"
        )


def import_labels(target: Path, source: Path, unit: str, films: Sequence[str]) -> list[Finding]:
    """Write the label files of prepared films from `source`; a film that it does not name keeps what it has.

    source: a scene list (`bassl.labels.scene_lists`), or a folder with a file a film: `<film>.txt` (`<shot> <label>`),
    `<film>.csv` or `<film>/scenes.csv` (scenes). A film whose labels cannot be read is left without, and reported.
    Raises InputError for a source that cannot be read at all.
    """
    written = _read(source, unit, films)
    layout = Layout.of(target)
    chosen, found = _match(written, films, source)
    if without := sorted(set(films) - set(chosen)):
        kept = sum((layout.labels / f"{film}.txt").is_file() for film in without)
        text = f"names no labels for {pluralize(len(without), 'film')}, such as {without[0]}"
        text += f"; {kept} of them have labels already and keep them" if kept else ""
        found.append(Finding(NOTE, "films without labels", str(source), text))
    for film, name in chosen.items():
        path = layout.labels / f"{film}.txt"
        try:
            frames = read_shot_frames(layout.shots / f"{film}.txt")
            labels, odd = _labels(target, written[name], name, film, unit, frames)
            if len(labels) == 1:
                path.unlink(missing_ok=True)
                text = "is a single shot: nothing to tell apart"
                found.append(Finding(NOTE, "films of one shot", film, text))
                continue
            found += odd
            write_label_file(path, labels)
        except InputError as error:
            path.unlink(missing_ok=True)
            found.append(Finding(ERROR, "labels that cannot be used", film, f"{error}: the film is without labels"))
    return found


def _labels(
    target: Path, given: SceneList | Path, name: str, film: str, unit: str, frames: NDArray[np.int64]
) -> tuple[Labels, list[Finding]]:
    if isinstance(given, Path) and given.suffix.lower() == ".txt":
        return fit_labels(read_label_file(given), len(frames), film)
    record = read_record(target, film)
    times = times_of(record)
    if isinstance(given, Path):
        if has_shot_columns(given):
            spans = read_shot_list(given).in_film(times)
            return labels_from_spans(spans[:, 0], spans[:, 1], frames, times, film)
        path, given = given, read_scene_list(given, unit)
        mine = [text for text in given.scenes if find_film(text, [film])]
        if len(mine) != 1:
            raise InputError(f"{path} has scenes of {_some(list(given.scenes))}, not of {film} alone; correct it")
        name = mine[0]
    return labels_from_scenes(given, name, frames, times, film, record.get("timecode"))


def _read(source: Path, unit: str, films: Sequence[str]) -> Written:
    if source.is_dir():
        files: dict[str, Path] = {}
        for path in sorted(source.glob("[!.]*")):
            if path.suffix.lower() in (".txt", ".csv") and path.is_file():
                files[path.name] = path
            elif (path / "scenes.csv").is_file():
                files[f"{path.name}/scenes.csv"] = path / "scenes.csv"
        if not files:
            raise InputError(
                f"{source} holds no .txt or .csv files and no folders with scenes.csv; give a folder with a file of "
                "labels or scenes a film, or a CSV of scenes"
            )
        return files
    if source.is_file() and has_shot_columns(source):
        if len(films) == 1:
            return {films[0]: source}
        raise InputError(f"{source} is one film's, for {len(films)} films; give a folder of <film>/scenes.csv")
    scenes = read_scene_list(source, unit)
    return dict.fromkeys(scenes.scenes, scenes)


def _match(written: Written, films: Sequence[str], source: Path) -> tuple[dict[str, str], list[Finding]]:
    """What the source calls each film that it has, and a warning about names that fit none.

    Raises InputError where it has two names for one.
    """
    chosen: dict[str, str] = {}
    lost = []
    for text, given in written.items():
        is_file = isinstance(given, Path) and source.is_dir()
        name = text.removesuffix("/scenes.csv") if text.endswith("/scenes.csv") else Path(text).stem
        film = find_film(name if is_file else text, films)
        if film is None:
            lost.append(text)
        elif film in chosen:
            raise InputError(
                f"{source}: {chosen[film]!r} and {text!r} both mean the film {film}; give each film one name "
                "(and films of one file name several, by --name-by path)"
            )
        else:
            chosen[film] = text
    text = f"names {pluralize(len(lost), 'film')} not here, such as {lost[0][:80]!r}" if lost else ""
    return chosen, [Finding(WARNING, "labels of other films", str(source), text)] if lost else []


def _some(names: Sequence[str]) -> str:
    return ", ".join(name[:80] for name in names[:5]) + (" ..." if len(names) > 5 else "")

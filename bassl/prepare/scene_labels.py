"""Scene labels from the user's files into the label files of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bassl.dataset.shot_files import read_shot_frames
from bassl.errors import InputError
from bassl.labels.film_names import find_film
from bassl.labels.findings import ERROR, NOTE, WARNING, Finding
from bassl.labels.label_files import fit_labels, read_label_file, write_label_file
from bassl.labels.scene_lists import labels_from_scenes, read_scene_list
from bassl.prepare.film import read_record, times_of
from bassl.prepare.layout import Layout


def check_source(source: Path, unit: str) -> None:
    """Raise InputError for a source of labels that cannot be read."""
    if source.is_dir():
        _label_files(source)
    else:
        read_scene_list(source, unit)


def import_labels(target: Path, source: Path, unit: str, films: Sequence[str]) -> list[Finding]:
    """Write the label files of prepared films from `source`; a film that it does not name ends up without.

    source: a scene list (`bassl.labels.scene_lists`), or a folder with a label file a film (`<shot> <label>`). A film
    whose labels cannot be read is left without, and reported. Raises InputError for a source that cannot be read at
    all.
    """
    if source.is_dir():
        return _from_folder(target, source, films)
    scenes = read_scene_list(source, unit)
    layout = Layout.of(target)
    chosen, found = _match(list(scenes.scenes), films, str(source))
    for film in films:
        path = layout.labels / f"{film}.txt"
        if film not in chosen:
            path.unlink(missing_ok=True)
            continue
        try:
            frames = read_shot_frames(layout.shots / f"{film}.txt")
            record = read_record(target, film)
            times, timecode = times_of(record), record.get("timecode")
            labels, odd = labels_from_scenes(scenes, chosen[film], frames, times, film, timecode)
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


def _from_folder(target: Path, source: Path, films: Sequence[str]) -> list[Finding]:
    layout = Layout.of(target)
    files = _label_files(source)
    chosen, found = _match(list(files), films, str(source))
    for film in films:
        path = layout.labels / f"{film}.txt"
        if film not in chosen:
            path.unlink(missing_ok=True)
            continue
        try:
            num_shots = len(read_shot_frames(layout.shots / f"{film}.txt"))
            labels, odd = fit_labels(read_label_file(files[chosen[film]]), num_shots, film)
            found += odd
            write_label_file(path, labels)
        except InputError as error:
            path.unlink(missing_ok=True)
            found.append(Finding(ERROR, "labels that cannot be used", film, f"{error}: the film is without labels"))
    return found


def _label_files(source: Path) -> dict[str, Path]:
    files = {path.name: path for path in sorted(source.glob("[!.]*.txt")) if path.is_file()}
    if not files:
        raise InputError(f"{source} holds no .txt files; give a folder with a label file a film, or a CSV of scenes")
    return files


def _match(written: Sequence[str], films: Sequence[str], source: str) -> tuple[dict[str, str], list[Finding]]:
    """The name that each film goes by in the source, and the names that fit no film, or one that has another."""
    chosen: dict[str, str] = {}
    found = []
    lost = []
    for text in written:
        film = find_film(text, films)
        if film is None:
            lost.append(text)
        elif film in chosen:
            what = f"{chosen[film]!r} and {text!r} both mean it; only the first is used"
            found.append(Finding(ERROR, "labels that mean one film", film, what))
        else:
            chosen[film] = text
    if lost:
        text = f"names {len(lost)} films that are not here, such as {lost[0][:80]!r}"
        found.append(Finding(WARNING, "labels of other films", source, text))
    if without := sorted(set(films) - set(chosen)):
        text = f"names no labels for {len(without)} films, such as {without[0]}"
        found.append(Finding(NOTE, "films without labels", source, text))
    return chosen, found

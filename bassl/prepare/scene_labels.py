"""Import scene labels from a user's files into the label files of a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bassl.console import pluralize
from bassl.dataset.shot_files import read_shot_frames
from bassl.errors import InputError
from bassl.labels.film_names import find_film
from bassl.labels.findings import ERROR, NOTE, WARNING, Finding
from bassl.labels.label_files import Labels, fit_labels, read_label_file, write_label_file
from bassl.labels.scene_lists import SceneList, labels_from_scenes, read_scene_list
from bassl.labels.snapping import IntArray, labels_from_spans
from bassl.prepare.film import read_record, record_times
from bassl.prepare.layout import Layout
from bassl.video.shot_list import has_shot_columns, read_shot_list


@dataclass(frozen=True)
class LabelSource:
    """The labels that a user gave: a file per film in a folder, or one list of scenes.

    Attributes:
        path: the file or folder.
        unit: of starts and ends, see `read_scene_list`.
        parts: what the source calls a film -> its file, or the list that names it.
    """

    path: Path
    unit: str
    parts: Mapping[str, SceneList | Path]

    def match(self, films: Sequence[str]) -> tuple[dict[str, str], list[Finding]]:
        """Map films to the source's names for them, and warn of names that match none.

        Raises InputError if it has two names for one film, or none for all of them.
        """
        chosen: dict[str, str] = {}
        unmatched = []
        for text in self.parts:
            is_file = self.path.is_dir()
            film = find_film(text.removesuffix("/scenes.csv").removesuffix(Path(text).suffix * is_file), films)
            if film is None:
                unmatched.append(text)
            elif film in chosen:
                raise InputError(
                    f"{self.path}: {chosen[film]!r} and {text!r} both mean the film {film}; give each film one name "
                    "(and films of one file name several, by --name-by path)"
                )
            else:
                chosen[film] = text
        if not chosen:
            raise InputError(
                f"{self.path} names none of the films here: it has {_join(list(self.parts))}, here are {_join(films)}; "
                "call them by name or file name"
            )
        text = f"names {pluralize(len(unmatched), 'film')} not here, such as {unmatched[0][:80]!r}" if unmatched else ""
        return chosen, [Finding(WARNING, "labels of other films", str(self.path), text)] if unmatched else []


def read_label_source(path: Path, unit: str, films: Sequence[str]) -> LabelSource:
    """Read a scene list, or list the files of a folder: `<film>.txt`, `<film>.csv` or `<film>/scenes.csv`.

    films: those that are prepared, or will be. Raises InputError for a source that cannot be read.
    """
    if path.is_dir():
        parts: dict[str, SceneList | Path] = {}
        for part in sorted(path.glob("[!.]*")):
            if part.suffix.lower() in (".txt", ".csv") and part.is_file():
                parts[part.name] = part
            elif (part / "scenes.csv").is_file():
                parts[f"{part.name}/scenes.csv"] = part / "scenes.csv"
        if not parts:
            raise InputError(
                f"{path} holds no .txt or .csv files and no folders with scenes.csv; give a folder with a file of "
                "labels or scenes per film, or a CSV of scenes"
            )
        return LabelSource(path, unit, parts)
    if path.is_file() and has_shot_columns(path):
        if len(films) != 1:
            raise InputError(f"{path} is one film's, for {len(films)} films; give a folder of <film>/scenes.csv")
        return LabelSource(path, unit, {films[0]: path})
    scenes = read_scene_list(path, unit)
    return LabelSource(path, unit, dict.fromkeys(scenes.scenes, scenes))


def import_labels(target: Path, source: LabelSource, films: Sequence[str]) -> list[Finding]:
    """Write the label files of prepared films, and return findings.

    A film that the source does not name keeps its labels. One whose labels cannot be read has none and is reported.
    Raises InputError as `LabelSource.match`.
    """
    layout = Layout.of(target)
    chosen, findings = source.match(films)
    if unnamed := sorted(set(films) - set(chosen)):
        num_kept = sum((layout.labels / f"{film}.txt").is_file() for film in unnamed)
        text = f"names no labels for {pluralize(len(unnamed), 'film')}, such as {unnamed[0]}"
        text += f"; {num_kept} of them have labels already and keep them" if num_kept else ""
        findings.append(Finding(NOTE, "films without labels", str(source.path), text))
    for film, name in chosen.items():
        path = layout.labels / f"{film}.txt"
        try:
            frames = read_shot_frames(layout.shots / f"{film}.txt")
            labels, label_findings = _read_labels(target, source, name, film, frames)
        except InputError as error:
            path.unlink(missing_ok=True)
            findings.append(Finding(ERROR, "invalid labels", film, f"{error}: the film is without labels"))
            continue
        if len(labels) == 1:
            path.unlink(missing_ok=True)
            findings.append(Finding(NOTE, "films of one shot", film, "is a single shot, without boundaries to label"))
            continue
        findings += label_findings
        write_label_file(path, labels)
    return findings


def _read_labels(
    target: Path, source: LabelSource, name: str, film: str, frames: IntArray
) -> tuple[Labels, list[Finding]]:
    part = source.parts[name]
    if isinstance(part, Path) and part.suffix.lower() == ".txt":
        return fit_labels(read_label_file(part), len(frames), film)
    record = read_record(target, film)
    times = record_times(record)
    if isinstance(part, Path):
        if has_shot_columns(part):
            spans = read_shot_list(part).in_film(times)
            return labels_from_spans(spans[:, 0], spans[:, 1], frames, times, film)
        path, part = part, read_scene_list(part, source.unit)
        names = [text for text in part.scenes if find_film(text, [film])]
        if len(names) != 1:
            raise InputError(f"{path} has scenes of {_join(list(part.scenes))}, not of {film} alone; correct it")
        name = names[0]
    return labels_from_scenes(part, name, frames, times, film, timecode=record.get("timecode"))


def _join(names: Sequence[str]) -> str:
    return ", ".join(name[:80] for name in names[:5]) + (" ..." if len(names) > 5 else "")

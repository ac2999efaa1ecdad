"""What has to hold between the files of a data set: pure functions from what was read to findings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bassl.console import pluralize
from bassl.dataset.annotation import Annotations, read_annotations
from bassl.labels.findings import ERROR, NOTE, WARNING, Finding
from bassl.prepare.inspection import MIN_SIDE, FilmInspection
from bassl.prepare.layout import SPLIT_NAMES

Labelled = Mapping[str, Mapping[int, int]]


@dataclass(frozen=True)
class AnnotationFile:
    """An annotation file as its reader sees it. num_shot: smallest and largest value that each film states."""

    name: str
    rows: Annotations
    num_shot: Mapping[str, tuple[int, int]]

    def labels(self) -> dict[str, dict[int, int]]:
        """Label by shot, of each film."""
        of_films: dict[str, dict[int, int]] = {film: {} for film in self.rows.films}
        names = self.rows.films
        for film, shot, label in zip(
            self.rows.film.tolist(), self.rows.shot.tolist(), self.rows.label.tolist(), strict=True
        ):
            of_films[names[film]][shot] = label
        return of_films

    def counts(self) -> dict[str, int]:
        """Films, shots, and labels of 1 and of -1."""
        label = self.rows.label
        return {
            "films": len(self.rows.films),
            "shots": len(label),
            "positive": int((label == 1).sum()),
            "uncertain": int((label == -1).sum()),
        }


def read_annotation_file(path: Path, name: str) -> AnnotationFile:
    """Read an annotation file with the reader that training uses. Raises its InputError."""
    rows = read_annotations(path)
    stated: dict[str, tuple[int, int]] = {}
    with path.open(encoding="utf-8-sig") as lines:
        for line in lines:
            if not line.strip():
                continue
            row = json.loads(line)
            film, value = row["video_id"], row["num_shot"]
            low, high = stated.get(film, (value, value))
            stated[film] = (min(low, value), max(high, value))
    return AnnotationFile(name, rows, stated)


def check_lengths(
    file: AnnotationFile, lengths: Mapping[str, int], source: str, severity: str = ERROR
) -> list[Finding]:
    """Rows past the last shot of their film, as `source` has it."""
    found = []
    for film, needed in zip(file.rows.films, file.rows.num_shots.tolist(), strict=True):
        if film in lengths and needed > lengths[film]:
            text = f"anno.{file.name} has a row for shot {needed - 1}, {source} only {lengths[film]} shots"
            found.append(Finding(severity, f"rows past {source}", film, text))
    return found


def check_num_shot(files: Iterable[AnnotationFile], lengths: Mapping[str, int]) -> list[Finding]:
    """Whether `num_shot` is the index of the last shot, as published, or else. Nothing relies on it."""
    convention: dict[str, list[str]] = {"index of the last shot": [], "number of shots": [], "neither": []}
    for file in files:
        for film, (low, high) in file.num_shot.items():
            if film not in lengths:
                continue
            last = lengths[film] - 1
            key = "index of the last shot" if low == high == last else "neither"
            convention["number of shots" if low == high == last + 1 else key].append(film)
    found = []
    used = [(name, films) for name, films in convention.items() if films]
    if len(used) > 1 or convention["neither"]:
        text = "; ".join(f"{name}: {pluralize(len(set(films)), 'film')} such as {films[0]}" for name, films in used)
        found.append(Finding(WARNING, "num_shot", "num_shot", f"means different things ({text}); it is not read"))
    elif convention["number of shots"]:
        found.append(Finding(NOTE, "num_shot", "num_shot", "is the number of shots everywhere; it is not read"))
    return found


def check_splits(splits: Mapping[str, Labelled], listed: Mapping[str, Sequence[str]] | None) -> list[Finding]:
    """Films that splits share, and whether the split file says the same. `listed`: the split file, None without."""
    found = []
    for one, other in (("train", "val"), ("train", "test"), ("val", "test")):
        for film in sorted(set(splits.get(one, ())) & set(splits.get(other, ()))):
            shared = len(set(splits[one][film]) & set(splits[other][film]))
            if shared:
                text = f"{pluralize(shared, 'shot')} in both {one} and {other}"
                found.append(Finding(ERROR, "shots in two splits", film, text))
            else:
                text = f"has shots in both {one} and {other}: what is learnt and what is tested are one film"
                found.append(Finding(WARNING, "film in two splits", film, text))
    if listed is not None:
        for split in SPLIT_NAMES:
            if split not in splits:
                continue
            for film in sorted(set(splits[split]) - set(listed.get(split, ()))):
                places = [name for name in SPLIT_NAMES if film in listed.get(name, ())]
                text = f"is in anno.{split}, the split file has it in {' and '.join(places) or 'none'}"
                found.append(Finding(ERROR, "annotations and split file differ", film, text))
    return found


def check_labels(rows: Labelled, label_files: Labelled) -> list[Finding]:
    """Annotations against label files."""
    found = []
    for film in sorted(set(rows) & set(label_files)):
        mine, theirs = rows[film], label_files[film]
        both = set(mine) & set(theirs)
        different = sorted(shot for shot in both if mine[shot] != theirs[shot])
        if different:
            text = f"{pluralize(len(different), 'label')} other than the label file's, the first at shot {different[0]}"
            found.append(Finding(ERROR, "annotations and label files differ", film, text))
        if only := len(mine) + len(theirs) - 2 * len(both):
            text = f"{pluralize(only, 'shot')} with a label in only one of annotations and label file"
            found.append(Finding(WARNING, "annotations and label files differ", film, text))
    return found


def check_contents(counts: Mapping[str, Mapping[str, int]], splits: Mapping[str, Labelled]) -> list[Finding]:
    """Splits that cannot teach or measure anything."""
    found = []
    for split in SPLIT_NAMES:
        if split in counts and not counts[split]["positive"] + counts[split]["uncertain"]:
            found.append(Finding(WARNING, "no positives", split, "no scene ends in it"))
    without = [film for film, labels in splits.get("test", {}).items() if not any(labels.values())]
    if without and len(without) < len(splits["test"]):
        text = (
            f"{pluralize(len(without), 'film')} without a boundary, such as {without[0]}: left out of means over films"
        )
        found.append(Finding(NOTE, "no positives", "test", text))
    return found


def check_keyframes(
    films: Mapping[str, FilmInspection],
    in_pretrain: Iterable[str],
    labelled: Iterable[str],
    elsewhere: set[str],
) -> list[Finding]:
    """Key-frames that are missing, broken or of odd sizes. elsewhere: films whose features are stored."""
    found = []
    readers = set(in_pretrain)
    for film in sorted(readers | set(labelled)):
        inspection = films.get(film)
        if inspection is None or not inspection.exists or not inspection.num_shots:
            is_needed = film in readers or film not in elsewhere
            severity = ERROR if is_needed else NOTE
            text = "has no folder of key-frames" + ("" if is_needed else ", but stored features")
            found.append(Finding(severity, "films without key-frames", film, text))
    for film, inspection in sorted(films.items()):
        if inspection.num_missing:
            shot, keyframe = inspection.first_missing
            text = f"{pluralize(inspection.num_missing, 'key-frame')} missing, first number {keyframe} of shot {shot}"
            found.append(Finding(ERROR, "missing key-frames", film, text))
        for line in inspection.broken:
            found.append(Finding(ERROR, "broken key-frames", film, line))
        if inspection.num_broken > len(inspection.broken):
            text = f"and {pluralize(inspection.num_broken - len(inspection.broken), 'more broken key-frame')}"
            found.append(Finding(ERROR, "broken key-frames", film, text))
        found += _check_sizes(film, inspection.sizes)
        if inspection.num_others:
            text = f"{pluralize(inspection.num_others, 'file')} in its folder other than key-frames"
            found.append(Finding(NOTE, "other files", film, text))
    return found


def _check_sizes(film: str, sizes: Mapping[tuple[int, int], int]) -> list[Finding]:
    found = []
    if len(sizes) > 1:
        usual = max(sizes, key=lambda size: sizes[size])
        odd = sum(count for size, count in sizes.items() if size != usual)
        text = f"{pluralize(odd, 'key-frame')} not {usual[0]}x{usual[1]} as the rest; readers resize them"
        found.append(Finding(WARNING, "sizes of key-frames", film, text))
    if small := [size for size in sizes if min(size) < MIN_SIDE]:
        text = f"has key-frames of {small[0][0]}x{small[0][1]} pixels"
        found.append(Finding(WARNING, "sizes of key-frames", film, text))
    return found

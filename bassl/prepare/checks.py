"""Checks between the files of a data set: from what was read to findings."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from bassl.console import pluralize
from bassl.dataset.annotation import Annotations, read_annotations
from bassl.errors import InputError
from bassl.labels.findings import ERROR, NOTE, WARNING, Finding
from bassl.prepare.keyframe_files import FilmInspection
from bassl.prepare.layout import SPLIT_NAMES

MIN_SIDE = 64  # pixels, below which a key-frame is too small to learn from

Labelled = Mapping[str, Mapping[int, int]]
"""Label by shot, by film."""


@dataclass(frozen=True)
class AnnotationFile:
    """An annotation file as training reads it. num_shot: smallest and largest value that each film states."""

    name: str
    rows: Annotations
    num_shot: Mapping[str, tuple[int, int]]

    def labels(self) -> dict[str, dict[int, int]]:
        """Return the label by shot of each film."""
        labels: dict[str, dict[int, int]] = {film: {} for film in self.rows.films}
        columns = (self.rows.film.tolist(), self.rows.shot.tolist(), self.rows.label.tolist())
        for film, shot, label in zip(*columns, strict=True):
            labels[self.rows.films[film]][shot] = label
        return labels

    def counts(self) -> dict[str, int]:
        """Return the numbers of films, shots, and labels of 1 and of -1."""
        label = self.rows.label
        counts = {"films": len(self.rows.films), "shots": len(label)}
        return {**counts, "positive": int((label == 1).sum()), "uncertain": int((label == -1).sum())}


def read_annotation_file(path: Path, name: str) -> AnnotationFile:
    """Read an annotation file by training's reader. Raises its InputError."""
    rows = read_annotations(path)
    num_shot: dict[str, tuple[int, int]] = {}
    with path.open(encoding="utf-8-sig") as lines:
        for line in filter(str.strip, lines):
            row = json.loads(line)
            value = row["num_shot"]
            low, high = num_shot.get(row["video_id"], (value, value))
            num_shot[row["video_id"]] = (min(low, value), max(high, value))
    return AnnotationFile(name, rows, num_shot)


def check_lengths(file: AnnotationFile, lengths: Mapping[str, int], source: str) -> list[Finding]:
    """Report rows past the last shot of their film. source: what the lengths are from, such as "its shot file"."""
    findings = []
    for film, needed in zip(file.rows.films, file.rows.num_shots.tolist(), strict=True):
        if film in lengths and needed > lengths[film]:
            text = f"anno.{file.name} has a row for shot {needed - 1}, {source} only {lengths[film]} shots"
            findings.append(Finding(ERROR, f"rows past {source}", film, text))
    return findings


def check_num_shot(files: Iterable[AnnotationFile], lengths: Mapping[str, int]) -> list[Finding]:
    """Report whether `num_shot` is the index of the last shot, as published. No reader relies on it."""
    meanings: dict[str, list[str]] = {"index of the last shot": [], "number of shots": [], "neither": []}
    for file in files:
        for film, (low, high) in file.num_shot.items():
            if film in lengths:
                offset = lengths[film] - low if low == high else -1
                meanings[{1: "index of the last shot", 0: "number of shots"}.get(offset, "neither")].append(film)
    used = [(name, films) for name, films in meanings.items() if films]
    if len(used) > 1 or meanings["neither"]:
        text = "; ".join(f"{name}: {pluralize(len(set(films)), 'film')} such as {films[0]}" for name, films in used)
        return [Finding(WARNING, "num_shot", "num_shot", f"means different things ({text}); it is not read")]
    if meanings["number of shots"]:
        return [Finding(NOTE, "num_shot", "num_shot", "is the number of shots everywhere; it is not read")]
    return []


def check_splits(splits: Mapping[str, Labelled], listed: Mapping[str, Sequence[str]] | None) -> list[Finding]:
    """Report films that splits share or that the split file places elsewhere. listed: the split file, None without."""
    findings = []
    for split, other in combinations(SPLIT_NAMES, 2):
        for film in sorted(set(splits.get(split, ())) & set(splits.get(other, ()))):
            if shared := set(splits[split][film]) & set(splits[other][film]):
                text = f"{pluralize(len(shared), 'shot')} in both {split} and {other}"
                findings.append(Finding(ERROR, "shots in two splits", film, text))
            else:
                text = f"has shots in both {split} and {other}: training and test data are of one film"
                findings.append(Finding(WARNING, "film in two splits", film, text))
    for split in SPLIT_NAMES if listed is not None else ():
        assert listed is not None
        for film in sorted(set(splits.get(split, ())) - set(listed.get(split, ()))):
            places = [name for name in SPLIT_NAMES if film in listed.get(name, ())]
            text = f"is in anno.{split}, the split file has it in {' and '.join(places) or 'none'}"
            findings.append(Finding(ERROR, "annotations and split file differ", film, text))
    return findings


def check_labels(rows: Labelled, label_files: Labelled) -> list[Finding]:
    """Compare annotations with label files."""
    findings = []
    for film in sorted(set(rows) & set(label_files)):
        annotated, filed = rows[film], label_files[film]
        common = set(annotated) & set(filed)
        different = sorted(shot for shot in common if annotated[shot] != filed[shot])
        if different:
            text = f"{pluralize(len(different), 'label')} other than the label file's, the first at shot {different[0]}"
            findings.append(Finding(ERROR, "annotations and label files differ", film, text))
        if only := len(annotated) + len(filed) - 2 * len(common):
            text = f"{pluralize(only, 'shot')} with a label in only one of annotations and label file"
            findings.append(Finding(WARNING, "annotations and label files differ", film, text))
    return findings


def check_positives(counts: Mapping[str, Mapping[str, int]], splits: Mapping[str, Labelled]) -> list[Finding]:
    """Report splits, and films of the test split, in which no scene ends."""
    findings = []
    for split in SPLIT_NAMES:
        if split in counts and not counts[split]["positive"] + counts[split]["uncertain"]:
            findings.append(Finding(WARNING, "no positives", split, "no scene ends in it"))
    without = [film for film, labels in splits.get("test", {}).items() if not any(labels.values())]
    if without and len(without) < len(splits["test"]):
        text = f"{pluralize(len(without), 'film')} without a boundary, such as {without[0]}: not in means over films"
        findings.append(Finding(NOTE, "no positives", "test", text))
    return findings


def check_keyframes(
    films: Mapping[str, FilmInspection], in_pretrain: Iterable[str], labelled: Iterable[str], stored: set[str]
) -> list[Finding]:
    """Report key-frames that are missing, broken, misnamed or of odd sizes.

    Args:
        films: inspections by film.
        in_pretrain: films with rows for pre-training, which need key-frames.
        labelled: films with labelled rows, which need key-frames or stored features.
        stored: films in a feature store.
    """
    findings = []
    readers = set(in_pretrain)
    for film in sorted(readers | set(labelled)):
        listing = films[film].listing if film in films else None
        if listing is None or not (listing.num_shots or listing.num_misnamed):
            is_needed = film in readers or film not in stored
            text = "has no folder of key-frames" + ("" if is_needed else ", but stored features")
            findings.append(Finding(ERROR if is_needed else NOTE, "films without key-frames", film, text))
    for inspection in films.values():
        findings += _check_inspection(inspection)
    return findings


def _check_inspection(inspection: FilmInspection) -> list[Finding]:
    findings: list[Finding] = []
    if inspection.listing is None:
        return findings

    def add(severity: str, kind: str, text: str) -> None:
        findings.append(Finding(severity, kind, inspection.film, text))

    listing, sizes = inspection.listing, inspection.sizes
    if listing.num_misnamed:
        text = f"{pluralize(listing.num_misnamed, 'key-frame')} without the {listing.digits} digits that shot_id has"
        add(ERROR, "names of key-frames", f"{text}, so training does not find them; make the annotations again")
    if missing := listing.missing():
        text = f"{pluralize(len(missing), 'key-frame')} missing, first number {missing[0][1]} of shot {missing[0][0]}"
        add(ERROR, "missing key-frames", text)
    for line in inspection.broken:
        add(ERROR, "broken key-frames", line)
    if unnamed := inspection.num_broken - len(inspection.broken):
        add(ERROR, "broken key-frames", f"and {pluralize(unnamed, 'more broken key-frame')}")
    if len(sizes) > 1:
        (width, height), num_usual = sizes.most_common(1)[0]
        text = f"{pluralize(sizes.total() - num_usual, 'key-frame')} not {width}x{height} as the rest"
        add(WARNING, "sizes of key-frames", f"{text}; readers resize them")
    if small := [size for size in sizes if min(size) < MIN_SIDE]:
        add(WARNING, "sizes of key-frames", f"has key-frames of {small[0][0]}x{small[0][1]} pixels")
    if listing.num_others:
        add(NOTE, "other files", f"{pluralize(listing.num_others, 'file')} in its folder other than key-frames")
    return findings


def check_stores(
    folders: Sequence[Path], files: Iterable[AnnotationFile], lengths: Mapping[str, int], data: Path
) -> tuple[set[str], list[Finding]]:
    """Open each feature store and every film in it by its header.

    Args:
        folders: the stores.
        files: annotation files, whose films the stores should hold.
        lengths: number of shots by film.
        data: folder of the data set, for the command that makes a missing store.

    Returns:
        Films that a readable store holds, and findings.
    """
    if not folders:
        return set(), []
    from bassl.dataset.features import FeatureStore  # imports torch

    extract = f"bassl extract {shlex.quote(f'config.DATA_PATH={data}')}"
    needed = {file.name: file.rows for file in files if file.name in SPLIT_NAMES}
    stored: set[str] = set()
    findings: list[Finding] = []
    for folder in folders:
        name = f"features/{folder.name}"

        def add(severity: str, text: str, kind: str = "feature stores", about: str = name) -> None:
            findings.append(Finding(severity, kind, about, text))

        try:
            store = FeatureStore.open(folder, f"{extract} config.LOAD_FROM={shlex.quote(folder.name)}")
        except InputError as error:
            add(ERROR, str(error))
            continue
        for film in store.num_shots:
            try:
                if not store.per_shot:  # half a million files need not be opened
                    store.film(film)
                stored.add(film)
            except InputError as error:
                add(ERROR, str(error))
        counts = (pluralize(len(store.num_shots), "film"), pluralize(sum(store.num_shots.values()), "shot"))
        add(NOTE, f"{', '.join(counts)}, {store.dimension} numbers per shot")
        for film in sorted(set(store.num_shots) & set(lengths)):
            if store.num_shots[film] != lengths[film]:
                add(ERROR, f"{pluralize(store.num_shots[film], 'shot')} of {film} stored, the film has {lengths[film]}")
        for split, rows in needed.items():
            if missing := [film for film in rows.films if film not in store.num_shots]:
                text = f"lacks {len(missing)} of {pluralize(len(rows.films), 'film')} of {split}, such as {missing[0]}"
                add(WARNING, text, "films not in a feature store")
            for film, count in zip(rows.films, rows.num_shots.tolist(), strict=True):
                if store.num_shots.get(film, count) < count:
                    add(ERROR, f"holds {store.num_shots[film]} shots of {film}, anno.{split} needs {count}")
    return stored, findings

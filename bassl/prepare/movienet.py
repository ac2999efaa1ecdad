"""MovieNet's own release, or any folder of its layout, as films with labels: what annotations are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from bassl.console import pluralize
from bassl.dataset.annotation import is_film_name
from bassl.dataset.shot_files import read_shot_frames
from bassl.errors import InputError
from bassl.labels.findings import ERROR, NOTE, WARNING, Finding
from bassl.labels.label_files import NO_LABEL, fit_labels, read_label_file
from bassl.prepare.annotations import Film, write_annotations
from bassl.prepare.keyframe_files import KeyframeListing, list_film_folders, list_keyframes
from bassl.prepare.layout import Layout
from bassl.prepare.splits import Splits, fit_splits, read_split_file, unplaced

KEYFRAME_FOLDERS = ("240P_frames", "240P", "keyframes_240p", "240p", "keyframes")


@dataclass(frozen=True)
class Built:
    """What was written: rows by annotation file, films, and what was odd about them."""

    rows: Mapping[str, int]
    films: list[Film]
    findings: list[Finding]


def locate(root: Path, keyframes: Path | None = None, annotations: Path | None = None) -> Layout:
    """Find MovieNet's parts below `root` or below a `movienet` or `scene318` folder in it.

    Raises InputError where there are neither shot files nor key-frames.
    """
    layout = Layout.of(root)
    if root.name == "scene318" and not layout.shots.is_dir():
        layout = replace(Layout.of(root.parent), root=root.parent)
    found = keyframes or next(
        (layout.root / name for name in KEYFRAME_FOLDERS if (layout.root / name).is_dir()), layout.keyframes
    )
    if keyframes is not None and not keyframes.is_dir():
        raise InputError(f"there is no folder {keyframes}; name the one that holds a folder of key-frames a film")
    if not layout.shots.is_dir() and not found.is_dir():
        raise InputError(
            f"{root} has neither scene318/shot_movie318 nor 240P_frames; name the folder that holds them "
            "(key-frames elsewhere: --keyframes)"
        )
    return replace(layout, keyframes=found, annotations=annotations or layout.annotations)


def build_annotations(layout: Layout, splits: Splits | None = None, progress_bar: bool = False) -> Built:
    """Make `anno/` from what lies in the layout: key-frame folders, shot files, label files and the split file.

    splits: in place of the split file. A film is as long as its shot file says, or its key-frames where it has none;
    where both are there, as the shorter, so that no row points at nothing. One bad file costs its film, or that film's
    labels, and is reported. Raises InputError for a split file that cannot be read.
    """
    findings: list[Finding] = []
    listings = _listings(layout, findings, progress_bar)
    names = {path.stem for folder in (layout.shots, layout.labels) for path in folder.glob("[!.]*.txt")}
    films = []
    for name in sorted(names | set(listings)):
        film = _film(layout, name, listings.get(name), findings)
        if film is not None:
            films.append(film)
    labelled = [film.name for film in films if film.is_labelled]
    if splits is None and layout.split.is_file():
        splits, found = fit_splits(read_split_file(layout.split), [film.name for film in films])
        findings += found
    elif splits is None and labelled:
        findings.append(Finding(WARNING, "no split file", str(layout.split), "is missing: all films are unsplit"))
    splits = splits or {}
    findings += unplaced(labelled, splits)
    without = sorted({name for part in splits.values() for name in part} - set(labelled))
    if without and labelled:
        text = f"{pluralize(len(without), 'film')} of the splits without labels, such as {without[0]}"
        findings.append(Finding(WARNING, "films without labels", "split", text))
    return Built(write_annotations(layout, films, splits), films, findings)


def _listings(layout: Layout, findings: list[Finding], progress_bar: bool) -> dict[str, KeyframeListing]:
    if not layout.keyframes.is_dir():
        text = "does not exist: no pre-training, and features only from elsewhere"
        findings.append(Finding(NOTE, "no key-frames", str(layout.keyframes), text))
        return {}
    listings = {}
    folders = list_film_folders(layout.keyframes)
    for name in tqdm(folders, "listing key-frames", unit="film", disable=not progress_bar):
        if not is_film_name(name):
            text = "cannot be the name of a film; rename its folder: left out"
            findings.append(Finding(ERROR, "film names", repr(name), text))
            continue
        listing = list_keyframes(layout.keyframes / name)
        if not listing.num_shots:
            text = "its folder holds no shot_0000_img_0.jpg or the like: left out"
            findings.append(Finding(WARNING, "empty folders", name, text))
            continue
        listings[name] = listing
        if missing := listing.missing():
            shot, keyframe = missing[0]
            text = f"{pluralize(len(missing), 'key-frame')} missing, first number {keyframe} of shot {shot}"
            findings.append(Finding(ERROR, "missing key-frames", name, text))
    return listings


def _film(layout: Layout, name: str, listing: KeyframeListing | None, findings: list[Finding]) -> Film | None:
    """A film from its files; None where nothing tells how long it is."""
    if not is_film_name(name):
        findings.append(Finding(ERROR, "film names", repr(name), "cannot be the name of a film: left out"))
        return None
    shot_file, label_file = layout.shots / f"{name}.txt", layout.labels / f"{name}.txt"
    num_shots = listing.num_shots if listing is not None else 0
    if shot_file.is_file():
        try:
            listed = len(read_shot_frames(shot_file))
        except InputError as error:
            findings.append(Finding(ERROR, "shot files", name, str(error)))
        else:
            if listing is not None and listed != num_shots:
                text = (
                    f"has {pluralize(listed, 'shot')} in its shot file and key-frames for {num_shots}: the fewer count"
                )
                findings.append(Finding(ERROR, "key-frames and shot file differ", name, text))
            num_shots = min(listed, num_shots) if listing is not None else listed
    if not num_shots:
        if label_file.is_file() or shot_file.is_file():
            text = "has neither a readable shot file nor key-frames: left out"
            findings.append(Finding(ERROR, "films of unknown length", name, text))
        return None
    labels = np.full(num_shots, NO_LABEL, np.int8)
    if label_file.is_file():
        try:
            labels, found = fit_labels(read_label_file(label_file), num_shots, name)
            findings += found
        except InputError as error:
            findings.append(Finding(ERROR, "label files", name, f"{error}: the film is without labels"))
    return Film(name, labels, listing is not None, listing.digits if listing is not None else 4)

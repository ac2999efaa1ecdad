"""MovieNet's own release, or any folder of its layout, into annotations."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
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
from bassl.prepare.splits import Splits, fit_splits, note_unplaced, read_split_file

log = logging.getLogger(__name__)
KEYFRAME_FOLDERS = ("240P_frames", "240P", "keyframes_240p", "240p", "keyframes", "frames")
ARCHIVES = (".tar", ".zip", ".gz")
NUM_PROBED = 20  # folders that are looked into for key-frames


@dataclass(frozen=True)
class Built:
    """The outcome of `build_annotations`: rows by annotation file, the films, and findings."""

    rows: Mapping[str, int]
    films: list[Film]
    findings: list[Finding]


def locate(root: Path, keyframes: Path | None = None, annotations: Path | None = None) -> Layout:
    """Recognise the layout of a release: scene318 and key-frame folders, or one of them.

    They may lie in `root`, beside it (`root` is scene318 or the key-frame folder) or one level deeper.

    Args:
        root: the folder that the user named.
        keyframes: folder of key-frame folders, if it lies elsewhere.
        annotations: folder to write, by default `anno` in the release.

    Raises:
        InputError: there are neither shot files nor key-frames; the message lists what there is.
    """
    if keyframes is not None and not keyframes.is_dir():
        raise InputError(f"{keyframes} is not a folder; give --keyframes a folder with a folder per film")
    if keyframes is None and root.name in KEYFRAME_FOLDERS and _has_keyframes(root):
        keyframes = root
    for folder in _candidates(root):
        layout = Layout.of(folder)
        places = (keyframes,) if keyframes else (*(folder / name for name in KEYFRAME_FOLDERS), folder)
        found = next((place for place in places if _has_keyframes(place)), keyframes)
        if found is not None or layout.shots.is_dir():
            shots = layout.shots if layout.shots.is_dir() else "none"
            log.info("%s: shot files: %s; key-frames: %s", root, shots, found or "none")
            return replace(layout, keyframes=found or layout.keyframes, annotations=annotations or layout.annotations)
    names = sorted(path.name for path in root.glob("[!.]*"))
    hint = "; unpack the archives first" if any(name.endswith(ARCHIVES) for name in names) else ""
    raise InputError(
        f"{root} has neither scene318/shot_movie318 nor key-frames such as 240P_frames/<film>/shot_0000_img_0.jpg, "
        f"but {', '.join(names[:5]) or 'nothing'}{' ...' if len(names) > 5 else ''}{hint}; name the folder that holds "
        "them (key-frames elsewhere: --keyframes)"
    )


def _candidates(root: Path) -> Iterator[Path]:
    if root.name == "scene318" or root.name in KEYFRAME_FOLDERS:
        yield root.absolute().parent
    yield root
    if root.is_dir():
        yield from (path for path in sorted(root.glob("[!.]*")) if path.is_dir() and path.name != "scene318")


def _has_keyframes(folder: Path) -> bool:
    """Return whether folders of films with key-frames lie in a folder."""
    if not folder.is_dir():
        return False
    films = islice((path for path in folder.glob("[!.]*") if path.is_dir()), NUM_PROBED)
    return any(next(film.glob("shot_*_img_*.jpg"), None) is not None for film in films)


def build_annotations(layout: Layout, splits: Splits | None = None, progress_bar: bool = False) -> Built:
    """Write `anno/` from key-frame folders, shot files, label files and the split file.

    A film is as long as its shot file says, without one as long as its key-frames, with both as the shorter, so that
    no row points at nothing. One bad file costs its film, or that film's labels, and is reported.

    Args:
        layout: where the data lie.
        splits: used instead of the split file.
        progress_bar: show progress over key-frame folders.

    Raises:
        InputError: there is no film, or the split file cannot be read.
    """
    findings: list[Finding] = []
    # 1. films with their labels
    listings = _list_all_keyframes(layout, findings, progress_bar)
    names = {path.stem for folder in (layout.shots, layout.labels) for path in folder.glob("[!.]*.txt")}
    read = (_read_film(layout, name, listings.get(name), findings) for name in sorted(names | set(listings)))
    films = [film for film in read if film is not None]
    if not films:
        reason = f": {findings[0].about} {findings[0].what}" if findings else ""
        raise InputError(f"{layout.root} holds no film to annotate{reason}; give shot files or key-frames")

    # 2. splits in terms of these films
    labelled = [film.name for film in films if film.is_labelled]
    if splits is None and layout.split.is_file():
        splits, split_findings = fit_splits(read_split_file(layout.split), [film.name for film in films])
        findings += split_findings
    elif splits is None and labelled:
        findings.append(Finding(WARNING, "no split file", str(layout.split), "is missing: all films are unsplit"))
    splits = splits or {}
    findings += note_unplaced(labelled, splits)
    unlabelled = sorted({name for part in splits.values() for name in part} - set(labelled))
    if unlabelled and labelled:
        text = f"{pluralize(len(unlabelled), 'film')} of the splits without labels, such as {unlabelled[0]}"
        findings.append(Finding(WARNING, "films without labels", "split", text))

    # 3. rows
    return Built(write_annotations(layout, films, splits), films, findings)


def _list_all_keyframes(layout: Layout, findings: list[Finding], progress_bar: bool) -> dict[str, KeyframeListing]:
    if not layout.keyframes.is_dir():
        text = "does not exist: no pre-training, and features from elsewhere only"
        findings.append(Finding(NOTE, "no key-frames", str(layout.keyframes), text))
        return {}
    listings = {}
    folders = list_film_folders(layout.keyframes)
    if layout.keyframes == layout.root:
        folders = [name for name in folders if name not in ("anno", "scene318", "features")]
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


def _read_film(layout: Layout, name: str, listing: KeyframeListing | None, findings: list[Finding]) -> Film | None:
    """Return a film from its files, None if its length is unknown."""
    # 1. its length
    if not is_film_name(name):
        findings.append(Finding(ERROR, "film names", repr(name), "cannot be the name of a film: left out"))
        return None
    shot_file, label_file = layout.shots / f"{name}.txt", layout.labels / f"{name}.txt"
    lengths = [listing.num_shots] if listing is not None else []
    if shot_file.is_file():
        try:
            lengths.append(len(read_shot_frames(shot_file)))
        except InputError as error:
            findings.append(Finding(ERROR, "shot files", name, str(error)))
    if not lengths:
        text = "has neither a readable shot file nor key-frames: left out"
        findings.append(Finding(ERROR, "films of unknown length", name, text))
        return None
    num_shots = min(lengths)
    if max(lengths) > num_shots:
        text = f"has key-frames for {lengths[0]} shots and a shot file of {lengths[-1]}: the fewer count"
        findings.append(Finding(ERROR, "key-frames and shot file differ", name, text))

    # 2. its labels
    labels = np.full(num_shots, NO_LABEL, np.int8)
    if label_file.is_file():
        try:
            labels, label_findings = fit_labels(read_label_file(label_file), num_shots, name)
            findings += label_findings
        except InputError as error:
            findings.append(Finding(ERROR, "label files", name, f"{error}: the film is without labels"))
    return Film(name, labels, has_keyframes=listing is not None, digits=listing.digits if listing is not None else 4)

"""Feature stores against annotations: whether every film that fine-tuning reads is there, whole and long enough."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bassl.console import pluralize
from bassl.errors import InputError
from bassl.labels.findings import ERROR, NOTE, WARNING, Finding
from bassl.prepare.consistency import AnnotationFile
from bassl.prepare.layout import SPLIT_NAMES


@dataclass
class StoredFilms:
    """films: those that any readable store holds."""

    films: set[str] = field(default_factory=set)
    findings: list[Finding] = field(default_factory=list)


def find_stores(folder: Path) -> list[Path]:
    """Feature stores below `folder`, by name."""
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def check_stores(
    folders: Sequence[Path], files: Iterable[AnnotationFile], lengths: Mapping[str, int], data: Path
) -> StoredFilms:
    """Open each store, and every film in it by its header. lengths: shots of the films, as shot files have them."""
    stored = StoredFilms()
    if not folders:
        return stored
    from bassl.dataset.features import FeatureStore  # imports torch

    extract = f"bassl extract {shlex.quote(f'config.DATA_PATH={data}')}"
    needed = {file.name: file.rows for file in files if file.name in SPLIT_NAMES}
    for folder in folders:
        name = f"features/{folder.name}"
        try:
            store = FeatureStore.open(folder, f"{extract} config.LOAD_FROM={shlex.quote(folder.name)}")
        except InputError as error:
            stored.findings.append(Finding(ERROR, "feature stores", name, str(error)))
            continue
        for film in store.num_shots:
            try:
                if not store.per_shot:  # half a million files need not be opened
                    store.film(film)
            except InputError as error:
                stored.findings.append(Finding(ERROR, "feature stores", name, str(error)))
            else:
                stored.films.add(film)
        num_shots = sum(store.num_shots.values())
        films, shots = pluralize(len(store.num_shots), "film"), pluralize(num_shots, "shot")
        text = f"{films}, {shots}, {store.dimension} numbers a shot"
        stored.findings.append(Finding(NOTE, "feature stores", name, text))
        for film in sorted(set(store.num_shots) & set(lengths)):
            if store.num_shots[film] != lengths[film]:
                text = f"{pluralize(store.num_shots[film], 'shot')} of {film} stored, the film has {lengths[film]}"
                stored.findings.append(Finding(ERROR, "feature stores", name, text))
        for split, rows in needed.items():
            if missing := [film for film in rows.films if film not in store.num_shots]:
                text = f"lacks {len(missing)} of {pluralize(len(rows.films), 'film')} of {split}, such as {missing[0]}"
                stored.findings.append(Finding(WARNING, "films not in a feature store", name, text))
            for film, count in zip(rows.films, rows.num_shots.tolist(), strict=True):
                if film in store.num_shots and store.num_shots[film] < count:
                    text = f"holds {store.num_shots[film]} shots of {film}, anno.{split} needs {count}"
                    stored.findings.append(Finding(ERROR, "feature stores", name, text))
    return stored

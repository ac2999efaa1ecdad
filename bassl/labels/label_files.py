"""Boundary labels shot by shot: MovieNet's label files, and what to do where they and the shots do not match.

A film's labels are one array, (num_shots,) int8: 1 a scene ends with this shot, 0 not, -1 uncertain, NO_LABEL none.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bassl.console import pluralize
from bassl.errors import InputError
from bassl.files import write_atomically
from bassl.labels.findings import ERROR, NOTE, WARNING, Finding

NO_LABEL = -2
LABELS = ("0", "1", "-1")

Labels = NDArray[np.int8]


def read_label_file(path: Path) -> dict[int, int]:
    """Label by shot from lines `<shot> <label>`, or from lines `<label>` alone, where line 1 is shot 0.

    Raises InputError with file and line for anything malformed, and for a shot that stands there twice.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise InputError(f"label file {path} cannot be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise InputError(f"label file {path} is no text ({error.reason}); give lines such as '0007 1'") from error
    labels: dict[int, int] = {}
    for number, line in enumerate(lines, 1):
        fields = line.replace(",", " ").split()
        if not fields:
            continue
        shot_text = fields[0] if len(fields) > 1 else str(len(labels))
        is_shot = shot_text.isascii() and shot_text.isdigit() and len(shot_text) < 10
        if len(fields) > 2 or not is_shot or fields[-1] not in LABELS:
            raise InputError(
                f"{path}, line {number}: {line[:80]!r} is not '<shot> <label>', with a label of 0, 1 or -1"
            )
        shot = int(shot_text)
        if shot in labels:
            raise InputError(f"{path}, line {number}: shot {shot} has a label already; remove one of the lines")
        labels[shot] = int(fields[-1])
    if not labels:
        raise InputError(f"label file {path} holds no labels; remove it to have the film without")
    return labels


def fit_labels(labels: dict[int, int], num_shots: int, film: str) -> tuple[Labels, list[Finding]]:
    """A film's labels as an array, (num_shots,), and what was odd about them.

    MovieNet's label files leave out the last shot, after which there is nothing to tell apart. Where one holds it (or
    lacks more), its labels are taken as they are, so that the rows are the benchmark's; labels of shots that the film
    does not have are left out.
    """
    fitted = np.full(num_shots, NO_LABEL, np.int8)
    inside = {shot: label for shot, label in labels.items() if shot < num_shots}
    fitted[list(inside)] = list(inside.values())
    found = []
    if len(inside) < len(labels):
        text = f"{pluralize(len(labels) - len(inside), 'label')} past its last shot, {num_shots - 1}: left out"
        found.append(Finding(ERROR, "labels past the film", film, text))
    if not inside:
        return fitted, found
    without = np.flatnonzero(fitted[:-1] == NO_LABEL)
    if fitted[-1] != NO_LABEL:
        text = f"{pluralize(len(inside), 'label')} for {pluralize(num_shots, 'shot')}, the last among them: kept "
        text += "(one fewer is usual)"
        found.append(Finding(NOTE, "label of the last shot", film, text))
    if len(without):
        text = f"{pluralize(len(inside), 'label')} for {pluralize(num_shots, 'shot')}: shot {without[0]} "
        text += f"and {len(without) - 1} others have none" if len(without) > 1 else "has none"
        found.append(Finding(WARNING, "shots without label", film, text))
    return fitted, found


def write_label_file(path: Path, labels: Labels) -> None:
    """Write the shots that have a label, a line `<shot> <label>` each."""
    text = "".join(f"{shot:04d} {labels[shot]}\n" for shot in np.flatnonzero(labels != NO_LABEL))
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="ascii"))

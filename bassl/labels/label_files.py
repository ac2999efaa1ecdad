"""Label files, one boundary label per shot, and how they fit a film's shots.

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
from bassl.video.tables import parse_whole, read_table

NO_LABEL = -2
LABELS = ("0", "1", "-1")
MAX_SHOT = 10**9

Labels = NDArray[np.int8]


def read_label_file(path: Path) -> dict[int, int]:
    """Read labels by shot from lines `<shot> <label>`, or `<label>` alone for the shots in order.

    Raises InputError with file and line for a malformed line or a shot that is listed twice.
    """
    labels: dict[int, int] = {}
    for line, fields in read_table(path, "label file"):
        *numbers, label = (field for field in fields if field)
        shot = parse_whole(numbers[0]) if numbers else len(labels)
        label = label.removesuffix(".0")
        if len(numbers) > 1 or shot is None or shot >= MAX_SHOT or label not in LABELS:
            raise InputError(
                f"{path}, line {line}: {' '.join(fields)[:80]!r} is not '<shot> <label>', with a label of 0, 1 or -1"
            )
        if shot in labels:
            raise InputError(f"{path}, line {line}: shot {shot} has a label already; remove one of the lines")
        labels[shot] = int(label)
    if not labels:
        raise InputError(f"label file {path} holds no labels; remove it to use the film without labels")
    return labels


def fit_labels(labels: dict[int, int], num_shots: int, film: str) -> tuple[Labels, list[Finding]]:
    """Return a film's labels as an array, (num_shots,), and findings about them.

    MovieNet's label files leave out the last shot, which no shot follows. A label of the last shot is kept and more
    missing labels stay missing, so that the rows are the benchmark's. Labels past the film are dropped.
    """
    fitted = np.full(num_shots, NO_LABEL, np.int8)
    inside = {shot: label for shot, label in labels.items() if shot < num_shots}
    fitted[list(inside)] = list(inside.values())
    findings = []
    if len(inside) < len(labels):
        text = f"{pluralize(len(labels) - len(inside), 'label')} past its last shot, {num_shots - 1}: left out"
        findings.append(Finding(ERROR, "labels past the film", film, text))
    if not inside:
        return fitted, findings
    numbers = f"{pluralize(len(inside), 'label')} for {pluralize(num_shots, 'shot')}"
    missing = np.flatnonzero(fitted[:-1] == NO_LABEL)
    if fitted[-1] != NO_LABEL:
        text = f"{numbers}, the last among them: kept (one label fewer is usual)"
        findings.append(Finding(NOTE, "label of the last shot", film, text))
    if len(missing):
        text = f"{numbers}: {len(missing)} missing, the first of shot {missing[0]}"
        findings.append(Finding(WARNING, "shots without label", film, text))
    return fitted, findings


def write_label_file(path: Path, labels: Labels) -> None:
    """Write a line `<shot> <label>` for each shot that has a label."""
    text = "".join(f"{shot:04d} {labels[shot]}\n" for shot in np.flatnonzero(labels != NO_LABEL))
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="ascii"))

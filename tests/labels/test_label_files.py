from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bassl.errors import InputError
from bassl.labels.findings import ERROR, NOTE, WARNING, Finding, text_lines
from bassl.labels.label_files import NO_LABEL, fit_labels, read_label_file, write_label_file


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "film.txt"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "text", ["0000 0\n0001 1\n0002 -1\n\n", "0\n1\n-1\n", "0,0\r\n1,1\r\n2,-1\r\n", "0.0 0.0\n1.0 1.0\n2.0 -1.0\n"]
)
def test_label_files_of_every_form_are_read(tmp_path: Path, text: str) -> None:
    assert read_label_file(write(tmp_path, text)) == {0: 0, 1: 1, 2: -1}


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("0000 0\nend\n", "line 2"),
        ("0000 2\n", "line 1"),
        ("0000 0 0", "line 1"),
        ("9999999999 0", "line 1"),
        ("0001 0\n1 1", "line 2: shot 1 has a label already"),
        ("", "no labels"),
    ],
)
def test_a_malformed_line_is_refused_by_its_number(tmp_path: Path, text: str, where: str) -> None:
    with pytest.raises(InputError, match=where):
        read_label_file(write(tmp_path, text))


@pytest.mark.parametrize(
    ("labels", "fitted", "severities"),
    [
        ({0: 0, 1: 1, 2: -1}, [0, 1, -1, NO_LABEL], []),  # one fewer than shots is what MovieNet has
        ({0: 0, 1: 1, 2: 0, 3: 1}, [0, 1, 0, 1], [NOTE]),  # tt0120755
        ({0: 0, 1: 1}, [0, 1, NO_LABEL, NO_LABEL], [WARNING]),  # tt1099212
        ({0: 1, 1: 0, 2: 0, 7: 1}, [1, 0, 0, NO_LABEL], [ERROR]),
        ({7: 1}, [NO_LABEL] * 4, [ERROR]),
    ],
)
def test_labels_fit_the_films_length(labels: dict[int, int], fitted: list[int], severities: list[str]) -> None:
    array, findings = fit_labels(labels, 4, "film")
    assert array.tolist() == fitted
    assert [finding.severity for finding in findings] == severities


def test_written_labels_are_read_again(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "film.txt"
    write_label_file(path, np.array([0, 1, NO_LABEL, -1, NO_LABEL], np.int8))
    assert path.read_text() == "0000 0\n0001 1\n0003 -1\n"
    assert read_label_file(path) == {0: 0, 1: 1, 3: -1}


def test_findings_are_listed_errors_first_and_at_most_so_many_per_kind() -> None:
    findings = [Finding(NOTE, "a", "f\x1b", "x"), *(Finding(ERROR, "b", str(i), "y") for i in range(3))]
    assert text_lines(findings, 2) == [
        "error: 0: y",
        "error: 1: y",
        "error: ... and 1 more of this kind (b)",
        "note: f�: x",
    ]

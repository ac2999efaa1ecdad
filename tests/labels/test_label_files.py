from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bassl.errors import InputError
from bassl.labels.findings import ERROR, NOTE, WARNING
from bassl.labels.label_files import NO_LABEL, fit_labels, read_label_file, write_label_file

quick = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "film.txt"
    path.write_text(text)
    return path


def test_movienets_lines_are_read(tmp_path: Path) -> None:
    assert read_label_file(written(tmp_path, "0000 0\n0001 1\n0002 -1\n\n")) == {0: 0, 1: 1, 2: -1}


def test_lines_with_a_label_alone_count_the_shots(tmp_path: Path) -> None:
    assert read_label_file(written(tmp_path, "0\n1\n-1\n")) == {0: 0, 1: 1, 2: -1}


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("0000 0\nend\n", "line 2"),
        ("0000 2\n", "line 1"),
        ("0000 0 0", "line 1"),
        ("0001 0\n1 1", "line 2"),
        ("", "no labels"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, text: str, where: str) -> None:
    with pytest.raises(InputError, match=where):
        read_label_file(written(tmp_path, text))


def test_one_label_fewer_than_shots_is_what_is_expected() -> None:
    labels, found = fit_labels({0: 0, 1: 1, 2: -1}, 4, "tt1")
    assert labels.tolist() == [0, 1, -1, NO_LABEL]
    assert found == []


def test_a_label_for_the_last_shot_is_kept_and_reported() -> None:
    labels, found = fit_labels({0: 0, 1: 1, 2: 0}, 3, "tt0120755")
    assert labels.tolist() == [0, 1, 0]
    assert [(finding.severity, finding.about) for finding in found] == [(NOTE, "tt0120755")]


def test_two_labels_fewer_than_shots_are_kept_and_reported() -> None:
    labels, found = fit_labels({0: 0, 1: 1}, 4, "tt1099212")
    assert labels.tolist() == [0, 1, NO_LABEL, NO_LABEL]
    assert [finding.severity for finding in found] == [WARNING]


def test_labels_past_the_film_are_left_out_and_reported() -> None:
    labels, found = fit_labels({0: 1, 7: 1}, 2, "tt1")
    assert labels.tolist() == [1, NO_LABEL]
    assert [finding.severity for finding in found] == [ERROR]


@quick
@given(st.dictionaries(st.integers(0, 40), st.sampled_from([0, 1, -1]), max_size=40), st.integers(1, 30))
def test_labels_have_the_films_length_whatever_the_file_says(labels: dict[int, int], num_shots: int) -> None:
    fitted, _ = fit_labels(labels, num_shots, "film")
    assert fitted.shape == (num_shots,)
    for shot in range(num_shots):
        assert fitted[shot] == labels.get(shot, NO_LABEL)


@quick
@given(text=st.text(alphabet="019- ,\nx٣", max_size=40))
def test_any_text_is_labels_or_an_input_error(tmp_path: Path, text: str) -> None:
    try:
        labels = read_label_file(written(tmp_path, text))
    except InputError:
        return
    assert set(labels.values()) <= {-1, 0, 1}
    assert min(labels) >= 0


def test_bytes_that_are_no_text_are_an_input_error(tmp_path: Path) -> None:
    path = tmp_path / "film.txt"
    path.write_bytes(b"\xff\xfe0000 0")
    with pytest.raises(InputError, match="no text"):
        read_label_file(path)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "film.txt"
    write_label_file(path, np.array([0, 1, NO_LABEL, -1, NO_LABEL], np.int8))
    assert path.read_text() == "0000 0\n0001 1\n0003 -1\n"
    assert read_label_file(path) == {0: 0, 1: 1, 3: -1}

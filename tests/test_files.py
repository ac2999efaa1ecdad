"""Atomic writing: the old file or the new one, and no traces of a failure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bassl.files import write_atomically


def test_a_new_file_appears_with_its_folders(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b" / "score.json"
    write_atomically(target, lambda path: path.write_text("{}"))
    assert target.read_text() == "{}"
    assert [path.name for path in target.parent.iterdir()] == ["score.json"]


def test_an_old_file_is_replaced(tmp_path: Path) -> None:
    target = tmp_path / "score.json"
    target.write_text("old")
    write_atomically(target, lambda path: path.write_text("new"))
    assert target.read_text() == "new"


def test_a_failing_writer_leaves_the_old_file_and_no_temporary_one(tmp_path: Path) -> None:
    target = tmp_path / "score.json"
    target.write_text("old")

    def fail_halfway(path: Path) -> None:
        path.write_text("ne")
        raise RuntimeError("disk on fire")

    with pytest.raises(RuntimeError, match="disk on fire"):
        write_atomically(target, fail_halfway)
    assert [path.name for path in tmp_path.iterdir()] == ["score.json"]
    assert target.read_text() == "old"


def test_the_target_is_untouched_until_everything_is_written(tmp_path: Path) -> None:
    target = tmp_path / "score.json"

    def write(path: Path) -> None:
        path.write_text("new")
        assert path.parent == target.parent
        assert path.name.startswith(".")
        assert not target.exists()

    write_atomically(target, write)
    assert target.exists()


def test_numpy_adds_no_second_suffix(tmp_path: Path) -> None:
    write_atomically(tmp_path / "film.npy", lambda path: np.save(path, np.arange(3)))
    np.testing.assert_array_equal(np.load(tmp_path / "film.npy"), [0, 1, 2])

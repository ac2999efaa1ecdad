"""Atomic writing: the old file or the new one, and no traces of a failure."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from bassl.errors import InputError
from bassl.files import locked, refuse_unwritable, remove_leftovers, write_atomically
from tests.runs import files_no_larger_than


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


@pytest.mark.parametrize("library", ["torch", "numpy", "python"])
def test_a_disk_that_takes_no_more_is_the_systems_error_with_the_path_whichever_library_writes(
    library: str, tmp_path: Path
) -> None:
    target, many = tmp_path / "large", 100_000
    writers: dict[str, Callable[[Path], object]] = {
        "torch": lambda path: torch.save(torch.zeros(many), path),
        "numpy": lambda path: np.save(path.open("wb"), np.zeros(many)),
        "python": lambda path: path.write_bytes(bytes(many)),
    }
    with files_no_larger_than(50_000), pytest.raises(OSError, match="File too large") as caught:
        write_atomically(target, writers[library])
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(target))
    assert not list(tmp_path.iterdir())


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


def test_leftovers_of_killed_runs_are_removed_and_nothing_else(tmp_path: Path) -> None:
    kept = ["score.json", ".lock", ".123-xyz.score.json", "123-0a1b2c3d.score.json"]
    for name in [*kept, ".123-0a1b2c3d.score.json"]:
        (tmp_path / name).write_text("x")
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_one_holds_another_gets_only_after_it(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bassl.files.LOCK_PATIENCE", 0)
    path = tmp_path if kind == "folder" else tmp_path / "lock"
    with locked(path), pytest.raises(BlockingIOError), locked(path):
        pass
    with locked(path):
        pass


def test_a_lock_that_is_let_go_of_in_time_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first = locked(tmp_path)
    first.__enter__()
    monkeypatch.setattr("bassl.files.time.sleep", lambda seconds: first.__exit__(None, None, None))
    with caplog.at_level("INFO"), locked(tmp_path):
        assert len(caplog.messages) == 1 and "another process holds" in caplog.messages[0]


def test_a_file_system_without_locks_is_told_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_locks(*arguments: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with locked(tmp_path):
        assert "cannot be locked (Function not implemented)" in caplog.text


@pytest.mark.parametrize("below", [".", "new/one"])
def test_where_files_can_be_written_nothing_is_said_or_left(below: str, tmp_path: Path) -> None:
    refuse_unwritable(tmp_path / below, "--output")
    assert not list(tmp_path.iterdir())


def test_a_file_in_a_folders_place_and_a_folder_that_takes_none_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "l.csv"
    file.touch()
    for folder in (file, file / "run"):
        with pytest.raises(InputError) as refusal:
            refuse_unwritable(folder, "config.CKPT_PATH")
        assert str(refusal.value) == f"{folder} cannot be written ({file} is a file); name another config.CKPT_PATH"

    def refuse(dir: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted", str(dir))  # an immutable folder, also for root

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(InputError, match=r"c cannot be written \(Operation not permitted\); name another --out"):
        refuse_unwritable(tmp_path / "c", "--out")

"""Atomic writes and folder locks."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from bassl.errors import InputError
from bassl.files import lock_folder, refuse_unwritable, remove_leftovers, write_atomically
from tests.runs import files_no_larger_than


def test_a_file_is_flushed_before_its_rename_and_the_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In any other order, a power cut can leave an empty file under the final name."""
    events: list[str] = []
    fsync, replace = os.fsync, os.replace

    def record_fsync(descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        events.append("folder" if path.is_dir() else f"file of {path.stat().st_size} bytes")
        fsync(descriptor)

    def record_replace(source: Path, target: Path) -> None:
        events.append("replace")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", record_fsync)
    monkeypatch.setattr(os, "replace", record_replace)
    write_atomically(tmp_path / "new" / "score.json", lambda path: path.write_text("12345"))
    assert events == ["file of 5 bytes", "replace", "folder"]
    assert (tmp_path / "new" / "score.json").read_text() == "12345"


def test_the_target_is_untouched_until_everything_is_written(tmp_path: Path) -> None:
    target = tmp_path / "score.npy"
    target.write_text("old")

    def write(path: Path) -> None:
        np.save(path, np.arange(3))  # adds no second suffix
        assert (path.parent, path.name[0], target.read_text()) == (tmp_path, ".", "old")

    write_atomically(target, write)
    assert np.load(target).tolist() == [0, 1, 2]
    assert os.listdir(tmp_path) == ["score.npy"]


def test_a_failing_writer_leaves_the_old_file_and_no_temporary_one(tmp_path: Path) -> None:
    target = tmp_path / "score.json"
    target.write_text("old")

    def fail_halfway(path: Path) -> None:
        path.write_text("ne")
        raise RuntimeError("disk on fire")

    with pytest.raises(RuntimeError, match="disk on fire"):
        write_atomically(target, fail_halfway)
    assert (os.listdir(tmp_path), target.read_text()) == (["score.json"], "old")


@pytest.mark.parametrize("library", ["torch", "numpy", "python"])
def test_a_full_disk_raises_an_oserror_with_the_path_whichever_library_writes(library: str, tmp_path: Path) -> None:
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


def test_only_leftovers_of_killed_runs_are_removed(tmp_path: Path) -> None:
    kept = {"score.json", ".lock", ".123-xyz.score.json", "123-0a1b2c3d.score.json"}
    for name in [*kept, ".123-0a1b2c3d.score.json"]:
        (tmp_path / name).write_text("x")
    remove_leftovers(tmp_path)
    assert set(os.listdir(tmp_path)) == kept


def test_a_locked_folder_is_refused_until_it_is_released(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    with (
        lock_folder(folder, "busy"),
        pytest.raises(InputError, match="wait for it"),
        lock_folder(folder, "wait for it"),
    ):
        pytest.fail("two hold the folder")
    with lock_folder(folder, "busy"), lock_folder(folder, "busy", name=".other"):
        pass


def test_a_lock_that_is_released_in_time_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first = lock_folder(tmp_path, "busy")
    first.__enter__()
    monkeypatch.setattr("bassl.files.log.info", lambda *message: first.__exit__(None, None, None))
    with lock_folder(tmp_path, "busy"):
        pass


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK])
def test_a_file_system_without_locks_earns_one_warning(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_locks(*arguments: object, **options: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("filelock.FileLock.acquire", no_locks)
    with lock_folder(tmp_path, "busy"):
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "cannot be locked" in caplog.text


@pytest.mark.parametrize("below", [".", "new/one"])
def test_a_check_for_writing_leaves_nothing(below: str, tmp_path: Path) -> None:
    refuse_unwritable(tmp_path / below, "--output")
    assert not list(tmp_path.iterdir())


def test_an_unwritable_folder_is_refused_with_the_key_that_names_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "l.csv"
    file.touch()
    with pytest.raises(InputError, match=r"run cannot be written \(.*l.csv is a file\); name another config.CKPT_PATH"):
        refuse_unwritable(file / "run", "config.CKPT_PATH")

    def refuse(dir: Path) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted", str(dir))  # an immutable folder, also for root

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(InputError, match="Operation not permitted"):
        refuse_unwritable(tmp_path / "c", "--out")

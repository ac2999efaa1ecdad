from __future__ import annotations

import errno
import os
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from bassl.labels.findings import ERROR
from bassl.prepare import workers
from bassl.prepare.film import FilmJob, is_done
from bassl.prepare.workers import prepare_films
from bassl.video.settings import ShotSettings
from tests.prepare.clips import make_clip
from tests.prepare.making import tree_bytes

real_work = workers._work


def jobs_for(tmp_path: Path, *names: str) -> list[FilmJob]:
    for seed, name in enumerate(names):
        make_clip(tmp_path / f"{name}.mp4", seed=seed)
    return [FilmJob(tmp_path / f"{name}.mp4", name, tmp_path / "data", ShotSettings()) for name in names]


def dying_work(job: FilmJob, sender: Connection) -> None:
    """Work whose process is ended from outside for one of the films."""
    if job.name == "b":
        os.abort()
    real_work(job, sender)


def full_disk_work(job: FilmJob, sender: Connection) -> None:
    """Work on a disk that is full."""

    def write_nothing(path: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # without the file, as `write` has it

    Path.write_bytes = write_nothing  # type: ignore[method-assign]
    real_work(job, sender)


def test_a_bad_film_and_a_process_that_dies_cost_one_film_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = jobs_for(tmp_path, "a", "b", "c")
    (tmp_path / "c.mp4").write_bytes(b"no film")
    monkeypatch.setattr(workers, "_work", dying_work)
    found = prepare_films(jobs, 2)
    assert sorted((finding.severity, finding.about) for finding in found) == [(ERROR, "b"), (ERROR, "c")]
    assert [is_done(tmp_path / "data", name) for name in "abc"] == [True, False, False]
    dead = next(finding for finding in found if finding.about == "b")
    assert "status -6" in dead.what


def test_a_full_disk_ends_the_run_with_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_work", full_disk_work)
    with pytest.raises(OSError, match="No space left") as caught:
        prepare_films(jobs_for(tmp_path, "a", "b"), 1)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(tmp_path / "data" / "240P_frames" / ".partial-a" / "shot_0000_img_0.jpg")


def test_the_number_of_processes_changes_nothing(tmp_path: Path) -> None:
    jobs = jobs_for(tmp_path, "a", "b")
    assert prepare_films(jobs, 2) == []
    two = tree_bytes(tmp_path / "data", hidden=True)
    (tmp_path / "data").rename(tmp_path / "other")
    assert prepare_films(jobs, 1) == []
    assert tree_bytes(tmp_path / "data", hidden=True) == two
    assert len(two) == 2 * (9 + 1 + 1)

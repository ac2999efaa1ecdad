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
from tests.video.clips import write_clip

real_work = workers._work


def jobs_for(tmp_path: Path, *names: str) -> list[FilmJob]:
    for name in names:
        write_clip(tmp_path / f"{name}.mp4")
    return [FilmJob(tmp_path / f"{name}.mp4", name, tmp_path / "data", ShotSettings()) for name in names]


def work_that_crashes(job: FilmJob, sender: Connection) -> None:
    if job.name == "b":
        os.abort()
    real_work(job, sender)


def work_on_a_full_disk(job: FilmJob, sender: Connection) -> None:
    def write_nothing(path: Path, content: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # like `write`, without the file

    Path.write_bytes = write_nothing  # type: ignore[method-assign]
    real_work(job, sender)


def test_a_bad_film_and_a_crash_cost_one_film_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = jobs_for(tmp_path, "a", "b", "c")
    (tmp_path / "c.mp4").write_bytes(b"no film")
    monkeypatch.setattr(workers, "_work", work_that_crashes)
    findings = {finding.about: finding for finding in prepare_films(jobs, 2)}
    assert {name: finding.severity for name, finding in findings.items()} == {"b": ERROR, "c": ERROR}
    assert [is_done(tmp_path / "data", name) for name in "abc"] == [True, False, False]
    assert "status -6" in findings["b"].what


def test_a_full_disk_ends_the_run_and_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_work", work_on_a_full_disk)
    with pytest.raises(OSError, match="No space left") as caught:
        prepare_films(jobs_for(tmp_path, "a", "b"), 1)
    assert caught.value.errno == errno.ENOSPC
    assert caught.value.filename == str(tmp_path / "data" / "240P_frames" / ".partial-a" / "shot_0000_img_0.jpg")

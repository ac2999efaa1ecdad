from __future__ import annotations

import multiprocessing
import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bassl.dataset.shot_files import read_shot_frames
from bassl.errors import InputError
from bassl.prepare import film as film_module
from bassl.prepare.film import FilmJob, is_done, partial_folder, prepare_film, read_record, sweep, times_of
from bassl.prepare.workers import PRELOADED
from bassl.video.settings import ShotSettings
from bassl.video.shot_list import ShotList
from tests.prepare.clips import make_clip
from tests.prepare.making import tree_bytes


def job(tmp_path: Path, target: str = "data", shots: ShotSettings | None = None) -> FilmJob:
    return FilmJob(tmp_path / "clip.mp4", "clip", tmp_path / target, shots or ShotSettings())


def test_a_film_becomes_keyframes_a_shot_file_and_a_record(tmp_path: Path) -> None:
    shots = make_clip(tmp_path / "clip.mp4")
    assert prepare_film(job(tmp_path)) == []
    data = tmp_path / "data"
    assert is_done(data, "clip")
    lines = (data / "scene318" / "shot_movie318" / "clip.txt").read_text().splitlines()
    assert lines == ["0 23 5 10 15", "24 53 31 38 45", "54 77 59 64 69"]
    assert read_shot_frames(data / "scene318" / "shot_movie318" / "clip.txt").tolist() == [list(shot) for shot in shots]
    names = sorted(path.name for path in (data / "240P_frames" / "clip").iterdir())
    assert names == [f"shot_{shot:04d}_img_{keyframe}.jpg" for shot in range(3) for keyframe in range(3)]
    with Image.open(data / "240P_frames" / "clip" / names[0]) as picture:
        assert picture.size == (320, 240)
        colour = np.asarray(picture)[:, 200:].mean(axis=(0, 1))
    assert abs(colour - [40, 40, 220]).max() < 12
    record = read_record(data, "clip")
    assert (record["num_frames"], record["num_shots"], record["file"]) == (78, 3, "clip.mp4")
    assert times_of(record).rate == Fraction(24)


def test_shots_can_be_given(tmp_path: Path) -> None:
    make_clip(tmp_path / "clip.mp4")
    given = ShotList(tmp_path / "clip.txt", np.array([[0, 9], [10, 77]]))
    prepare_film(job(tmp_path, shots=ShotSettings(given=given)))
    lines = (tmp_path / "data" / "scene318" / "shot_movie318" / "clip.txt").read_text().splitlines()
    assert lines == ["0 9 2 4 6", "10 77 26 42 58"]


def test_a_film_that_cannot_be_read_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"no film")
    with pytest.raises(InputError, match=r"clip\.mp4"):
        prepare_film(job(tmp_path))
    assert tree_bytes(tmp_path / "data", hidden=True) == {}
    assert not is_done(tmp_path / "data", "clip")


def test_a_record_of_a_variable_rate_keeps_every_frames_time() -> None:
    record = {
        "rate": "24",
        "start": "1/8",
        "num_frames": 3,
        "time_base": "1/1000",
        "last_ticks": 40,
        "ticks": [0, 40, 90],
    }
    times = times_of(record)
    assert times.is_variable
    assert times.seconds(2) == Fraction(1, 8) + Fraction(90, 1000)


def killed_at(step: int, work: FilmJob) -> None:
    """Prepare a film in this process and be gone at the `step`th write, as by SIGKILL."""
    count = 0

    def watched(original):
        def call(*arguments, **options):
            nonlocal count
            count += 1
            if count == step:
                os._exit(9)
            return original(*arguments, **options)

        return call

    Image.Image.save = watched(Image.Image.save)
    os.replace = watched(os.replace)
    Path.rename = watched(Path.rename)
    film_module.write_shot_file = watched(film_module.write_shot_file)
    prepare_film(work)
    os._exit(0)


@pytest.mark.slow
def test_killed_at_any_write_and_done_again_a_film_is_the_same(tmp_path: Path) -> None:
    make_clip(tmp_path / "clip.mp4")
    prepare_film(job(tmp_path, "whole"))
    whole = tree_bytes(tmp_path / "whole", hidden=True)
    context = multiprocessing.get_context("forkserver")  # forking this process could copy a lock of its video threads
    context.set_forkserver_preload(PRELOADED)
    num_kills = 0
    for step in range(1, 99):
        process = context.Process(target=killed_at, args=(step, job(tmp_path)))
        process.start()
        process.join(60)
        if process.exitcode == 0:
            break
        num_kills += 1
        assert process.exitcode == 9
        assert not is_done(tmp_path / "data", "clip")
        assert not (tmp_path / "data" / "scene318" / "shot_movie318" / "clip.txt").exists()
        if step % 4 == 0:  # the next attempt finds what this one left; now and then one in between succeeds
            prepare_film(job(tmp_path))
            sweep(tmp_path / "data")
            assert tree_bytes(tmp_path / "data", hidden=True) == whole
            (tmp_path / "data" / "scene318" / "shot_movie318" / "clip.txt").unlink()
    assert num_kills == 13  # nine key-frames, the record, the folder's name, the shot file's two steps
    assert not partial_folder(tmp_path / "data", "clip").exists()
    sweep(tmp_path / "data")
    assert tree_bytes(tmp_path / "data", hidden=True) == whole

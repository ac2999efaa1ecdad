from __future__ import annotations

import multiprocessing
import os
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bassl.errors import InputError
from bassl.prepare import film as film_module
from bassl.prepare.film import (
    FilmJob,
    is_done,
    prepare_film,
    read_record,
    record_times,
    remove_partial_films,
)
from bassl.prepare.workers import PRELOADED
from bassl.video.settings import ShotSettings
from bassl.video.shot_list import ShotList
from tests.prepare.making import tree_bytes
from tests.video.clips import read_number, write_clip

SHOT_FILE = Path("scene318", "shot_movie318", "clip.txt")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return write_clip(tmp_path / "clip.mp4", (24, 30, 24))


def job(clip: Path, target: str = "data", given: list[list[int]] | None = None) -> FilmJob:
    shots = ShotSettings() if given is None else ShotSettings(given=ShotList(clip, np.array(given)))
    return FilmJob(clip, "clip", clip.parent / target, shots)


@pytest.mark.parametrize(
    ("given", "lines"),
    [
        (None, ["0 23 5 10 15", "24 53 31 38 45", "54 77 59 64 69"]),
        ([[0, 9], [10, 77]], ["0 9 2 4 6", "10 77 26 42 58"]),
    ],
)
def test_every_keyframe_is_the_frame_that_the_shot_file_says(clip: Path, given: list | None, lines: list[str]) -> None:
    assert prepare_film(job(clip, given=given)) == []
    assert (clip.parent / "data" / SHOT_FILE).read_text().splitlines() == lines
    numbers = {}
    for path in (clip.parent / "data" / "240P_frames" / "clip").iterdir():
        with Image.open(path) as image:
            numbers[path.name] = read_number(np.asarray(image))
            assert image.height == 240
    assert numbers == {
        f"shot_{shot:04d}_img_{number}.jpg": int(keyframe)
        for shot, line in enumerate(lines)
        for number, keyframe in enumerate(line.split()[2:])
    }


def test_a_record_has_what_later_steps_need(clip: Path) -> None:
    prepare_film(job(clip))
    record = read_record(clip.parent / "data", "clip")
    assert (record["num_frames"], record["num_shots"], record["file"]) == (78, 3, "clip.mp4")
    assert (record["width"], record["height"], record["bytes"]) == (160, 96, clip.stat().st_size)
    assert record_times(record).rate == Fraction(24)
    variable = {"rate": "24", "start": "1/8", "num_frames": 3, "time_base": "1/1000", "last_ticks": 40}
    assert record_times({**variable, "ticks": [0, 40, 90]}).seconds(2) == Fraction(1, 8) + Fraction(90, 1000)


def test_a_film_that_cannot_be_read_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"no film")
    with pytest.raises(InputError, match=r"clip\.mp4"):
        prepare_film(job(tmp_path / "clip.mp4"))
    assert tree_bytes(tmp_path / "data", hidden=True) == {}


def exit_at(step: int, work: FilmJob) -> None:
    """Prepare a film in this process and end it at the `step`-th write, as by SIGKILL."""
    count = 0

    def watch(original):
        def call(*arguments, **options):
            nonlocal count
            count += 1
            if count == step:
                os._exit(9)
            return original(*arguments, **options)

        return call

    Image.Image.save, os.replace, Path.rename = watch(Image.Image.save), watch(os.replace), watch(Path.rename)
    film_module.write_shot_file = watch(film_module.write_shot_file)
    prepare_film(work)
    os._exit(0)


@pytest.mark.slow
def test_a_film_killed_at_any_write_and_repeated_has_the_same_bytes(clip: Path) -> None:
    prepare_film(job(clip, "whole"))
    whole, data = tree_bytes(clip.parent / "whole", hidden=True), clip.parent / "data"
    context = multiprocessing.get_context("forkserver")  # forking this process could copy a lock of its video threads
    context.set_forkserver_preload(PRELOADED)
    for step in range(1, 15):
        process = context.Process(target=exit_at, args=(step, job(clip)))
        process.start()
        process.join(60)
        assert process.exitcode == (9 if step < 14 else 0)  # 9 key-frames, record, folder, two of the shot file
        assert is_done(data, "clip") == (data / SHOT_FILE).exists() == (step == 14)
        if step % 4 == 0:
            prepare_film(job(clip))
            remove_partial_films(data)
            assert tree_bytes(data, hidden=True) == whole
            shutil.rmtree(data)
    remove_partial_films(data)
    assert tree_bytes(data, hidden=True) == whole

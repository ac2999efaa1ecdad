from __future__ import annotations

import errno
import os
import sys

import pytest

import bassl.segment.run as module
from bassl.segment.reference import find_model
from bassl.segment.run import ModelError, ModelLoader, Options, Task, segment_film, segment_films
from bassl.video.extras import MissingExtra
from bassl.video.settings import ShotSettings
from tests.video.clips import write_clip, write_sound

FORMATS = ("json", "edl")


def task(path, out, **more):
    return Task(path, out / path.stem, ShotSettings(), **more)


def options(model_path, **more):
    return Options(find_model(model_path), "cpu", None, FORMATS, **more)


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_one_bad_film_does_not_stop_the_rest(film, model_path, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no film")
    paths = [bad, film, write_sound(tmp_path / "song.m4a"), tmp_path / "gone.mp4"]
    found = list(segment_films([task(path, tmp_path / "out") for path in paths], options(model_path), ["cpu"]))
    assert [outcome.error is None for outcome in found] == [False, True, False, False]
    assert [outcome.task.film for outcome in found] == paths
    assert "cannot be read as a video" in found[0].error
    assert "holds no video" in found[2].error
    assert files(tmp_path / "out") == ["a film/scenes.edl", "a film/scenes.json"]
    assert [path.name for path in found[1].written] == ["scenes.json", "scenes.edl"]


def test_a_full_disk_is_told_and_leaves_nothing_half_written(film, model_path, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("bassl.files.os.fsync", full)
    outcome = segment_film(
        task(film, tmp_path / "out"), options(model_path), ModelLoader(find_model(model_path), "cpu")
    )
    assert "No space left on device" in outcome.error
    assert files(tmp_path / "out") == []


def test_a_fault_of_ours_is_told_as_one_and_does_not_stop_the_rest(film, model_path, tmp_path, monkeypatch, caplog):
    def broken(*_arguments, **_named):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(module, "finish", broken)
    load = ModelLoader(find_model(model_path), "cpu")
    outcome = segment_film(task(film, tmp_path / "out"), options(model_path), load)
    assert "fault of bassl (ZeroDivisionError: oops)" in outcome.error
    assert "Traceback" in caplog.text


def test_a_model_that_cannot_be_loaded_stops_everything(film, tmp_path):
    broken = tmp_path / "broken.ckpt"
    broken.write_bytes(b"no checkpoint")
    with pytest.raises(ModelError, match="cannot be read as a checkpoint"):
        list(segment_films([task(film, tmp_path / "out")] * 2, options(broken), ["cpu"]))


def test_a_missing_library_is_told_once_and_not_for_every_film(film, model_path, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "bassl.segment.encode", None)
    with pytest.raises(MissingExtra, match="which is not installed"):
        list(segment_films([task(film, tmp_path / "out")] * 2, options(model_path), ["cpu"]))


def test_the_model_is_loaded_once(film, model_path, tmp_path, monkeypatch):
    import bassl.segment.model as model_module

    loads = []
    load_reference = model_module.load_reference
    monkeypatch.setattr(model_module, "load_reference", lambda *given: loads.append(1) or load_reference(*given))
    other = write_clip(tmp_path / "other.mp4", (20, 20))
    found = list(segment_films([task(path, tmp_path / "out") for path in (film, other)], options(model_path), ["cpu"]))
    assert [outcome.error for outcome in found] == [None, None]
    assert len(loads) == 1


def test_clips_are_cut_where_asked_for(film, model_path, tmp_path, monkeypatch):
    def cut(segmentation, folder, ffmpeg, show_progress):
        return [folder / f"{ffmpeg}-{scene.number}" for scene in segmentation.scenes]

    monkeypatch.setattr("bassl.segment.results.write_clips", cut)
    load = ModelLoader(find_model(model_path), "cpu")
    outcome = segment_film(task(film, tmp_path / "out"), options(model_path, num_scenes=2, ffmpeg="ff"), load)
    assert [path.name for path in outcome.written] == ["scenes.json", "scenes.edl", "ff-1", "ff-2"]


@pytest.mark.slow
def test_devices_share_the_films_and_give_what_one_gives(model_path, tmp_path):
    paths = [write_clip(tmp_path / f"{name}.mp4", (20 + 5 * n, 30)) for n, name in enumerate("abc")]
    paths.append(tmp_path / "gone.mp4")
    alone = {
        o.task.film: o for o in segment_films([task(p, tmp_path / "1") for p in paths], options(model_path), ["cpu"])
    }
    both = list(segment_films([task(p, tmp_path / "2") for p in paths], options(model_path), ["cpu", "cpu"]))
    assert {outcome.task.film for outcome in both} == set(paths)
    for outcome in both:
        assert outcome.segmentation == alone[outcome.task.film].segmentation
        assert outcome.error == alone[outcome.task.film].error
    assert files(tmp_path / "1") == files(tmp_path / "2")


@pytest.mark.slow
def test_a_model_that_cannot_be_loaded_stops_all_processes(film, tmp_path):
    broken = tmp_path / "broken.ckpt"
    broken.write_bytes(b"no checkpoint")
    tasks = [task(film, tmp_path / "a"), task(film, tmp_path / "b")]
    with pytest.raises(ModelError, match="cannot be read as a checkpoint"):
        list(segment_films(tasks, options(broken), ["cpu", "cpu"]))

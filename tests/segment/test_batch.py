from __future__ import annotations

import errno
import os
import sys

import pytest

from bassl.segment.api import ModelError, Options, model_loader, segment_film
from bassl.segment.batch import segment_films
from bassl.segment.model_files import find_model
from bassl.video import MissingExtra
from tests.video.clips import write_clip, write_sound

FORMATS = ("json", "edl")


def options(path, model_path, out, **more):
    return Options(path, find_model(model_path), out / path.stem, formats=FORMATS, **more)


def run_film(options):
    return segment_film(options, model_loader(options.model, "cpu"))


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("[!.]*") if path.is_file())


def test_one_bad_film_does_not_stop_the_rest(film, model_path, tmp_path):
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"no film")
    paths = [bad, film, write_sound(tmp_path / "song.m4a"), tmp_path / "gone.mp4"]
    found = list(segment_films([options(path, model_path, tmp_path / "out") for path in paths], ["cpu"]))
    assert [outcome.error is None for outcome in found] == [False, True, False, False]
    assert [outcome.options.film for outcome in found] == paths
    assert "cannot be read as a video" in found[0].error
    assert "holds no video" in found[2].error
    assert files(tmp_path / "out") == ["a film/scenes.edl", "a film/scenes.json"]
    assert [path.name for path in found[1].files] == ["scenes.json", "scenes.edl"]


def test_a_full_disk_is_reported_and_leaves_nothing_half_written(film, model_path, tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("bassl.files.os.fsync", full)
    outcome = run_film(options(film, model_path, tmp_path / "out"))
    assert "No space left on device" in outcome.error
    assert files(tmp_path / "out") == []


def test_a_bug_is_reported_as_one_and_does_not_stop_the_rest(film, model_path, tmp_path, monkeypatch, caplog):
    def broken(*_arguments, **_named):
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("bassl.segment.api.cut", broken)
    outcome = run_film(options(film, model_path, tmp_path / "out"))
    assert "bug in bassl (ZeroDivisionError: oops)" in outcome.error
    assert "Traceback" in caplog.text


def test_a_model_that_cannot_be_loaded_stops_everything(film, tmp_path):
    broken = tmp_path / "broken.ckpt"
    broken.write_bytes(b"no checkpoint")
    with pytest.raises(ModelError, match="cannot be read as a checkpoint"):
        list(segment_films([options(film, broken, tmp_path / "out")] * 2, ["cpu"]))


def test_a_missing_library_is_reported_once_and_not_for_every_film(film, model_path, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "bassl.video.reader", None)
    with pytest.raises(MissingExtra, match="which is not installed"):
        list(segment_films([options(film, model_path, tmp_path / "out")] * 2, ["cpu"]))


def test_the_model_is_loaded_once(film, model_path, tmp_path, monkeypatch):
    import bassl.segment.model as model_module

    loads = []
    load_spec = model_module.load_spec
    monkeypatch.setattr(model_module, "load_spec", lambda *given: loads.append(1) or load_spec(*given))
    other = write_clip(tmp_path / "other.mp4", (20, 20))
    found = list(segment_films([options(path, model_path, tmp_path / "out") for path in (film, other)], ["cpu"]))
    assert [outcome.error for outcome in found] == [None, None]
    assert len(loads) == 1


@pytest.mark.slow
def test_devices_share_the_films_and_give_what_one_gives(model_path, tmp_path):
    paths = [write_clip(tmp_path / f"{name}.mp4", (20 + 5 * n, 30)) for n, name in enumerate("abc")]
    paths.append(tmp_path / "gone.mp4")
    alone = list(segment_films([options(path, model_path, tmp_path / "1") for path in paths], ["cpu"]))
    expected = {outcome.options.film: outcome for outcome in alone}
    both = list(segment_films([options(path, model_path, tmp_path / "2") for path in paths], ["cpu", "cpu"]))
    assert {outcome.options.film for outcome in both} == set(paths)
    for outcome in both:
        assert outcome.segmentation == expected[outcome.options.film].segmentation
        assert outcome.error == expected[outcome.options.film].error
    assert files(tmp_path / "1") == files(tmp_path / "2")

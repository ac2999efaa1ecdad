from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

import bassl.files
from bassl.errors import InputError
from bassl.files import lock_folder
from bassl.segment.output.results import FORMATS, film_of, is_another, parse_formats, write_formats, write_results
from tests.segment.models import segmentation

OTHER = (0.9, 0.1, 0.1, 0.1)  # probabilities that cut the film elsewhere


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def test_files_of_the_same_cut_stay_and_those_of_another_go(tmp_path):
    write_results(segmentation(), tmp_path, ("json", "edl", "vtt"))
    (tmp_path / "notes.txt").touch()
    _, removed = write_results(segmentation(), tmp_path, ("json", "edl"))
    assert (names(tmp_path), removed) == (["chapters.vtt", "notes.txt", "scenes.edl", "scenes.json"], [])
    _, removed = write_results(segmentation(probability=OTHER), tmp_path, ("json",))
    assert removed == ["scenes.edl", "chapters.vtt"]
    assert names(tmp_path) == ["notes.txt", "scenes.json"]
    _, removed = write_results(segmentation(), tmp_path, ("edl",))
    assert (names(tmp_path), removed) == (["notes.txt", "scenes.edl"], ["scenes.json"])


def test_files_that_somebody_has_changed_or_needs_stay(tmp_path):
    write_results(segmentation(), tmp_path, ("json", "csv", "edl", "vtt"))
    written = (tmp_path / "scenes.json").stat().st_mtime
    os.utime(tmp_path / "scenes.edl", (written + 60, written + 60))
    _, removed = write_results(segmentation(probability=OTHER), tmp_path, ("json",), keep=[tmp_path / "scenes.csv"])
    assert removed == ["chapters.vtt"]
    assert names(tmp_path) == ["scenes.csv", "scenes.edl", "scenes.json"]


def test_a_folder_belongs_to_one_film(tmp_path):
    write_results(segmentation(Path("/films/1/a.mp4")), tmp_path, ("json",))
    assert film_of(tmp_path) == Path("/films/1/a.mp4")
    assert not is_another(Path("/films/2/../1/a.mp4"), tmp_path)
    with pytest.raises(InputError, match=r"holds the results of /films/1/a\.mp4, not of /films/2/a\.mp4"):
        write_results(segmentation(Path("/films/2/a.mp4")), tmp_path, ("edl",))
    assert names(tmp_path) == ["scenes.json"]


@pytest.mark.parametrize("content", ["", "[]", '{"film": {"path": 3}}', "[" * 100_000, "\udcff"])
def test_a_scenes_json_of_something_else_says_nothing(tmp_path, content):
    (tmp_path / "scenes.json").write_bytes(content.encode(errors="surrogateescape"))
    assert film_of(tmp_path) is None
    write_results(segmentation(), tmp_path, ("json",))
    assert json.loads((tmp_path / "scenes.json").read_text())["version"] == 1


def test_a_second_process_waits_and_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(bassl.files, "LOCK_PATIENCE", 0.3)
    with lock_folder(tmp_path, "busy"), pytest.raises(InputError, match="another bassl segment is writing"):
        write_results(segmentation(), tmp_path, ("json",), ffmpeg="no-ffmpeg")
    assert names(tmp_path) == []
    write_results(segmentation(), tmp_path, ("json",))


def test_what_a_killed_call_left_half_written_goes(tmp_path):
    (tmp_path / "clips").mkdir()
    for path in (tmp_path / ".12-0123abcd.scenes.csv", tmp_path / "clips" / ".12-0123abcd.scene-001.mp4"):
        path.touch()
    write_results(segmentation(), tmp_path, ("json",))
    assert names(tmp_path) == ["clips", "scenes.json"]
    assert names(tmp_path / "clips") == []


def test_every_format_is_written_under_its_own_name(tmp_path):
    written = write_formats(segmentation(), tmp_path / "new" / "folder", tuple(FORMATS))
    assert len(written) == len(FORMATS) == 9
    assert {path.name for path in (tmp_path / "new" / "folder").iterdir()} == {path.name for path in written}
    assert all(path.stat().st_size > 50 for path in written)


@pytest.mark.parametrize(("text", "expected"), [
    (" EDL, .otio,edl", ("edl", "otio")), ("json,all", tuple(FORMATS)),
])  # fmt: skip
def test_formats_are_named_in_a_list(text, expected):
    assert parse_formats(text) == expected


@pytest.mark.parametrize(("text", "message"), [("jsn", "'jsn' is unknown"), (",", "no format")])
def test_an_unknown_format_names_the_known(text, message):
    with pytest.raises(InputError, match=message):
        parse_formats(text)


def test_a_full_disk_leaves_the_old_files_and_nothing_half_written(tmp_path, monkeypatch):
    write_formats(segmentation(), tmp_path, ("json", "csv"))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(_path, _segmentation):
        _path.write_text("half of i")
        raise OSError(errno.ENOSPC, "No space left on device", str(_path))

    monkeypatch.setattr("bassl.segment.output.scenes_json.write_json", full)
    with pytest.raises(OSError, match="No space left"):
        write_formats(segmentation(threshold=0.2), tmp_path, ("json", "csv"))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before

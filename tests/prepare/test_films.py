from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from bassl.prepare.films import find_films
from tests.prepare.making import LENGTHS, prepare, tree_bytes

Output = pytest.CaptureFixture[str]


def test_films_that_are_done_are_not_opened_again(films: Path, data: Path, made_once: Path) -> None:
    times = {path: path.stat().st_mtime_ns for path in (data / "240P_frames").rglob("*.jpg")}
    assert prepare(films, "--target", data) == 0  # the older spelling of --output
    assert {path: path.stat().st_mtime_ns for path in (data / "240P_frames").rglob("*.jpg")} == times
    assert tree_bytes(data) == tree_bytes(made_once / "data")


def test_a_film_that_has_been_replaced_is_reported(films: Path, data: Path, capsys: Output) -> None:
    (films / "one.mp4").write_bytes(bytes((films / "one.mp4").stat().st_size))
    (films / "two.mp4").write_bytes(b"another film")
    assert prepare(films, "--output", data) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert [error.split(": ")[1] for error in errors] == ["one", "two"]
    assert "two.mp4 (12 bytes) is not the file that it was prepared from" in errors[1]
    record = data / ".prepare" / "films" / "one.json"
    earlier = json.loads(record.read_text())
    del earlier["content"]  # as in an earlier version
    record.write_text(json.dumps(earlier))
    (films / "two.mp4").unlink()
    assert prepare(films, "--output", data) == 0


def test_given_shots_are_used_and_changes_of_them_reported(films: Path, tmp_path: Path, capsys: Output) -> None:
    lists, data = tmp_path / "lists", tmp_path / "data"
    lists.mkdir()
    (lists / "one.txt").write_text("0\t9\n10\t80\n")  # two frames past the film
    (lists / "two-Scenes.csv").write_text("Scene Number,Start Frame,End Frame\n1,1,51\n2,52,102\n")
    assert prepare(films, "--output", data, "--shots", lists) == 1
    assert "there is no shot list for" in capsys.readouterr().err
    shot_files = data / "scene318" / "shot_movie318"
    assert (shot_files / "one.txt").read_text() == "0 9 2 4 6\n10 77 26 42 58\n"
    assert (shot_files / "two.txt").read_text().splitlines()[1].startswith("51 101 ")
    (films / "three.mp4").unlink()
    assert prepare(films, "--output", data, "--shots", lists) == 0
    (lists / "one.txt").write_text("0 9\n10 30\n31 77\n")
    assert prepare(films, "--output", data, "--shots", lists) == 1
    assert "one.txt lists other shots (3) than it was prepared with (2); to prepare it" in capsys.readouterr().err
    (shot_files / "one.txt").unlink()
    assert prepare(films, "--output", data, "--shots", lists) == 0
    assert len((shot_files / "one.txt").read_text().splitlines()) == 3


def test_a_damaged_record_costs_its_film_alone(films: Path, data: Path, made_once: Path, capsys: Output) -> None:
    (data / ".prepare" / "films" / "two.json").write_text("{}")
    assert prepare(films / "one.mp4", "--output", data) == 0  # `two` is not at hand
    assert "warning: two: " in capsys.readouterr().err
    assert prepare(films, "--output", data) == 0
    assert "it is prepared again" in capsys.readouterr().err
    assert tree_bytes(data, hidden=True) == tree_bytes(made_once / "data", hidden=True)


def test_a_data_set_is_never_mixed(films: Path, data: Path, tmp_path: Path, capsys: Output) -> None:
    assert prepare(films, "--output", data, "--shortest-shot", 0.5) == 2
    text = "shots adaptive (threshold 3.0, min_seconds 0.6), now it is adaptive (threshold 3.0, min_seconds 0.5)"
    assert text in capsys.readouterr().err
    (tmp_path / "other" / "240P_frames" / "tt1").mkdir(parents=True)
    assert prepare(films, "--output", tmp_path / "other") == 2
    assert "did not make" in capsys.readouterr().err


def test_films_of_one_name_are_left_out_unless_named_by_path(films: Path) -> None:
    (films / "disc").mkdir()
    shutil.copy(films / "one.mp4", films / "disc" / "one.mp4")
    sources, findings = find_films([films])
    assert [source.name for source in sources] == ["three", "two"]
    assert [(finding.severity, finding.about) for finding in findings] == [("error", "one")]
    assert [source.name for source in find_films([films], by_path=True)[0]] == ["disc_one", "one", "three", "two"]


def test_links_and_repeated_places_are_one_film(films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (films / "a_link.mp4").symlink_to(films / "one.mp4")
    (films / "zwei.mp4").hardlink_to(films / "two.mp4")
    (films / ".hidden.mp4").write_bytes(b"")
    monkeypatch.chdir(films.parent)
    sources, findings = find_films([Path("films"), films / "one.mp4", Path("films/../films/one.mp4")])
    assert [source.name for source in sources] == sorted(LENGTHS)
    assert [(finding.severity, finding.about) for finding in findings] == [("note", "zwei"), ("note", "a_link")]

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.prepare.clips import make_clip
from tests.prepare.making import LENGTHS, prepare, tree_bytes


def test_films_that_are_done_are_not_opened_again(films: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert prepare(films, "--target", data) == 0
    before = {path: path.stat().st_mtime_ns for path in (data / "240P_frames").rglob("*.jpg")}
    content = tree_bytes(data)
    for name in LENGTHS:
        os.utime(films / f"{name}.mp4", (0, 0))
    assert prepare(films, "--target", data) == 0
    assert {path: path.stat().st_mtime_ns for path in (data / "240P_frames").rglob("*.jpg")} == before
    assert tree_bytes(data) == content


def test_a_film_that_has_been_replaced_is_told(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    assert prepare(films, "--target", data) == 0
    (films / "one.mp4").write_bytes(bytes((films / "one.mp4").stat().st_size))
    (films / "two.mp4").write_bytes(b"another film")
    assert prepare(films, "--target", data) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert [error.split(": ")[1] for error in errors] == ["one", "two"]
    assert "now as many others); to prepare it again, remove " in errors[0]
    assert "now 12); to prepare" in errors[1]
    record = data / ".prepare" / "films" / "one.json"
    earlier = json.loads(record.read_text())
    del earlier["content"]  # by an earlier version
    record.write_text(json.dumps(earlier))
    (films / "two.mp4").unlink()
    assert prepare(films, "--target", data) == 0


def test_shot_lists_that_have_changed_are_told(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lists, data = tmp_path / "lists", tmp_path / "data"
    lists.mkdir()
    for name, lengths in LENGTHS.items():
        (lists / f"{name}.txt").write_text(f"0 9\n10 {sum(lengths) + 2}\n")
    assert prepare(films, "--target", data, "--shots", lists) == 0
    assert prepare(films, "--target", data, "--shots", lists) == 0
    (lists / "one.txt").write_text("0 9\n10 30\n31 77\n")
    assert prepare(films, "--target", data, "--shots", lists) == 1
    assert "one.txt lists other shots (3) than it was prepared with (2); to prepare it" in capsys.readouterr().err
    (data / "scene318" / "shot_movie318" / "one.txt").unlink()
    assert prepare(films, "--target", data, "--shots", lists) == 0
    assert len((data / "scene318" / "shot_movie318" / "one.txt").read_text().splitlines()) == 3


def test_names_of_files_cannot_write_to_the_terminal(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (films / "bad\x1b[2J\nerror: x.mp4").write_bytes(b"no film")
    assert prepare(films, "--target", tmp_path / "data") == 1
    text = capsys.readouterr().err
    assert "\x1b" not in text
    assert not any(line.startswith("error: x") for line in text.splitlines())


def test_links_to_one_film_are_one_film(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (films / "a_link.mp4").symlink_to(films / "one.mp4")
    (films / "zwei.mp4").hardlink_to(films / "two.mp4")
    assert prepare(films, "--target", tmp_path / "data") == 0
    assert sorted(path.name for path in (tmp_path / "data" / "240P_frames").iterdir()) == sorted(LENGTHS)
    text = capsys.readouterr().err
    assert f"note: a_link: {films / 'a_link.mp4'} is the file {films / 'one.mp4'}: taken once" in text
    assert "note: zwei: " in text


def test_a_damaged_record_costs_its_film_alone(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    assert prepare(films, "--target", data) == 0
    before = tree_bytes(data, hidden=True)
    (data / ".prepare" / "films" / "two.json").write_text("{}")
    assert prepare(films / "one.mp4", "--target", data) == 0  # `two` is not at hand
    assert "warning: two: " in capsys.readouterr().err
    assert prepare(films, "--target", data) == 0
    assert "it is prepared again" in capsys.readouterr().err
    assert tree_bytes(data, hidden=True) == before


def test_a_target_is_never_mixed(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare(films, "--target", tmp_path / "data") == 0
    assert prepare(films, "--target", tmp_path / "data", "--shot-threshold", 5) == 2
    text = "was prepared with shots adaptive (threshold 3.0, min_seconds 0.6), now it is adaptive (threshold 5.0, min"
    assert text in capsys.readouterr().err
    (tmp_path / "other" / "240P_frames" / "tt1").mkdir(parents=True)
    assert prepare(films, "--target", tmp_path / "other") == 2
    assert "did not make" in capsys.readouterr().err


def test_films_of_one_name_are_reported_and_can_be_told_apart(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_clip(films / "disc" / "one.mp4", (24,))
    assert prepare(films, "--target", tmp_path / "data") == 1
    assert "2 files would all be this film" in capsys.readouterr().err
    assert not (tmp_path / "data" / "240P_frames" / "one").exists()
    (tmp_path / "scenes.csv").write_text("one,0,23\none,24,77\n")  # is of films, which are left out
    both = [films / "one.mp4", films / "disc" / "one.mp4"]
    assert prepare(*both, "--target", tmp_path / "none", "--labels", tmp_path / "scenes.csv") == 1
    assert "2 files would all be this film" in capsys.readouterr().err
    assert prepare(films, "--target", tmp_path / "apart", "--name-by", "path") == 0
    names = sorted(path.name for path in (tmp_path / "apart" / "240P_frames").iterdir())
    assert names == ["disc_one", "one", "three", "two"]


def test_shots_can_be_given_as_lists(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lists = tmp_path / "lists"
    lists.mkdir()
    (lists / "one.txt").write_text("0\t9\n10\t77\n")
    (lists / "two-Scenes.csv").write_text("Scene Number,Start Frame,End Frame\n1,1,51\n2,52,102\n")
    assert prepare(films, "--target", tmp_path / "data", "--shots", lists) == 1
    assert "there is no shot list for" in capsys.readouterr().err
    shot_files = tmp_path / "data" / "scene318" / "shot_movie318"
    assert (shot_files / "one.txt").read_text() == "0 9 2 4 6\n10 77 26 42 58\n"
    assert (shot_files / "two.txt").read_text().splitlines()[1].startswith("51 101 ")


def test_a_film_that_is_named_twice_is_one_film(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert prepare("films", films / "one.mp4", "./films/one.mp4", "--target", "data") == 0
    assert len(list((tmp_path / "data" / "240P_frames").iterdir())) == 3

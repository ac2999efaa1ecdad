from __future__ import annotations

from pathlib import Path

import pytest

from tests.prepare.clips import make_clip
from tests.prepare.making import prepare, rows_of, tree_bytes


def label_files(data: Path) -> dict[str, str]:
    return {path.stem: path.read_text() for path in (data / "scene318" / "label318").glob("*.txt")}


def test_labels_can_come_shot_by_shot_and_later(films: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert prepare(films, "--target", data) == 0
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "two.txt").write_text("0000 0\n0001 1\n0002 -1\n")
    assert prepare(films, "--target", data, "--labels", tmp_path / "labels", "--test", "two") == 0
    rows = rows_of(data / "anno" / "anno.test.ndjson")
    assert [row["boundary_label"] for row in rows] == [0, 1, -1]
    (tmp_path / "labels" / "two.txt").write_text("0000 yes\n")
    assert prepare(films, "--target", data, "--labels", tmp_path / "labels") == 1
    assert not (data / "anno" / "anno.trainvaltest.ndjson").exists()


def test_labels_of_films_that_a_list_does_not_name_stay(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    (tmp_path / "two.csv").write_text("film,start,end\ntwo,0,53\ntwo,54,101\n")
    (tmp_path / "one.csv").write_text("film,start,end\none,0,23\none,24,77\n")
    assert prepare(films, "--target", data, "--labels", tmp_path / "two.csv") == 0
    assert set(label_files(data)) == {"two"}
    assert prepare(films / "one.mp4", "--target", data, "--labels", tmp_path / "one.csv") == 0
    assert set(label_files(data)) == {"one", "two"}
    assert "names no labels for 2 films, such as three; 1 of them have labels already" in capsys.readouterr().err


def test_a_list_of_other_films_is_refused_before_anything_is_done(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    (tmp_path / "one.csv").write_text("film,start,end\none,0,23\none,24,77\n")
    (tmp_path / "other.csv").write_text("film,start,end\nfour,0,23\n")
    assert prepare(films, "--target", data, "--labels", tmp_path / "other.csv") == 2
    assert "names none of the films here: it has four, here are one, three, two" in capsys.readouterr().err
    assert not (data / "240P_frames").exists()
    assert prepare(films, "--target", data, "--labels", tmp_path / "one.csv") == 0
    before = tree_bytes(data, hidden=True)
    assert prepare(films, "--target", data, "--labels", tmp_path / "other.csv") == 2
    assert tree_bytes(data, hidden=True) == before


def test_two_names_for_one_film_are_refused(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "s.csv").write_text("d1/one.mp4,0,23\nd2/one.mp4,0,53\n")
    assert prepare(films, "--target", tmp_path / "data", "--labels", tmp_path / "s.csv") == 2
    assert "'d1/one.mp4' and 'd2/one.mp4' both mean the film one" in capsys.readouterr().err


def test_scenes_can_come_as_a_file_a_film_also_as_segment_writes_them(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, scenes = tmp_path / "data", tmp_path / "scenes"
    (scenes / "two").mkdir(parents=True)
    (scenes / "two" / "scenes.csv").write_text("Scene Number,Start Frame,End Frame\n1,1,54\n2,55,102\n")
    (scenes / "one.csv").write_text("one.mp4,0:00,0:01\none.mp4,0:01,0:03\n")
    (scenes / "three.csv").write_text("film,start,end\nfour,0,47\n")
    assert prepare(films, "--target", data, "--labels", scenes) == 1
    assert "has scenes of four, not of three alone" in capsys.readouterr().err
    assert label_files(data) == {"one": "0000 1\n0001 0\n", "two": "0000 0\n0001 1\n0002 0\n"}
    (scenes / "two.txt").write_text("0000 1\n")
    assert prepare(films, "--target", data, "--labels", scenes) == 2
    assert "'two/scenes.csv' and 'two.txt' both mean the film two" in capsys.readouterr().err
    (tmp_path / "single").mkdir()
    single = ("--target", tmp_path / "single", "--labels", scenes / "two" / "scenes.csv")
    assert prepare(films / "two.mp4", *single) == 0
    assert label_files(tmp_path / "single") == {"two": "0000 0\n0001 1\n0002 0\n"}
    assert prepare(films, *single) == 2
    assert "give a folder of <film>/scenes.csv" in capsys.readouterr().err


def test_a_film_of_one_shot_has_nothing_to_label_and_that_is_no_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_clip(tmp_path / "films" / "still.mp4", (30,))
    (tmp_path / "scenes.csv").write_text("film,start,end\nstill,0:00,0:00.5\nstill,0:00.5,0:01.25\n")
    assert prepare(tmp_path / "films", "--target", tmp_path / "data", "--labels", tmp_path / "scenes.csv") == 0
    assert "still: is a single shot: nothing to tell apart" in capsys.readouterr().err
    assert not (tmp_path / "data" / "scene318" / "label318" / "still.txt").exists()

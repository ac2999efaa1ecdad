from __future__ import annotations

from pathlib import Path

import pytest

from tests.prepare.making import labels_of, prepare, tree_bytes
from tests.video.clips import write_clip

Output = pytest.CaptureFixture[str]


def label_files(data: Path) -> dict[str, str]:
    return {path.stem: path.read_text() for path in (data / "scene318" / "label318").glob("*.txt")}


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "scenes.csv"
    path.write_text(text)
    return path


def test_labels_can_come_shot_by_shot_and_later(films: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "two.txt").write_text("0000 0\n0001 1\n0002 -1\n")
    assert prepare(films, "--output", data, "--labels", tmp_path / "labels", "--test", "two") == 0
    assert labels_of(data, "test") == {"two": [0, 1, -1]}
    (tmp_path / "labels" / "two.txt").write_text("0000 yes\n")
    assert prepare(films, "--output", data, "--labels", tmp_path / "labels") == 1
    assert not (data / "anno" / "anno.trainvaltest.ndjson").exists()


def test_films_that_a_list_does_not_name_keep_their_labels(
    films: Path, data: Path, tmp_path: Path, capsys: Output
) -> None:
    assert prepare(films, "--output", data, "--labels", write(tmp_path, "two,0,53\ntwo,54,101\n")) == 0
    assert set(label_files(data)) == {"two"}
    assert prepare(films / "one.mp4", "--output", data, "--labels", write(tmp_path, "one,0,23\none,24,77\n")) == 0
    assert set(label_files(data)) == {"one", "two"}
    assert "names no labels for 2 films, such as three; 1 of them have labels already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("film,start,end\nfour,0,23\n", "names none of the films here: it has four, here are one, three, two"),
        ("d1/one.mp4,0,23\nd2/one.mp4,0,53\n", "'d1/one.mp4' and 'd2/one.mp4' both mean the film one"),
    ],
)
def test_a_list_of_other_films_is_refused_before_anything_is_done(
    films: Path, tmp_path: Path, text: str, message: str, capsys: Output
) -> None:
    assert prepare(films, "--output", tmp_path / "new", "--labels", write(tmp_path, text)) == 2
    assert message in capsys.readouterr().err
    assert set(tree_bytes(tmp_path / "new", hidden=True)) == {".prepare/lock"}


def test_scenes_can_come_as_one_file_per_film_also_as_segment_writes_them(
    films: Path, data: Path, tmp_path: Path, capsys: Output
) -> None:
    scenes = tmp_path / "scenes"
    (scenes / "two").mkdir(parents=True)
    (scenes / "two" / "scenes.csv").write_text("Scene Number,Start Frame,End Frame\n1,1,54\n2,55,102\n")
    (scenes / "one.csv").write_text("one.mp4,0:00,0:01\none.mp4,0:01,0:03\n")
    (scenes / "three.csv").write_text("film,start,end\nfour,0,47\n")
    assert prepare(films, "--output", data, "--labels", scenes) == 1
    assert "has scenes of four, not of three alone" in capsys.readouterr().err
    assert label_files(data) == {"one": "0000 1\n0001 0\n", "two": "0000 0\n0001 1\n0002 0\n"}
    (scenes / "two.txt").write_text("0000 1\n")
    assert prepare(films, "--output", data, "--labels", scenes) == 2
    assert "'two.txt' both mean the film two" in capsys.readouterr().err
    assert prepare(films, "--output", data, "--labels", scenes / "two" / "scenes.csv") == 2
    assert "give a folder of <film>/scenes.csv" in capsys.readouterr().err


def test_seconds_with_all_their_digits_are_read(tmp_path: Path) -> None:
    write_clip(tmp_path / "film.mp4", (30, 40, 25))
    text = f"film,start_seconds,end_seconds\nfilm,0,{70 / 24}\nfilm,{70 / 24},{95 / 24}\n"
    assert prepare(tmp_path / "film.mp4", "--output", tmp_path / "data", "--labels", write(tmp_path, text)) == 0
    assert label_files(tmp_path / "data") == {"film": "0000 0\n0001 1\n"}


def test_a_film_of_one_shot_has_no_labels_and_that_is_no_error(tmp_path: Path, capsys: Output) -> None:
    write_clip(tmp_path / "still.mp4", (30,))
    labels = write(tmp_path, "film,start,end\nstill,0:00,0:00.5\nstill,0:00.5,0:01.25\n")
    assert prepare(tmp_path / "still.mp4", "--output", tmp_path / "data", "--labels", labels) == 0
    assert "note: still: is a single shot" in capsys.readouterr().err
    assert label_files(tmp_path / "data") == {}

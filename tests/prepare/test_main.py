from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bassl.prepare.check import main as check
from bassl.prepare.layout import Layout, alone
from bassl.prepare.main import main
from tests.prepare.clips import make_clip
from tests.prepare.making import rows_of, tree_bytes

ROOT = Path(__file__).resolve().parents[2]
LENGTHS = {"one": (24, 30, 24), "two": (30, 24, 24, 24), "three": (24, 24)}


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """A folder of three films, of 3, 4 and 2 shots."""
    for seed, (name, lengths) in enumerate(LENGTHS.items()):
        make_clip(tmp_path / "films" / f"{name}.mp4", lengths, seed=seed)
    return tmp_path / "films"


def prepare(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_a_folder_of_films_becomes_a_data_set(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "data"
    (tmp_path / "scenes.csv").write_text(
        "film,start,end\none,0,23\none,24,77\ntwo.mp4,0,53\ntwo.mp4,54,101\nthree,0,47\nfour,0,9\n"
    )
    assert prepare(films, "--target", data, "--labels", tmp_path / "scenes.csv", "--split", 1, 1, 1) == 0
    text = capsys.readouterr().err
    assert f"config.DATA_PATH={data}" in text
    assert "names 1 film not here, such as 'four'" in text
    layout = Layout.of(data)
    ends = {
        name: [
            row["shot_id"]
            for row in rows_of(layout.annotation_file("trainvaltest"))
            if row["video_id"] == name and row["boundary_label"]
        ]
        for name in LENGTHS
    }
    assert ends == {"one": ["0000"], "two": ["0001"], "three": []}
    assert len(rows_of(layout.annotation_file("pretrain"))) == 9
    assert sum(len(rows_of(layout.annotation_file(name))) for name in ("train", "val", "test")) == 6
    splits = json.loads(layout.split.read_text())
    assert sorted(splits["train"] + splits["val"] + splits["test"]) == sorted(LENGTHS)
    listed = json.loads((data / "scene318" / "meta" / "films.json").read_text())
    assert listed["two"]["num_shots"] == 4


def test_without_labels_it_is_for_pretraining(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare(films, "--target", tmp_path / "data") == 0
    assert "config.TEST.KNN_VALIDATION=false" in capsys.readouterr().err
    assert check([str(tmp_path / "data"), "--jobs", "1", "--strict"]) == 0
    assert "for pre-training only" in capsys.readouterr().out
    assert sorted(path.name for path in (tmp_path / "data" / "anno").iterdir()) == [
        "anno.pretrain.ndjson",
        "vid2idx.json",
    ]


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


def label_files(data: Path) -> dict[str, str]:
    return {path.stem: path.read_text() for path in (data / "scene318" / "label318").glob("*.txt")}


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


def test_one_bad_film_does_not_stop_the_rest(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (films / "broken.mkv").write_bytes(b"\x1aE\xdf\xa3 nothing")
    assert prepare(films, "--target", tmp_path / "data") == 1
    assert "error: broken: " in capsys.readouterr().err
    assert len(rows_of(tmp_path / "data" / "anno" / "anno.pretrain.ndjson")) == 9
    before = tree_bytes(tmp_path / "data")
    (films / "broken.mkv").unlink()
    assert prepare(films, "--target", tmp_path / "data") == 0
    assert tree_bytes(tmp_path / "data") == before


def test_films_that_are_done_are_not_opened_again(films: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert prepare(films, "--target", data) == 0
    before = {path: path.stat().st_mtime_ns for path in (data / "240P_frames").rglob("*.jpg")}
    content = tree_bytes(data)
    for name in LENGTHS:
        size = (films / f"{name}.mp4").stat().st_size
        (films / f"{name}.mp4").write_bytes(b"?" * size)
    assert prepare(films, "--target", data) == 0
    assert {path: path.stat().st_mtime_ns for path in (data / "240P_frames").rglob("*.jpg")} == before
    assert tree_bytes(data) == content
    (films / "two.mp4").write_bytes(b"another film")
    assert prepare(films, "--target", data) == 1


@pytest.mark.slow
def test_the_whole_command_killed_and_repeated_gives_the_same_bytes(films: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "bassl.prepare.main", str(films), "--jobs", "1", "--target"]
    subprocess.run([*command, str(tmp_path / "whole")], cwd=ROOT, check=True, capture_output=True)
    process = subprocess.Popen([*command, str(tmp_path / "data")], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert process.stderr.readline() == "one: done\n"
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    process.stderr.close()
    assert not (tmp_path / "data" / "anno").exists()
    subprocess.run([*command, str(tmp_path / "data")], cwd=ROOT, check=True, capture_output=True)
    assert tree_bytes(tmp_path / "data", hidden=True) == tree_bytes(tmp_path / "whole", hidden=True)


def test_a_second_run_on_the_target_refuses(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with alone(tmp_path / "data"):
        assert prepare(films, "--target", tmp_path / "data") == 2
    assert "another bassl prepare is writing" in capsys.readouterr().err
    assert not (tmp_path / "data" / "240P_frames").exists()


def test_a_target_is_never_mixed(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert prepare(films, "--target", tmp_path / "data") == 0
    assert prepare(films, "--target", tmp_path / "data", "--shot-threshold", 5) == 2
    assert "name another --target" in capsys.readouterr().err
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
    assert prepare(films, "--target", tmp_path / "apart", "--name-by", "path") == 0
    names = sorted(path.name for path in (tmp_path / "apart" / "240P_frames").iterdir())
    assert names == ["disc_one", "one", "three", "two"]


@pytest.mark.parametrize("name", ["<b>'x'</b>", "a\nb", '"; rm -rf x', "$(x)", "x..y", "-rf"])
def test_malicious_film_names_stay_in_the_target(name: str, tmp_path: Path) -> None:
    make_clip(tmp_path / "films" / f"{name.replace('/', '_')}.mp4", (24,))
    before = tree_bytes(tmp_path / "films")
    assert prepare(tmp_path / "films", "--target", tmp_path / "data") == 0
    assert tree_bytes(tmp_path / "films") == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "films"]
    made = next((tmp_path / "data" / "240P_frames").iterdir()).name
    assert not set(made) & set("<>'\"\n$/;() ")
    assert made[0] not in ".-"


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


@pytest.mark.parametrize(
    "options",
    [
        ["--split", "0", "1", "1"],
        ["--split-file", "nowhere.json"],
        ["--train", "x*"],
        ["--labels", "nowhere.csv"],
        ["--jobs", "0"],
        ["--detector", "magic"],
        ["--shots", "nowhere"],
        ["--overwrite"],
        ["--train", "one", "--split", "1", "1", "1"],
    ],
)
def test_wrong_options_are_one_error(
    options: list[str], films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("two", "three"):
        (films / f"{name}.mp4").unlink()
    (tmp_path / "s.csv").write_text("one,0,23\none,24,77\n")
    labels = [] if "--labels" in options else ["--labels", tmp_path / "s.csv"]
    assert prepare(films, "--target", tmp_path / "data", *labels, *options) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert not (tmp_path / "data" / "240P_frames").exists()  # before any film is opened


def test_a_film_of_one_shot_has_nothing_to_label_and_that_is_no_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_clip(tmp_path / "films" / "still.mp4", (30,))
    (tmp_path / "scenes.csv").write_text("film,start,end\nstill,0:00,0:00.5\nstill,0:00.5,0:01.25\n")
    assert prepare(tmp_path / "films", "--target", tmp_path / "data", "--labels", tmp_path / "scenes.csv") == 0
    assert "still: is a single shot: nothing to tell apart" in capsys.readouterr().err
    assert not (tmp_path / "data" / "scene318" / "label318" / "still.txt").exists()


def test_splits_by_pattern_without_any_label_are_refused_before_hours_of_work(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare(films, "--target", tmp_path / "data", "--train", "one", "--test", "two", "three") == 2
    assert "none has labels; add --labels" in capsys.readouterr().err
    assert not (tmp_path / "data" / "240P_frames").exists()


def test_a_film_that_is_named_twice_is_one_film(films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert prepare("films", films / "one.mp4", "./films/one.mp4", "--target", "data") == 0
    assert len(list((tmp_path / "data" / "240P_frames").iterdir())) == 3

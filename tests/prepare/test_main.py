from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bassl.prepare.check import main as check
from bassl.prepare.layout import Layout, alone
from tests.prepare.clips import make_clip
from tests.prepare.making import LENGTHS, prepare, rows_of, tree_bytes

ROOT = Path(__file__).resolve().parents[2]


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


def test_one_bad_film_does_not_stop_the_rest(films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (films / "broken.mkv").write_bytes(b"\x1aE\xdf\xa3 nothing")
    assert prepare(films, "--target", tmp_path / "data") == 1
    assert "error: broken: " in capsys.readouterr().err
    assert len(rows_of(tmp_path / "data" / "anno" / "anno.pretrain.ndjson")) == 9
    before = tree_bytes(tmp_path / "data")
    (films / "broken.mkv").unlink()
    assert prepare(films, "--target", tmp_path / "data") == 0
    assert tree_bytes(tmp_path / "data") == before


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


def test_splits_by_pattern_without_any_label_are_refused_before_hours_of_work(
    films: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare(films, "--target", tmp_path / "data", "--train", "one", "--test", "two", "three") == 2
    assert "none has labels; add --labels" in capsys.readouterr().err
    assert not (tmp_path / "data" / "240P_frames").exists()

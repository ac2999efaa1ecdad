from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bassl import files as files_module
from bassl.prepare.check import main as check
from bassl.prepare.layout import Layout, lock_target
from tests.prepare.making import LENGTHS, labels_of, prepare, rows_of, tree_bytes

ROOT = Path(__file__).resolve().parents[2]
Output = pytest.CaptureFixture[str]


def test_a_folder_of_films_becomes_a_data_set(films: Path, data: Path, tmp_path: Path, capsys: Output) -> None:
    scenes = "film,start,end\none,0,23\none,24,77\ntwo.mp4,0,53\ntwo.mp4,54,101\nthree,0,47\nfour,0,9\n"
    (tmp_path / "scenes.csv").write_text(scenes)
    assert prepare(films, "--output", data, "--labels", tmp_path / "scenes.csv", "--split", 1, 1, 1) == 0
    text = capsys.readouterr().err
    assert f"pre-train with config.DATA_PATH={data}\n" in text
    assert "names 1 film not here, such as 'four'" in text
    assert labels_of(data, "trainvaltest") == {"one": [1, 0], "two": [0, 1, 0], "three": [0]}
    assert len(rows_of(data, "pretrain")) == 9
    assert sum(len(rows_of(data, name)) for name in ("train", "val", "test")) == 6
    splits = json.loads(Layout.of(data).split.read_text())
    assert sorted(splits["train"] + splits["val"] + splits["test"]) == sorted(LENGTHS)
    listed = json.loads((data / "scene318" / "meta" / "films.json").read_text())
    assert (listed["two"]["num_shots"], listed["two"]["rate"], listed["two"]["num_frames"]) == (4, "24", 102)
    assert check([str(data), "--jobs", "1"]) == 0


def test_without_labels_it_is_for_pretraining(films: Path, data: Path, capsys: Output) -> None:
    assert prepare(films, "--output", data) == 0
    assert "config.TEST.KNN_VALIDATION=false" in capsys.readouterr().err
    assert check([str(data), "--jobs", "1", "--strict"]) == 0
    assert "for pre-training only" in capsys.readouterr().out
    assert sorted(path.name for path in (data / "anno").iterdir()) == ["anno.pretrain.ndjson", "vid2idx.json"]


def test_one_bad_film_does_not_stop_the_rest(films: Path, data: Path, made_once: Path, capsys: Output) -> None:
    (films / "bad\x1b[2J\nerror: x.mp4").write_bytes(b"\x1aE\xdf\xa3 nothing")
    assert prepare(films, "--output", data) == 1
    text = capsys.readouterr().err
    assert "error: bad_2J_error_x: " in text
    assert "\x1b" not in text
    assert not any(line.startswith("error: x") for line in text.splitlines())
    assert tree_bytes(data) == tree_bytes(made_once / "data")


@pytest.mark.slow
def test_the_command_killed_and_repeated_gives_the_same_bytes(films: Path, tmp_path: Path, made_once: Path) -> None:
    command = [sys.executable, "-m", "bassl.prepare.main", str(films), "--jobs", "1", "--output", str(tmp_path / "new")]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "one: done\n" in iter(process.stderr.readline, "")
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "new" / "anno").exists()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert tree_bytes(tmp_path / "new", hidden=True) == tree_bytes(made_once / "data", hidden=True)


def test_a_second_run_on_a_data_set_is_refused(
    films: Path, data: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_module, "LOCK_PATIENCE", 0.0)
    with lock_target(data):
        assert prepare(films, "--output", data) == 2
    assert "another bassl prepare is writing" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["film.mp4"],
        ["--output", "x"],
        ["film.mp4", "--from-movienet", "x"],
        ["--from-movienet", "nowhere"],
        *(
            ["film.mp4", "--output", "x", *wrong]
            for wrong in (
                ["--jobs", "0"],
                ["--detector", "magic"],
                ["--shots", "nowhere"],
                ["--labels", "nowhere.csv"],
                ["--overwrite"],
                ["--train", "film"],  # without labels
                ["--split", "0", "1", "1"],
                ["--split-file", "nowhere.json", "--split", "1", "1", "1"],
            )
        ),
    ],
)
def test_a_mistake_in_the_command_is_one_line_before_any_film_is_opened(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("film.mp4").write_bytes(b"is not opened")
    assert prepare(*options) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert not Path("x", "240P_frames").exists()

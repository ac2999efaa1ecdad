from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bassl.prepare.check import main
from bassl.prepare.movienet import build_annotations, locate
from tests.prepare.making import all_zero, jpeg, make_film, rows_of, write_labels, write_split

ROOT = Path(__file__).resolve().parents[2]
KEYFRAME = "240P_frames/{}/shot_{:04d}_img_{}.jpg"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three labelled films of five shots, one a split, and one for pre-training."""
    root = tmp_path / "data"
    for name in ("a", "b", "c"):
        make_film(root, name, 5, all_zero(4, s1=1, s2=-1))
    make_film(root, "d", 3, with_shot_file=False)
    write_split(root, train=["a"], val=["b"], test=["c"])
    assert build_annotations(locate(root)).findings == []
    return root


def checked(capsys: pytest.CaptureFixture[str], root: Path, *options: str) -> tuple[int, dict[str, Any]]:
    """Exit status and JSON report."""
    status = main([str(root), "--jobs", "1", "--json", *options])
    return status, json.loads(capsys.readouterr().out)


def kinds(report: dict[str, Any], severity: str = "error") -> dict[str, str]:
    """What is said, by kind."""
    found = [finding for finding in report["findings"] if finding["severity"] == severity]
    return {finding["kind"]: f"{finding['about']}: {finding['what']}" for finding in found}


def edit_rows(path: Path, change: Any) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in change(rows_of(path))))


def test_a_sound_data_set_has_no_findings(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, report = checked(capsys, data)
    assert status == 0
    assert report["findings"] == []
    assert report["splits"]["train"] == {"films": 1, "shots": 4, "positive": 1, "uncertain": 1}
    assert report["splits"]["pretrain"]["shots"] == 18
    assert report["keyframes"] == {"films": 4, "shots": 18, "missing": 0, "looked_at": 54, "broken": 0}
    assert main([str(data)]) == 0  # as people see it, with several processes
    text = capsys.readouterr().out
    assert "train                1         4           1          1  50.00 %" in text
    assert "0 errors, 0 warnings, 0 notes" in text


def cut_keyframe(root: Path) -> None:
    path = root / KEYFRAME.format("a", 1, 0)
    path.write_bytes(path.read_bytes()[:-9])


def lose_keyframe(root: Path) -> None:
    (root / KEYFRAME.format("d", 1, 2)).unlink()


def lose_film(root: Path) -> None:
    (root / "240P_frames" / "d").rename(root / "elsewhere")


def resize_keyframe(root: Path) -> None:
    (root / KEYFRAME.format("b", 0, 0)).write_bytes(jpeg(60, 50))


def lose_a_shot(root: Path) -> None:
    for keyframe in range(3):
        (root / KEYFRAME.format("a", 4, keyframe)).unlink()


def point_past_the_film(root: Path) -> None:
    edit_rows(root / "anno" / "anno.train.ndjson", lambda rows: [*rows, {**rows[0], "shot_id": "0007"}])


def repeat_a_row(root: Path) -> None:
    edit_rows(root / "anno" / "anno.train.ndjson", lambda rows: [*rows, rows[0]])


def break_a_line(root: Path) -> None:
    path = root / "anno" / "anno.val.ndjson"
    path.write_text(path.read_text() + '{"video_id": ')


def change_a_label(root: Path) -> None:
    write_labels(root, "c", all_zero(4, s0=1, s1=1, s2=-1))


def share_shots(root: Path) -> None:
    path = root / "anno" / "anno.test.ndjson"
    path.write_text(path.read_text() + (root / "anno" / "anno.train.ndjson").read_text())


def swap_the_split_file(root: Path) -> None:
    write_split(root, train=["b"], val=["a"], test=["c"])


def break_the_shot_file(root: Path) -> None:
    (root / "scene318" / "shot_movie318" / "a.txt").write_text("5 2\n")


def break_the_split_file(root: Path) -> None:
    (root / "scene318" / "meta" / "split318.json").write_text("{")


FAULTS = {
    cut_keyframe: ("broken key-frames", "a: shot_0001_img_0.jpg is truncated"),
    lose_keyframe: ("missing key-frames", "d: 1 key-frame missing, first number 2 of shot 1"),
    lose_film: ("films without key-frames", "d: has no folder"),
    lose_a_shot: ("rows past its key-frames", "a: anno.pretrain has a row for shot 4"),
    point_past_the_film: ("rows past its shot file", "a: anno.train has a row for shot 7, its shot file only 5"),
    repeat_a_row: ("unreadable annotations", "line 5: shot 0 of film a is already in line 1"),
    break_a_line: ("unreadable annotations", "line 5"),
    change_a_label: (
        "annotations and label files differ",
        "c: 1 label other than the label file's, the first at shot 0",
    ),
    share_shots: ("shots in two splits", "a: 4 shots in both train and test"),
    swap_the_split_file: ("annotations and split file differ", "is in anno.val, the split file has it in train"),
    break_the_shot_file: ("shot files", "line 1"),
    break_the_split_file: ("split file", "no JSON"),
}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_every_fault_is_found_and_named(fault: Any, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fault(data)
    status, report = checked(capsys, data)
    kind, what = FAULTS[fault]
    assert status == 1
    assert what in kinds(report)[kind]


def test_odd_sizes_are_a_warning_which_can_be_taken_seriously(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    resize_keyframe(data)
    status, report = checked(capsys, data)
    assert status == 0
    assert "1 key-frame not 96x64 as the rest" in str(report["findings"])
    assert main([str(data), "--jobs", "1", "--strict"]) == 1


def test_a_sample_opens_fewer_files_and_none_can_be_asked_for(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert checked(capsys, data, "--sample", "2")[1]["keyframes"]["looked_at"] == 4 * 2 * 3
    cut_keyframe(data)
    status, report = checked(capsys, data, "--sample", "0")
    assert (status, report["keyframes"]["looked_at"]) == (0, 0)


def test_decoding_finds_what_headers_do_not_show(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = data / KEYFRAME.format("a", 0, 0)
    content = path.read_bytes()
    start = content.index(b"\xff\xda")
    path.write_bytes(content[:start] + b"\xff\xd9")
    assert checked(capsys, data)[0] == 0
    status, report = checked(capsys, data, "--decode")
    assert status == 1
    assert "shot_0000_img_0.jpg cannot be decoded" in kinds(report)["broken key-frames"]


def test_a_count_in_num_shot_is_no_error_but_a_mixture_is_warned_of(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit_rows(data / "anno" / "anno.train.ndjson", lambda rows: [{**row, "num_shot": 5} for row in rows])
    status, report = checked(capsys, data)
    assert status == 0
    assert "means different things" in kinds(report, "warning")["num_shot"]


def test_a_film_in_two_splits_is_warned_of_even_where_no_shot_is(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    edit_rows(data / "anno" / "anno.train.ndjson", lambda rows: rows[:2])
    extra = rows_of(data / "anno" / "anno.trainvaltest.ndjson")[2:4]
    edit_rows(data / "anno" / "anno.test.ndjson", lambda rows: [*rows, *extra])
    write_split(data, train=["a"], val=["b"], test=["a", "c"])
    status, report = checked(capsys, data)
    assert status == 0
    assert "a: has shots in both train and test" in kinds(report, "warning")["film in two splits"]


def make_store(root: Path, **num_shots: int) -> None:
    folder = root / "features" / "net"
    folder.mkdir(parents=True)
    for film, count in num_shots.items():
        np.save(folder / f"{film}.npy", np.zeros((count, 4), np.float32))
    index = {
        "format": "bassl-features",
        "version": 1,
        "dimension": 4,
        "dtype": "float32",
        "model": None,
        "films": num_shots,
    }
    (folder / "index.json").write_text(json.dumps(index))


def test_a_feature_store_that_fits_is_counted(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_store(data, a=5, b=5, c=5)
    status, report = checked(capsys, data)
    assert status == 0
    assert kinds(report, "note")["feature stores"] == "features/net: 3 films, 15 shots, 4 numbers a shot"


def test_a_feature_store_of_other_lengths_or_films_is_reported(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_store(data, a=4, c=5)
    (data / "features" / "net" / "c.npy").write_bytes(b"x")
    status, report = checked(capsys, data)
    assert status == 1
    about = [finding["what"] for finding in report["findings"] if finding["kind"] == "feature stores"]
    assert any("4 shots of a stored, the film has 5" in text for text in about)
    assert any("c.npy cannot be read" in text for text in about)
    assert "lacks 1 of 1 film of val, such as b" in kinds(report, "warning")["films not in a feature store"]


def test_a_store_whose_index_leads_elsewhere_is_not_followed(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_store(data, a=5, b=5, c=5)
    np.save(data / "secret.npy", np.zeros((5, 4), np.float32))
    path = data / "features" / "net" / "index.json"
    path.write_text(path.read_text().replace('"c": 5', '"../../secret": 5'))
    status, report = checked(capsys, data)
    assert status == 1
    assert "no file name; do not use this store" in kinds(report)["feature stores"]


def test_stored_features_make_up_for_keyframes_except_in_pretraining(
    data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "240P_frames").rename(data / "elsewhere")
    (data / "anno" / "anno.pretrain.ndjson").unlink()
    assert checked(capsys, data)[0] == 1
    make_store(data, a=5, b=5, c=5)
    assert checked(capsys, data)[0] == 0


@pytest.mark.parametrize("options", [["nowhere"], [".", "--jobs", "0"], [".", "--sample", "-1"]])
def test_a_check_that_is_impossible_has_a_status_of_its_own(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(options) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    if len(options) > 1:
        assert error.startswith(f"error: {options[1]} {options[2]} cannot work; give ")


def test_it_runs_as_a_command_with_several_processes(data: Path) -> None:
    command = [sys.executable, "-m", "bassl.prepare.check", str(data), "--jobs", "2", "--json"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(result.stdout)["format"] == "bassl-check"


fields = st.sampled_from(["video_id", "shot_id", "num_shot", "boundary_label", "invideo_scene_id"])
values = st.one_of(
    st.integers(-2, 9), st.none(), st.booleans(), st.text(max_size=4), st.sampled_from(["../x", "a", "0009"])
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(changes=st.lists(st.tuples(st.integers(0, 3), fields, values), max_size=3), tail=st.binary(max_size=12))
def test_any_annotations_are_checked_without_an_exception(
    data: Path, changes: list[tuple[int, str, Any]], tail: bytes
) -> None:
    source, path = data / "anno" / "anno.val.ndjson", data / "anno" / "anno.train.ndjson"
    rows = rows_of(source)
    for row, name, value in changes:
        rows[row][name] = value
    path.write_bytes("".join(json.dumps(row) + "\n" for row in rows).encode() + tail)
    assert main([str(data), "--jobs", "1", "--json", "--sample", "0"]) in (0, 1)

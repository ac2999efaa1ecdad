from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bassl.prepare.check import main
from bassl.prepare.layout import Layout
from bassl.prepare.movienet import build_annotations, locate
from tests.prepare.making import JPEG, jpeg, make_film, rows_of, write_split

ROOT = Path(__file__).resolve().parents[2]
Output = pytest.CaptureFixture[str]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three labelled films of five shots, one per split, and one for pre-training."""
    root = tmp_path / "data"
    for name in ("a", "b", "c"):
        make_film(root, name, 5, [0, 1, -1, 0])
    make_film(root, "d", 3, with_shot_file=False)
    write_split(root, train=["a"], val=["b"], test=["c"])
    assert build_annotations(locate(root)).findings == []
    return root


def run_check(capsys: Output, root: Path, *options: str) -> tuple[int, dict[str, Any]]:
    """Return exit status and JSON report."""
    status = main([str(root), "--jobs", "1", "--json", *options])
    return status, json.loads(capsys.readouterr().out)


def found(report: dict[str, Any], severity: str = "error") -> dict[str, str]:
    """Return the last finding of each kind."""
    findings = [finding for finding in report["findings"] if finding["severity"] == severity]
    return {finding["kind"]: f"{finding['about']}: {finding['what']}" for finding in findings}


def keyframe(root: Path, film: str, shot: int, number: int) -> Path:
    return root / "240P_frames" / film / f"shot_{shot:04d}_img_{number}.jpg"


def edit_rows(root: Path, name: str, change: Callable[[list], list]) -> None:
    rows = change(rows_of(root, name))
    Layout.of(root).annotation_file(name).write_text("".join(json.dumps(row) + "\n" for row in rows))


def append(root: Path, name: str, text: str) -> None:
    path = Layout.of(root).annotation_file(name)
    path.write_text(path.read_text() + text)


def test_a_sound_data_set_has_no_findings(data: Path, capsys: Output) -> None:
    status, report = run_check(capsys, data)
    assert (status, report["findings"]) == (0, [])
    assert report["splits"]["train"] == {"films": 1, "shots": 4, "positive": 1, "uncertain": 1}
    assert report["splits"]["pretrain"]["shots"] == 18
    assert report["keyframes"] == {"films": 4, "shots": 18, "missing": 0, "looked_at": 54, "broken": 0}
    command = [sys.executable, "-m", "bassl.cli", "check-data", str(data), "--jobs", "2"]
    text = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "train                1         4           1          1  50.00 %" in text
    assert "0 errors, 0 warnings, 0 notes" in text


def rename_unpadded(root: Path) -> None:
    for path in sorted((root / "240P_frames" / "b").iterdir()):
        path.rename(path.with_name(path.name.replace("shot_000", "shot_")))


FAULTS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "cut key-frame": (
        lambda root: keyframe(root, "a", 1, 0).write_bytes(JPEG[:-9]),
        "broken key-frames",
        "a: shot_0001_img_0.jpg is truncated",
    ),
    "missing key-frame": (
        lambda root: keyframe(root, "d", 1, 2).unlink(),
        "missing key-frames",
        "d: 1 key-frame missing, first number 2 of shot 1",
    ),
    "missing film": (
        lambda root: (root / "240P_frames" / "d").rename(root / "elsewhere"),
        "films without key-frames",
        "d: has no folder",
    ),
    "key-frames that training does not find": (
        rename_unpadded,
        "names of key-frames",
        "b: 15 key-frames without the 4 digits that shot_id has",
    ),
    "rows with other digits than those for pre-training": (
        lambda root: edit_rows(root, "val", lambda rows: [{**row, "shot_id": row["shot_id"][1:]} for row in rows]),
        "digits of shot_id",
        "b: shot_id has 3 digits in anno.val, 4 elsewhere",
    ),
    "missing shot": (
        lambda root: [keyframe(root, "a", 4, number).unlink() for number in range(3)],
        "rows past its key-frames",
        "a: anno.pretrain has a row for shot 4",
    ),
    "row past the film": (
        lambda root: edit_rows(root, "train", lambda rows: [*rows, {**rows[0], "shot_id": "0007"}]),
        "rows past its shot file",
        "a: anno.train has a row for shot 7, its shot file only 5",
    ),
    "repeated row": (
        lambda root: edit_rows(root, "train", lambda rows: [*rows, rows[0]]),
        "unreadable annotations",
        "line 5",
    ),
    "broken row": (lambda root: append(root, "val", '{"video_id": '), "unreadable annotations", "line 5"),
    "other label": (
        lambda root: (root / "scene318" / "label318" / "c.txt").write_text("0 1\n1 1\n2 -1\n3 0\n"),
        "annotations and label files differ",
        "c: 1 label other than the label file's, the first at shot 0",
    ),
    **{
        f"shots in {split} and {other}": (
            lambda root, split=split, other=other: edit_rows(root, other, lambda rows: rows + rows_of(root, split)),
            "shots in two splits",
            f"{film}: 4 shots in both {split} and {other}",
        )
        for split, other, film in (("train", "val", "a"), ("train", "test", "a"), ("val", "test", "b"))
    },
    "other split file": (
        lambda root: write_split(root, train=["b"], val=["a"], test=["c"]),
        "annotations and split file differ",
        "is in anno.val, the split file has it in train",
    ),
    "broken shot file": (
        lambda root: (root / "scene318" / "shot_movie318" / "a.txt").write_text("5 2\n"),
        "shot files",
        "line 1",
    ),
    "broken split file": (
        lambda root: (root / "scene318" / "meta" / "split318.json").write_text("{"),
        "split file",
        "not JSON",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_is_found_and_named(name: str, data: Path, capsys: Output) -> None:
    make_fault, kind, text = FAULTS[name]
    make_fault(data)
    status, report = run_check(capsys, data)
    assert status == 1
    assert text in found(report)[kind]


def test_pictures_that_training_reads_are_no_fault(data: Path, capsys: Output) -> None:
    keyframe(data, "a", 0, 0).write_bytes(JPEG + bytes(4096))
    keyframe(data, "a", 1, 0).write_bytes(jpeg(format="PNG"))
    for options in ([], ["--decode"]):
        status, report = run_check(capsys, data, *options)
        assert (status, report["findings"]) == (0, [])


def test_odd_sizes_are_a_warning_which_strict_counts(data: Path, capsys: Output) -> None:
    keyframe(data, "b", 0, 0).write_bytes(jpeg(60, 50))
    status, report = run_check(capsys, data)
    assert status == 0
    assert "1 key-frame not 96x64 as the rest" in str(report["findings"])
    assert main([str(data), "--jobs", "1", "--strict"]) == 1


def test_a_sample_opens_fewer_files(data: Path, capsys: Output) -> None:
    assert run_check(capsys, data, "--sample", "2")[1]["keyframes"]["looked_at"] == 4 * 2 * 3
    keyframe(data, "a", 1, 0).write_bytes(b"")
    status, report = run_check(capsys, data, "--sample", "0")
    assert (status, report["keyframes"]["looked_at"]) == (0, 0)


def test_decoding_finds_what_headers_do_not_show(data: Path, capsys: Output) -> None:
    keyframe(data, "a", 0, 0).write_bytes(JPEG[: JPEG.index(b"\xff\xda")] + b"\xff\xd9")
    assert run_check(capsys, data)[0] == 0
    status, report = run_check(capsys, data, "--decode")
    assert status == 1
    assert "shot_0000_img_0.jpg cannot be decoded" in found(report)["broken key-frames"]


@pytest.mark.parametrize(
    ("num_shots", "severity", "text"),
    [({"a": 5}, "warning", "means different things"), (dict.fromkeys("abcd", 5), "warning", "neither")],
)
def test_a_count_in_num_shot_is_no_error(
    data: Path, num_shots: dict[str, int], severity: str, text: str, capsys: Output
) -> None:
    for name in ("pretrain", "trainvaltest", "train", "val", "test"):
        edit_rows(
            data, name, lambda rows: [{**r, "num_shot": num_shots.get(r["video_id"], r["num_shot"])} for r in rows]
        )
    status, report = run_check(capsys, data)
    assert status == 0
    assert text in found(report, severity)["num_shot"]


def test_a_film_in_two_splits_is_a_warning_if_no_shot_is(data: Path, capsys: Output) -> None:
    edit_rows(data, "train", lambda rows: rows[:2])
    edit_rows(data, "test", lambda rows: rows + rows_of(data, "trainvaltest")[2:4])
    write_split(data, train=["a"], val=["b"], test=["a", "c"])
    status, report = run_check(capsys, data)
    assert status == 0
    assert "a: has shots in both train and test" in found(report, "warning")["film in two splits"]


def make_store(root: Path, **num_shots: int) -> Path:
    folder = root / "features" / "net"
    folder.mkdir(parents=True)
    for film, count in num_shots.items():
        np.save(folder / f"{film}.npy", np.zeros((count, 4), np.float32))
    index = {"format": "bassl-features", "version": 1, "dimension": 4, "dtype": "float32", "model": None}
    (folder / "index.json").write_text(json.dumps({**index, "films": num_shots}))
    return folder


def test_a_feature_store_replaces_keyframes_except_in_pretraining(data: Path, capsys: Output) -> None:
    make_store(data, a=5, b=5, c=5)
    status, report = run_check(capsys, data)
    assert (status, found(report, "note")) == (
        0,
        {"feature stores": "features/net: 3 films, 15 shots, 4 numbers per shot"},
    )
    (data / "240P_frames").rename(data / "elsewhere")
    assert run_check(capsys, data)[0] == 1
    (data / "anno" / "anno.pretrain.ndjson").unlink()
    assert run_check(capsys, data)[0] == 0
    (data / "features").rename(data / "away")
    assert run_check(capsys, data)[0] == 1


def test_a_feature_store_of_other_lengths_or_films_is_reported(data: Path, capsys: Output) -> None:
    folder = make_store(data, a=4, c=5)
    (folder / "c.npy").write_bytes(b"x")
    (data / "features" / "empty").mkdir()
    status, report = run_check(capsys, data)
    assert status == 1
    text = "\n".join(finding["what"] for finding in report["findings"] if finding["kind"] == "feature stores")
    for part in ("4 shots of a stored, the film has 5", "c.npy cannot be read", f"config.DATA_PATH={data}"):
        assert part in text
    assert "lacks 1 of 1 film of val, such as b" in found(report, "warning")["films not in a feature store"]


@pytest.mark.parametrize("options", [["nowhere"], [".", "--jobs", "0"], [".", "--sample", "-1"]])
def test_a_check_that_is_impossible_has_its_own_status(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(options) == 2
    assert capsys.readouterr().err.startswith(f"error: {' '.join(options[1:])}")


fields = st.sampled_from(["video_id", "shot_id", "num_shot", "boundary_label", "invideo_scene_id"])
values = st.one_of(st.integers(-2, 9), st.none(), st.booleans(), st.sampled_from(["", "../x", "a", "0009"]))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(changes=st.lists(st.tuples(st.integers(0, 3), fields, values), max_size=3), tail=st.binary(max_size=12))
def test_any_annotations_are_checked_without_an_exception(
    data: Path, changes: list[tuple[int, str, Any]], tail: bytes
) -> None:
    rows = rows_of(data, "val")
    for row, name, value in changes:
        rows[row][name] = value
    content = "".join(json.dumps(row) + "\n" for row in rows).encode() + tail
    Layout.of(data).annotation_file("train").write_bytes(content)
    assert main([str(data), "--jobs", "1", "--json", "--sample", "0"]) in (0, 1)

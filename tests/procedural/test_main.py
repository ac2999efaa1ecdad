"""The command as a user types it: what it leaves, and that the rest of the package takes it."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bassl.dataset.annotation import read_annotations
from bassl.prepare import check
from bassl.procedural import main as command
from bassl.procedural.shot_plan import plan_film
from tests.runs import ROOT

LOST_SHOTS, LOST_LABELS = (f"scene318/{folder}/procedural_001.txt" for folder in ("shot_movie318", "label318"))
LOST_KEYFRAMES = "240P_frames/procedural_001"
SMALL = ["--films", "3", "--shots", "20", "--seed", "7", "--size", "128x72"]


def hashes(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "lock"]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("procedural") / "films"
    assert command.main(["--target", str(target), *SMALL]) == 0
    return target


def test_check_data_finds_nothing_to_say(drawn: Path) -> None:
    assert check.main([str(drawn), "--decode", "--jobs", "1", "--strict"]) == 0


def test_annotations_hold_the_films_scenes(drawn: Path) -> None:
    annotations = read_annotations(drawn / "anno" / "anno.trainvaltest.ndjson")
    assert annotations.films == ("procedural_000", "procedural_001", "procedural_002")
    for film in range(3):
        rows = annotations.film == film
        expected = plan_film(7, film, 20, 0.5)
        np.testing.assert_array_equal(annotations.label[rows], expected.labels[:-1])
        np.testing.assert_array_equal(annotations.scene[rows], [shot.scene for shot in expected.shots[:-1]])
    splits = [read_annotations(drawn / "anno" / f"anno.{name}.ndjson").films for name in ("train", "val", "test")]
    assert sorted(film for films in splits for film in films) == list(annotations.films)


def test_the_same_numbers_give_the_same_bytes_also_in_several_processes(drawn: Path, tmp_path: Path) -> None:
    assert command.main(["--target", str(tmp_path / "again"), *SMALL, "--jobs", "2"]) == 0
    found = hashes(tmp_path / "again")
    assert found == hashes(drawn)
    assert len([name for name in found if name.endswith(".jpg")]) == 3 * 20 * 3


def test_a_second_call_draws_only_what_is_missing(drawn: Path, tmp_path: Path) -> None:
    target = tmp_path / "films"
    shutil.copytree(drawn, target)
    kept = target / "240P_frames" / "procedural_000" / "shot_0000_img_0.jpg"
    kept.write_bytes(b"untouched")
    for lost in (LOST_SHOTS, LOST_LABELS, LOST_KEYFRAMES):
        path = target / lost
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        assert command.main(["--target", str(target), *SMALL]) == 0
        assert kept.read_bytes() == b"untouched"
        kept.unlink()
        before = hashes(drawn)
        del before[str(kept.relative_to(target))]
        assert hashes(target) == before
        kept.write_bytes(b"untouched")


def started(target: Path) -> subprocess.Popen[str]:
    """The command with two workers, when the first film lies there; its output ends when the last of them does."""
    arguments = [sys.executable, "-m", "bassl.procedural.main", "--target", str(target)]
    process = subprocess.Popen(
        [*arguments, "--films", "200", "--shots", "60", "--jobs", "2"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not any((target / "scene318" / "shot_movie318").glob("*.txt")) and time.monotonic() < deadline:
        time.sleep(0.02)
    return process


def descendants(pid: int) -> list[int]:
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [*children, *(below for child in children for below in descendants(child))]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_workers_end_with_a_command_that_is_killed(tmp_path: Path) -> None:
    process = started(tmp_path / "films")
    assert len(descendants(process.pid)) >= 3
    process.kill()
    process.communicate(timeout=60)  # waits for all that hold its output


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_worker_that_is_killed_ends_the_command_with_one_sentence(tmp_path: Path) -> None:
    process = started(tmp_path / "films")
    os.kill(descendants(process.pid)[-1], signal.SIGKILL)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "error: a process that drew films was killed" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(("typed", "message"), [
    (["--difficulty", "1.5"], "difficulty 1.5 is out of range"),
    (["--size", "160*90"], "--size 160*90 is invalid"),
    (["--size", "16x99999"], "16x99999 cannot be drawn"),
    (["--films", "0"], "0 films is empty"),
    (["--shots", "2"], "2 shots from seed 7 are invalid"),
    (["--jobs", "0"], "--jobs 0"),
    (["--split", "0", "1", "1"], "split shares"),
])  # fmt: skip
def test_invalid_numbers_are_one_error_before_anything_is_written(
    typed: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--target", str(tmp_path / "films"), *SMALL, *typed]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and message in error and error.count("\n") == 1
    assert not (tmp_path / "films").exists()


def test_other_settings_are_refused_where_films_lie(drawn: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = hashes(drawn)
    assert command.main(["--target", str(drawn), *SMALL, "--difficulty", "0.9"]) == 2
    assert "was prepared with difficulty 0.5, now it is 0.9; name another folder" in capsys.readouterr().err
    assert hashes(drawn) == before


def test_the_command_does_not_import_torch() -> None:
    code = (
        "import sys\nimport bassl.procedural.main, bassl.procedural.write, bassl.procedural.contact_sheet\n"
        "assert not {'torch', 'av', 'matplotlib'} & set(sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

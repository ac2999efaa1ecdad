from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bassl.errors import InputError
from bassl.prepare.bbc_ovsd import main, read_scene_file
from bassl.prepare.check import main as check
from tests.prepare.making import rows_of, shot_frames

FRAMES = shot_frames(10)


def bbc(root: Path) -> list[str]:
    """Two episodes, three annotators, as BBC Planet Earth comes; one name is spelt in two ways, as there."""
    (root / "shots").mkdir(parents=True)
    shots = "".join(f"{first}\t{last}\n" for first, last in FRAMES)
    for name in ("01_From_Pole_to_Pole", "03_Ice Worlds"):
        (root / "shots" / f"{name}.txt").write_text(shots)
    for annotator, scenes in enumerate(("0,3,7", "0,3,6", "0,3")):
        folder = root / "scenes" / f"annotator_{annotator}"
        folder.mkdir(parents=True)
        for name in ("01_From_Pole_to_Pole", "03_Ice_Worlds"):
            (folder / f"{name}.txt").write_text(scenes)
    return ["--shots", str(root / "shots"), "--scenes", str(root / "scenes"), "--target", str(root / "data")]


def ends(root: Path, split: str = "test") -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for row in rows_of(root / "data" / "anno" / f"anno.{split}.ndjson"):
        found.setdefault(str(row["video_id"]), [])
        if row["boundary_label"]:
            found[str(row["video_id"])].append(int(str(row["shot_id"])))
    return found


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--protocol", "bbc"], [2, 6]),
        (["--protocol", "bbc", "--annotator", "2"], [2]),
        (["--protocol", "bbc-union"], [2, 5, 6]),
        (["--protocol", "bbc-majority"], [2]),
        (["--protocol", "bbc-majority", "--min-annotators", "1"], [2, 5, 6]),
    ],
)
def test_bbc_annotations_become_labels_under_a_protocol(
    tmp_path: Path, options: list[str], expected: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        assert main([*bbc(tmp_path), *options]) == 0
    assert f"protocol {options[1]}: " in caplog.text
    assert "Protocol(" not in caplog.text
    assert ends(tmp_path) == {"01_From_Pole_to_Pole": expected, "03_Ice_Worlds": expected}
    assert len(rows_of(tmp_path / "data" / "anno" / "anno.test.ndjson")) == 18  # the last shots are left out
    assert check([str(tmp_path / "data")]) == 1  # neither key-frames nor features are there yet


def test_episodes_can_be_split(tmp_path: Path) -> None:
    assert main([*bbc(tmp_path), "--protocol", "bbc", "--train", "01*", "--test", "03*"]) == 0
    assert list(ends(tmp_path)) == ["03_Ice_Worlds"]
    assert list(ends(tmp_path, "train")) == ["01_From_Pole_to_Pole"]


def ovsd(root: Path) -> list[str]:
    (root / "shots").mkdir(parents=True)
    (root / "scenes").mkdir()
    (root / "shots" / "film.txt").write_text("".join(f"{first} {last}\n" for first, last in FRAMES))
    (root / "scenes" / "film.txt").write_text("0, 297\n298, 706\n707, 999\n")
    return ["--shots", str(root / "shots"), "--scenes", str(root / "scenes"), "--target", str(root / "data")]


def test_ovsd_scenes_are_snapped_to_shots(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ovsd(tmp_path), "--protocol", "ovsd"]) == 0
    assert ends(tmp_path) == {"film": [2, 6]}
    assert "moved by 7 frames at most" in capsys.readouterr().err


def test_ovsd_with_two_positives_a_boundary(tmp_path: Path) -> None:
    assert main([*ovsd(tmp_path), "--protocol", "ovsd-both"]) == 0
    assert ends(tmp_path) == {"film": [2, 3, 6, 7]}


def test_an_episode_that_cannot_be_read_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [*bbc(tmp_path), "--protocol", "bbc"]
    (tmp_path / "scenes" / "annotator_1" / "03_Ice_Worlds.txt").write_text("0,3,99")
    assert main(command) == 1
    assert "99" in capsys.readouterr().err
    assert list(ends(tmp_path)) == ["01_From_Pole_to_Pole"]


@pytest.mark.parametrize(
    ("text", "form", "expected"),
    [
        ("0,3,7\n", "auto", [2, 6]),
        ("0\n3\n7\n", "auto", [2, 6]),
        ("2,6,9", "auto", [2, 6, 9]),
        ("2,6", "last", [2, 6]),
        ("3,7", "first", [2, 6]),
        ("0 299\n300 699\n700 999\n", "auto", [2, 6, 9]),
        ("0,300", "frames", [2]),
    ],
)
def test_scene_files_of_every_form_are_read(tmp_path: Path, text: str, form: str, expected: list[int]) -> None:
    path = tmp_path / "scenes.txt"
    path.write_text(text)
    assert read_scene_file(path, FRAMES, form)[0].tolist() == expected


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("3,7", "auto"),
        ("0,9", "auto"),
        ("", "auto"),
        ("a", "auto"),
        ("0,1,2", "frames"),
        ("99", "first"),
        ("9 1", "frames"),
    ],
)
def test_scene_files_that_cannot_be_told_are_refused(tmp_path: Path, text: str, form: str) -> None:
    path = tmp_path / "scenes.txt"
    path.write_text(text)
    with pytest.raises(InputError, match="scenes"):
        read_scene_file(path, FRAMES, form)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    text=st.text(alphabet="0123456789,; \t\n-x", max_size=30),
    form=st.sampled_from(["auto", "first", "last", "frames"]),
    num_shots=st.integers(1, 12),
)
def test_any_scene_file_is_shots_of_the_film_or_an_input_error(
    tmp_path: Path, text: str, form: str, num_shots: int
) -> None:
    path = tmp_path / "scenes.txt"
    path.write_text(text)
    with suppress(InputError):
        shots, _ = read_scene_file(path, shot_frames(num_shots), form)
        assert ((shots >= 0) & (shots < num_shots)).all()
        assert len(np.unique(shots)) == len(shots)


def test_folders_that_are_not_there_are_one_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        "--protocol",
        "bbc",
        "--shots",
        str(tmp_path / "x"),
        "--scenes",
        str(tmp_path),
        "--target",
        str(tmp_path / "data"),
    ]
    assert main(command) == 2
    assert "there is no folder" in capsys.readouterr().err

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bassl.errors import InputError
from bassl.labels.label_files import NO_LABEL
from bassl.prepare.bbc_ovsd import PROTOCOLS, Protocol, combine_annotators, main, read_scene_file
from tests.prepare.making import labels_of, shot_frames

FRAMES = shot_frames(10)
VOTES = [np.array(shots, np.int64) for shots in ([1, 4], [1, 3], [1, 3, 4], [], [1, 5])]


@pytest.mark.parametrize(
    ("protocol", "labels"),
    [
        (Protocol(), [0, 1, 0, 0, 1, NO_LABEL]),
        (Protocol(annotator=3), [0, 0, 0, 0, 0, NO_LABEL]),
        (Protocol("union"), [0, 1, 0, 1, 1, NO_LABEL]),
        (Protocol("majority", min_annotators=2), [0, 1, 0, 1, 1, NO_LABEL]),
        (PROTOCOLS["bbc-majority"], [0, 1, 0, 0, 0, NO_LABEL]),
        (PROTOCOLS["bbc-agree4"], [0, 1, 0, 0, 0, NO_LABEL]),
        (Protocol("majority", min_annotators=5), [0, 0, 0, 0, 0, NO_LABEL]),
        (PROTOCOLS["ovsd-both"], [0, 1, 1, 0, 1, NO_LABEL]),
        (Protocol(annotator=4, mark="both"), [0, 1, 1, 0, 0, NO_LABEL]),  # the film's end marks no neighbour
        (Protocol(annotator=4, mark="both", drop_last=False), [0, 1, 1, 0, 0, 1]),
    ],
)
def test_annotators_count_as_the_protocol_says(protocol: Protocol, labels: list[int]) -> None:
    assert combine_annotators(VOTES, 6, protocol).tolist() == labels


def test_settings_that_cannot_work_are_refused() -> None:
    for wrong in ({"annotator": -1}, {"min_annotators": 0}):
        with pytest.raises(InputError):
            Protocol(**wrong)
    with pytest.raises(InputError, match="needs 6 annotators, there are 5"):
        combine_annotators(VOTES, 6, Protocol(annotator=5))


@pytest.mark.parametrize(
    ("text", "form", "ends"),
    [
        ("0,3,7\n", "auto", [2, 6]),
        ("0, 3 7,\n", "auto", [2, 6]),
        ("0\n3\n7\n10\n", "auto", [2, 6]),
        ("2,6,9", "auto", [2, 6, 9]),
        ("2,6", "last", [2, 6]),
        ("3,7", "first", [2, 6]),
        ("0 299\n300 699\n700 999\n", "auto", [2, 6, 9]),
        ("0,300", "frames", [2]),
    ],
)
def test_scene_files_of_every_form_are_read(tmp_path: Path, text: str, form: str, ends: list[int]) -> None:
    path = tmp_path / "scenes.txt"
    path.write_text(text)
    assert read_scene_file(path, FRAMES, form)[0].tolist() == ends


@pytest.mark.parametrize(
    ("text", "form", "message"),
    [
        ("3,7", "auto", "say which with --form"),
        ("0,9", "auto", "say which with --form"),
        ("", "auto", "holds no scenes"),
        ("0\na", "auto", "line 2: 'a' is not a shot"),
        ("0,1,2", "frames", "not the first and last frame"),
        ("9 1", "frames", "not the first and last frame"),
        ("0,11", "first", "shot 11 lies outside the film of 10 shots"),
        ("10", "last", "shot 10 lies outside"),
    ],
)
def test_scene_files_that_cannot_be_right_are_refused(tmp_path: Path, text: str, form: str, message: str) -> None:
    path = tmp_path / "scenes.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_scene_file(path, FRAMES, form)


@pytest.fixture
def bbc(tmp_path: Path) -> list[str]:
    """Two episodes, three annotators, as BBC Planet Earth comes; one name is spelt in two ways, as there."""
    folders = [tmp_path / "shots", *(tmp_path / "scenes" / f"annotator_{number}" for number in range(3))]
    shots = "".join(f"{first}\t{last}\n" for first, last in FRAMES)
    for folder, text in zip(folders, (shots, "0,3,7", "0,3,6", "0,3"), strict=True):
        folder.mkdir(parents=True)
        for name in ("01_From_Pole_to_Pole", "03_Ice Worlds" if text == shots else "03_Ice_Worlds"):
            (folder / f"{name}.txt").write_text(text)
    return ["--shots", str(folders[0]), "--scenes", str(tmp_path / "scenes"), "--output", str(tmp_path / "data")]


def ends(root: Path, split: str = "test") -> dict[str, list[int]]:
    return {film: np.flatnonzero(labels).tolist() for film, labels in labels_of(root / "data", split).items()}


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
    bbc: list[str], tmp_path: Path, options: list[str], expected: list[int]
) -> None:
    assert main([*bbc, *options]) == 0
    assert ends(tmp_path) == {"01_From_Pole_to_Pole": expected, "03_Ice_Worlds": expected}
    assert all(len(labels) == 9 for labels in labels_of(tmp_path / "data", "test").values())  # without the last shots


def test_episodes_can_be_split_and_keep_their_last_label(bbc: list[str], tmp_path: Path) -> None:
    assert main([*bbc, "--protocol", "bbc", "--train", "01_*", "--test", "03_*", "--keep-last"]) == 0
    assert (set(ends(tmp_path, "train")), set(ends(tmp_path))) == ({"01_From_Pole_to_Pole"}, {"03_Ice_Worlds"})
    assert all(len(labels) == 10 for labels in labels_of(tmp_path / "data", "trainvaltest").values())


def test_ovsd_scenes_are_snapped_to_shots(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder, text in (
        ("shots", "".join(f"{a} {b}\n" for a, b in FRAMES)),
        ("scenes", "0, 297\n298, 706\n707, 999\n"),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "film.txt").write_text(text)
    command = ["--shots", str(tmp_path / "shots"), "--scenes", str(tmp_path / "scenes")]
    assert main([*command, "--output", str(tmp_path / "data"), "--protocol", "ovsd"]) == 0
    assert ends(tmp_path) == {"film": [2, 6]}
    assert "moved by 7 frames at most" in capsys.readouterr().err


def test_an_episode_that_cannot_be_read_is_left_out(
    bbc: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "scenes" / "annotator_1" / "03_Ice_Worlds.txt").write_text("0,3,99")
    assert main([*bbc, "--protocol", "bbc"]) == 1
    assert list(ends(tmp_path)) == ["01_From_Pole_to_Pole"]
    (tmp_path / "scenes" / "annotator_1" / "01_From_Pole_to_Pole.txt").unlink()
    assert main([*bbc, "--protocol", "bbc"]) == 2
    assert "could be converted; the first: 01_From_Pole_to_Pole: there is no scene file" in capsys.readouterr().err
    assert main([*bbc, "--protocol", "bbc", "--shots", str(tmp_path / "x")]) == 2

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from bassl.errors import InputError
from bassl.labels.findings import ERROR, NOTE, WARNING
from bassl.prepare.movienet import build_annotations, locate
from tests.prepare.making import labels_of, make_film, prepare, rows_of, write_split

SAMPLE = Path(__file__).resolve().parents[2] / "bassl" / "data" / "big_buck_bunny"


@pytest.fixture
def release(tmp_path: Path) -> Path:
    """MovieNet in small: films with the oddities of the real release."""
    root = tmp_path / "movienet"
    make_film(root, "tt0000001", 5, [0, 1, -1, 0])
    make_film(root, "tt0120755", 4, [0, 0, 0, 1])  # as many labels as shots
    make_film(root, "tt1099212", 6, [1, 0, 0, 0])  # two labels fewer than shots
    make_film(root, "tt0000009", 3, with_shot_file=False)  # of the 1,100, not of the 318
    films = {"train": ["tt0000001"], "val": ["tt0120755"], "test": ["tt1099212"]}
    write_split(root, **films, all=["tt0000001", "tt0120755", "tt1099212"])
    return root


def errors_of(root: Path) -> dict[str, str]:
    findings = build_annotations(locate(root)).findings
    return {finding.about: finding.kind for finding in findings if finding.severity == ERROR}


def test_the_sample_films_annotations_come_out_as_shipped(tmp_path: Path) -> None:
    root = Path(shutil.copytree(SAMPLE, tmp_path / "sample", ignore=shutil.ignore_patterns("anno")))
    built = build_annotations(locate(root))
    for name in ("pretrain", "trainvaltest"):
        assert rows_of(root, name) == rows_of(SAMPLE, name), name
    assert json.loads((root / "anno" / "vid2idx.json").read_text()) == {"big_buck_bunny": 0}
    parts = [rows_of(SAMPLE, name) for name in ("train", "val", "test")]
    assert [row for part in parts for row in part] == rows_of(root, "trainvaltest")
    assert [(finding.severity, finding.kind) for finding in built.findings] == [(ERROR, "film in several splits")]


def test_a_release_becomes_annotations_and_its_oddities_are_reported(release: Path) -> None:
    built = build_annotations(locate(release))
    assert built.rows == {"pretrain": 18, "trainvaltest": 12, "train": 4, "val": 4, "test": 4}
    assert [row["num_shot"] for row in rows_of(release, "pretrain") if row["video_id"] == "tt0000009"] == [2, 2, 2]
    assert labels_of(release, "train") == {"tt0000001": [0, 1, -1, 0]}
    assert labels_of(release, "val") == {"tt0120755": [0, 0, 0, 1]}
    assert {finding.about: finding.severity for finding in built.findings} == {"tt0120755": NOTE, "tt1099212": WARNING}


def test_labels_and_keyframes_past_a_film_never_become_rows(release: Path) -> None:
    (release / "scene318" / "label318" / "tt0000001.txt").write_text("".join(f"{shot} 0\n" for shot in range(9)))
    for path in (release / "240P_frames" / "tt1099212").glob("shot_0005_*"):
        path.unlink()
    assert errors_of(release) == {"tt0000001": "labels past the film", "tt1099212": "key-frames and shot file differ"}
    assert [row["shot_id"] for row in rows_of(release, "train")][-1] == "0004"
    assert [row["num_shot"] for row in rows_of(release, "test")] == [4] * 4


def test_one_bad_file_costs_one_film_its_labels(release: Path) -> None:
    (release / "scene318" / "label318" / "tt0000001.txt").write_text("0000 7\n")
    (release / "scene318" / "shot_movie318" / "tt1099212.txt").write_text("zero one\n")
    (release / "240P_frames" / "empty").mkdir()
    (release / "240P_frames" / "tt0000009" / "shot_0001_img_1.jpg").unlink()
    kinds = {"tt0000001": "label files", "tt1099212": "shot files", "tt0000009": "missing key-frames"}
    assert errors_of(release) == kinds
    assert len(rows_of(release, "pretrain")) == 18
    assert set(labels_of(release, "trainvaltest")) == {"tt0120755", "tt1099212"}


def test_folder_names_that_lead_elsewhere_are_left_out(release: Path) -> None:
    make_film(release, "<script>", 2)
    make_film(release, "a..b", 2, [0])
    assert {"'<script>'", "'a..b'"} <= set(errors_of(release))
    assert "script" not in (release / "anno" / "anno.pretrain.ndjson").read_text()


@pytest.mark.parametrize(
    "move",
    [
        lambda root: root,
        lambda root: root.parent,  # one level too many
        lambda root: root / "scene318",
        lambda root: (root / "240P_frames").rename(root / "240P").parent,
        lambda root: (root / "240P_frames").rename(root / "frames"),
    ],
)
def test_a_release_is_recognised_wherever_its_parts_lie(release: Path, move) -> None:
    assert build_annotations(locate(move(release))).rows["pretrain"] == 18
    assert len(rows_of(release, "trainvaltest")) == 12


def test_films_may_lie_at_the_top_and_keyframes_elsewhere(release: Path, tmp_path: Path) -> None:
    top = (release / "240P_frames").rename(tmp_path / "pictures")
    assert build_annotations(locate(release, keyframes=top)).rows == {
        **{"pretrain": 18, "trainvaltest": 12},
        **{"train": 4, "val": 4, "test": 4},
    }
    assert build_annotations(locate(release)).rows["pretrain"] == 0
    for _ in range(2):  # `anno` beside the films is no film
        assert {film.name for film in build_annotations(locate(top)).films} > {"tt0000001", "tt0000009"}
        assert len(rows_of(top, "pretrain")) == 18


def test_a_folder_without_films_is_refused_with_what_there_is(tmp_path: Path, capsys) -> None:
    (tmp_path / "tt0000001.tar").write_bytes(b"")
    assert prepare("--from-movienet", tmp_path) == 2
    error = capsys.readouterr().err
    assert "has neither scene318/shot_movie318 nor key-frames such as 240P_frames/<film>/shot_0000_img_0.jpg" in error
    assert "but tt0000001.tar; unpack the archives first" in error
    (tmp_path / "scene318" / "shot_movie318").mkdir(parents=True)
    with pytest.raises(InputError, match="holds no film to annotate"):
        build_annotations(locate(tmp_path))


def test_the_command_splits_as_asked_and_never_replaces_annotations_unasked(release: Path, tmp_path: Path, capsys):
    command = ("--from-movienet", release)
    assert prepare(*command) == 0
    assert f"config.DATA_PATH={release}" in capsys.readouterr().err
    assert prepare(*command) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert prepare(*command, "--output", tmp_path / "other", "--train", "tt0*", "--test", "tt1*") == 0
    assert set(labels_of(tmp_path / "other", "train")) == {"tt0000001", "tt0120755"}
    assert set(labels_of(release, "train")) == {"tt0000001"}
    assert prepare(*command, "--overwrite", "--train", "tt1*") == 0
    assert set(labels_of(release, "train")) == {"tt1099212"}

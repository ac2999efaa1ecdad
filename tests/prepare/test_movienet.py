from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from bassl.errors import InputError
from bassl.labels.findings import ERROR, NOTE, WARNING
from bassl.prepare.main import main
from bassl.prepare.movienet import build_annotations, locate
from tests.prepare.making import all_zero, make_film, rows_of, write_labels, write_split

SAMPLE = Path(__file__).resolve().parents[2] / "bassl" / "data" / "big_buck_bunny"


def copy_of_sample(tmp_path: Path) -> Path:
    """The sample film without its annotations."""
    return Path(shutil.copytree(SAMPLE, tmp_path / "sample", ignore=shutil.ignore_patterns("anno")))


def test_the_sample_films_annotations_come_out_as_shipped(tmp_path: Path) -> None:
    root = copy_of_sample(tmp_path)
    built = build_annotations(locate(root))
    for name in ("anno.pretrain.ndjson", "anno.trainvaltest.ndjson"):
        assert rows_of(root / "anno" / name) == rows_of(SAMPLE / "anno" / name), name
    assert json.loads((root / "anno" / "vid2idx.json").read_text()) == {"big_buck_bunny": 0}
    parts = [rows_of(SAMPLE / "anno" / f"anno.{name}.ndjson") for name in ("train", "val", "test")]
    assert [row for part in parts for row in part] == rows_of(root / "anno" / "anno.trainvaltest.ndjson")
    assert [(finding.severity, finding.kind) for finding in built.findings] == [(ERROR, "film in several splits")]


def make_release(root: Path) -> Path:
    """MovieNet in small: films with the oddities of the real release."""
    make_film(root, "tt0000001", 5, all_zero(4, s1=1, s2=-1))
    make_film(root, "tt0120755", 4, all_zero(4, s3=1))  # N labels
    make_film(root, "tt1099212", 6, all_zero(4, s0=1))  # N - 2 labels
    make_film(root, "tt0000009", 3, with_shot_file=False)  # of the 1,100, not of the 318
    write_split(
        root, train=["tt0000001"], val=["tt0120755"], test=["tt1099212"], all=["tt0000001", "tt0120755", "tt1099212"]
    )
    return root


def test_a_release_becomes_annotations(tmp_path: Path) -> None:
    root = make_release(tmp_path)
    built = build_annotations(locate(root))
    assert built.rows == {"pretrain": 18, "trainvaltest": 12, "train": 4, "val": 4, "test": 4}
    pretrain = rows_of(root / "anno" / "anno.pretrain.ndjson")
    assert [row["num_shot"] for row in pretrain if row["video_id"] == "tt0000009"] == [2, 2, 2]
    labels = [row["boundary_label"] for row in rows_of(root / "anno" / "anno.train.ndjson")]
    assert labels == [0, 1, -1, 0]


def test_films_whose_labels_are_not_one_fewer_than_their_shots_are_reported_and_kept(tmp_path: Path) -> None:
    built = build_annotations(locate(make_release(tmp_path)))
    odd = {finding.about: finding.severity for finding in built.findings}
    assert odd == {"tt0120755": NOTE, "tt1099212": WARNING}
    rows = rows_of(tmp_path / "anno" / "anno.val.ndjson")
    assert [(row["shot_id"], row["boundary_label"]) for row in rows][-1] == ("0003", 1)


def test_labels_and_keyframes_past_a_film_never_become_rows(tmp_path: Path) -> None:
    root = make_release(tmp_path)
    write_labels(root, "tt0000001", all_zero(9))
    (root / "240P_frames" / "tt1099212" / "shot_0005_img_0.jpg").unlink()
    (root / "240P_frames" / "tt1099212" / "shot_0005_img_1.jpg").unlink()
    (root / "240P_frames" / "tt1099212" / "shot_0005_img_2.jpg").unlink()
    built = build_annotations(locate(root))
    kinds = {(finding.about, finding.kind) for finding in built.findings if finding.severity == ERROR}
    assert kinds == {("tt0000001", "labels past the film"), ("tt1099212", "key-frames and shot file differ")}
    last = max(int(str(row["shot_id"])) for row in rows_of(root / "anno" / "anno.train.ndjson"))
    assert last == 4
    assert [row["num_shot"] for row in rows_of(root / "anno" / "anno.test.ndjson")] == [4] * 4


def test_one_bad_file_costs_one_film_its_labels(tmp_path: Path) -> None:
    root = make_release(tmp_path)
    (root / "scene318" / "label318" / "tt0000001.txt").write_text("0000 7\n")
    (root / "scene318" / "shot_movie318" / "tt1099212.txt").write_text("zero one\n")
    (root / "240P_frames" / "shot_0000").mkdir()
    (root / "240P_frames" / "tt0000009" / "shot_0001_img_1.jpg").unlink()
    built = build_annotations(locate(root))
    about = {finding.about for finding in built.findings if finding.severity == ERROR}
    assert about == {"tt0000001", "tt1099212", "tt0000009"}
    assert built.rows["pretrain"] == 18
    assert built.rows["train"] == 0
    assert built.rows["test"] == 4


def test_folder_names_that_lead_elsewhere_are_left_out(tmp_path: Path) -> None:
    root = make_release(tmp_path)
    make_film(root, "<script>", 2)
    make_film(root, "a..b", 2, {0: 1})
    built = build_annotations(locate(root))
    assert {"'<script>'", "'a..b'"} <= {finding.about for finding in built.findings}
    assert "script" not in (root / "anno" / "anno.pretrain.ndjson").read_text()


def test_keyframes_may_lie_in_another_folder(tmp_path: Path) -> None:
    root = make_release(tmp_path / "a")
    (root / "240P_frames").rename(root / "240P")
    assert build_annotations(locate(root)).rows["pretrain"] == 18
    (root / "240P").rename(tmp_path / "pictures")
    assert build_annotations(locate(root, tmp_path / "pictures")).rows["pretrain"] == 18
    assert build_annotations(locate(root)).rows["pretrain"] == 0
    with pytest.raises(InputError, match="neither scene318"):
        locate(tmp_path / "pictures")


def test_the_command_writes_annotations_and_does_not_replace_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_release(tmp_path)
    command = ["--from-movienet", str(root)]
    assert main(command) == 0
    assert f"config.DATA_PATH={root}" in capsys.readouterr().err
    before = (root / "anno" / "anno.train.ndjson").read_bytes()
    assert main(command) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0
    assert main([*command, "--target", str(tmp_path / "other")]) == 0
    assert (tmp_path / "other" / "anno" / "anno.train.ndjson").read_bytes() == before


def test_the_command_can_split_differently(tmp_path: Path) -> None:
    root = make_release(tmp_path)
    assert main(["--from-movienet", str(root), "--train", "tt0*", "--test", "tt1*"]) == 0
    assert {row["video_id"] for row in rows_of(root / "anno" / "anno.train.ndjson")} == {"tt0000001", "tt0120755"}


@pytest.mark.parametrize(
    "arguments",
    [[], ["film.mp4"], ["--target", "x"], ["--from-movienet", "nowhere"], ["film.mp4", "--from-movienet", "x"]],
)
def test_a_command_that_cannot_work_is_one_error(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1

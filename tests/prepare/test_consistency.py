from __future__ import annotations

from pathlib import Path

import pytest

from bassl.prepare.check import main
from bassl.prepare.consistency import AnnotationFile, check_num_shot, read_annotation_file
from bassl.prepare.movienet import build_annotations, locate
from tests.prepare.making import all_zero, make_film, write_split


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A labelled film."""
    make_film(tmp_path / "data", "a", 5, all_zero(4, s1=1))
    write_split(tmp_path / "data", train=["a"])
    build_annotations(locate(tmp_path / "data"))
    return tmp_path / "data"


def read(data: Path) -> AnnotationFile:
    return read_annotation_file(data / "anno" / "anno.train.ndjson", "train")


def test_a_byte_order_mark_is_read_as_training_reads_it(data: Path) -> None:
    path = data / "anno" / "anno.train.ndjson"
    plain = read(data)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read(data).labels() == plain.labels()
    assert read(data).num_shot == plain.num_shot == {"a": (4, 4)}


def test_num_shot_as_published_is_not_worth_a_word(data: Path) -> None:
    file = read(data)
    assert check_num_shot([file], {"a": 5}) == []
    (note,) = check_num_shot([file], {"a": 4})
    assert (note.severity, note.what) == ("note", "is the number of shots everywhere; it is not read")
    (warning,) = check_num_shot([file], {"a": 9})
    assert warning.what == "means different things (neither: 1 film such as a); it is not read"


def test_proposed_commands_are_about_the_data_that_was_checked(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "features" / "net").mkdir(parents=True)
    assert main([str(data), "--jobs", "1"]) == 1
    assert f"`bassl extract config.DATA_PATH={data} config.LOAD_FROM=net`" in capsys.readouterr().out


def test_names_of_files_cannot_write_to_the_terminal(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = data / "240P_frames" / "b\x1b[2J\nerror: c"
    odd.mkdir()
    (odd / "shot_0000_img_0.jpg").write_bytes(b"x")
    assert main([str(data), "--jobs", "1"]) == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "such as b\ufffd[2J\ufffderror: c" in text
    assert main([f"{data}\x1b[2J"]) == 2
    assert "\x1b" not in capsys.readouterr().err

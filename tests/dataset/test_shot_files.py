from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bassl.dataset.shot_files import read_known_shot_frames, read_shot_frames
from bassl.errors import InputError
from tests.movienet import FILMS
from tests.reference import FOLDER, golden, load_json

MALFORMED = [
    # content, line, what is said
    ("0 10 2 5 7\n11\n", 2, "'11' is not 'first last keyframe keyframe keyframe'"),
    ("0 10 2 5 7\n\n11 20\n", 2, "'' is not"),
    ("-1 10\n", 1, "'-1 10' is not"),
    ("0 10.5\n", 1, "'0 10.5' is not"),
    ("0 10 x\n", 1, "'0 10 x' is not"),
    ("0 1000000000000\n", 1, "is not"),
    ("0 10\n20 11\n", 2, "the shot ends (frame 11) before it starts (frame 20)"),
]


def written(folder: Path, content: str) -> Path:
    path = folder / "tt1.txt"
    path.write_text(content, encoding="utf-8")
    return path


def refusal_of(path: Path) -> str:
    with pytest.raises(InputError) as refusal:
        read_shot_frames(path)
    return str(refusal.value)


def test_first_and_last_frame_of_each_shot_are_read(tmp_path: Path) -> None:
    frames = read_shot_frames(written(tmp_path, "0 46 11 22 33\n47 87 57 67 77\n88 88 88 88 88\n"))
    assert frames.tolist() == [[0, 46], [47, 87], [88, 88]]
    assert frames.dtype == np.int64


@pytest.mark.parametrize("content", ["0 46\n47 87", "0 46 1\r\n47 87 1\r\n", " 0\t46 \n47 87\n", "0 46\n47 87\n\n"])
def test_columns_behind_the_second_and_the_ends_of_lines_do_not_matter(content: str, tmp_path: Path) -> None:
    assert read_shot_frames(written(tmp_path, content)).tolist() == [[0, 46], [47, 87]]


@pytest.mark.parametrize(("content", "line", "said"), MALFORMED)
def test_a_malformed_line_is_refused_by_file_and_number(content: str, line: int, said: str, tmp_path: Path) -> None:
    path = written(tmp_path, content)
    message = refusal_of(path)
    assert message.startswith(f"{path}, line {line}: ")
    assert said in message


def test_a_file_that_is_missing_empty_or_no_text_is_refused(tmp_path: Path) -> None:
    assert "does not exist; set config.SHOT_PATH" in refusal_of(tmp_path / "none.txt")
    assert refusal_of(written(tmp_path, "")).endswith("holds no shots")
    assert "cannot be read" in refusal_of(written(tmp_path, "0 1é"))
    assert "cannot be read" in refusal_of(tmp_path)


def test_only_films_with_a_shot_file_are_known(tiny_movienet: Path) -> None:
    folder = tiny_movienet / "scene318" / "shot_movie318"
    known = read_known_shot_frames(folder, [*FILMS, "tt9999999"])
    assert {film: len(frames) for film, frames in known.items()} == FILMS
    assert read_known_shot_frames(folder / "nowhere", FILMS) == {}


def test_recorded_shot_files_hold_the_recorded_films() -> None:
    rows = load_json("metric_rows.json")
    files = sorted((FOLDER / "shot_movie318").glob("*.txt"))
    assert len(files) >= 1
    for path in files:
        frames = read_shot_frames(path)
        assert (frames[:, 1] >= frames[:, 0]).all()
        assert (np.diff(frames[:, 0]) > 0).all()
    assert len(golden()["metric/gt"]) == len(rows)


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, content: str) -> None:
    path = tmp_path_factory.getbasetemp() / "random.txt"
    path.write_bytes(content.encode("utf-8", "surrogatepass"))
    try:
        frames = read_shot_frames(path)
    except InputError as refusal:
        assert str(path) in str(refusal)  # noqa: PT017
        return
    assert frames.shape == (len(frames), 2)

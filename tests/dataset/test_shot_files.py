from __future__ import annotations

from pathlib import Path

import pytest

from bassl.dataset.shot_files import keyframe_numbers, read_known_shot_frames, read_shot_frames
from bassl.errors import InputError
from tests.movienet import FILMS


def written(folder: Path, content: str) -> Path:
    path = folder / "tt1.txt"
    path.write_text(content, encoding="utf-8")
    return path


@pytest.mark.parametrize("content", ["0 46 11 22 33\n47 87 57 67 77\n", "0 46 1\r\n47 87\r\n", " 0\t46 \n47 87\n\n"])
def test_first_and_last_frame_of_each_shot_are_read(content: str, tmp_path: Path) -> None:
    assert read_shot_frames(written(tmp_path, content)).tolist() == [[0, 46], [47, 87]]


@pytest.mark.parametrize(
    ("content", "line"),
    [("0 10\n11\n", 2), ("0 10\n\n11 20\n", 2), ("-1 10\n", 1), ("0 10.5\n", 1), ("0 1000000000000\n", 1)],
)
def test_a_malformed_line_is_refused_by_file_and_number(content: str, line: int, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"tt1\.txt, line {line}: .* is not 'first last"):
        read_shot_frames(written(tmp_path, content))
    with pytest.raises(InputError, match=r"line 2: the shot ends \(frame 11\) before it starts \(frame 20\)"):
        read_shot_frames(written(tmp_path, "0 10\n20 11\n"))


def test_a_file_that_is_missing_empty_or_not_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"does not exist; set config\.SHOT_PATH"):
        read_shot_frames(tmp_path / "none.txt")
    for content, message in (("", "holds no shots"), ("0 ²", "line 1")):
        with pytest.raises(InputError, match=message):
            read_shot_frames(written(tmp_path, content))


def test_only_films_with_a_shot_file_are_known(tiny_movienet: Path) -> None:
    folder = tiny_movienet / "scene318" / "shot_movie318"
    known = read_known_shot_frames(folder, [*FILMS, "tt9999999"])
    assert {film: len(frames) for film, frames in known.items()} == FILMS


def test_key_frames_lie_at_the_quarters_of_a_shot() -> None:
    assert keyframe_numbers(100, 147) == (111, 122, 133)
    assert keyframe_numbers(7, 10) == (7, 7, 7)

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bassl.prepare.keyframe_files import inspect_film, list_keyframes, read_image_size
from tests.prepare.making import JPEG, jpeg, make_film


def write(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "picture.jpg"
    path.write_bytes(content)
    return path


GOOD = {
    "plain": JPEG,
    "progressive": jpeg(progressive=True),
    "a long comment first": jpeg(comment=b"x" * 9_000),
    "a thumbnail": jpeg(exif=b"Exif\0\0" + b"\xff\xd9" * 2_000),
    "some bytes behind the end": JPEG + b"\n",
    "many bytes behind the end": JPEG + bytes(4096),
    "PNG": jpeg(format="PNG"),
    "WebP": jpeg(format="WEBP"),
}
BAD = {
    "empty": (b"", "not a readable image"),
    "text": (b"<html>", "not a readable image"),
    "without its end": (JPEG[:-2], "truncated"),
    "half": (JPEG[: len(JPEG) // 2], "truncated"),
    "half, with a thumbnail": (GOOD["a thumbnail"][:-300], "truncated"),
    "the header only": (JPEG[:60], "truncated|not a readable image"),
}


@pytest.mark.parametrize("name", GOOD)
def test_every_picture_that_training_reads_has_a_size(tmp_path: Path, name: str) -> None:
    assert read_image_size(write(tmp_path, GOOD[name])) == (96, 64)


@pytest.mark.parametrize("name", BAD)
def test_files_that_are_not_complete_are_broken(tmp_path: Path, name: str) -> None:
    content, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        read_image_size(write(tmp_path, content))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 900), noise=st.lists(st.tuples(st.integers(2, 600), st.integers(0, 255)), max_size=4))
def test_any_bytes_have_a_size_or_are_broken(tmp_path: Path, cut: int, noise: list[tuple[int, int]]) -> None:
    content = bytearray(JPEG[: max(0, len(JPEG) - cut)])
    for position, value in noise:
        content[position : position + 1] = bytes([value])
    try:
        size = read_image_size(write(tmp_path, bytes(content)))
    except ValueError:
        return
    assert all(0 < side < 65536 for side in size)


def test_a_pipe_in_place_of_a_keyframe_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "film").mkdir()
    os.mkfifo(tmp_path / "film" / "shot_0000_img_0.jpg")
    for decode in (False, True):
        assert inspect_film(tmp_path, "film", decode=decode).broken == ["shot_0000_img_0.jpg is not a regular file"]


def test_a_listing_has_shots_and_gaps_without_opening_a_file(tmp_path: Path) -> None:
    make_film(tmp_path, "a", 4)
    folder = tmp_path / "240P_frames" / "a"
    (folder / "shot_0002_img_1.jpg").unlink()
    (folder / "notes.txt").write_text("")
    (folder / "shot_0001_img_3.jpg").write_text("")
    listing = list_keyframes(folder)
    assert (listing.num_shots, listing.digits, listing.num_others) == (4, 4, 2)
    assert listing.missing() == [(2, 1)]


@pytest.mark.parametrize(
    ("names", "asked", "num_shots", "digits", "num_misnamed"),
    [
        ([f"{shot:05d}" for shot in range(12)], None, 12, 5, 0),
        ([str(shot) for shot in range(12)], None, 12, 1, 0),
        (["0000", "0001", "9999", "10000"], None, 2, 4, 0),  # 10,000 shots would be missing
        (["0000", "0001", "2"], None, 2, 4, 1),
        ([str(shot) for shot in range(12)], 4, 0, 4, 12),  # what training asks for is not there
        (["0000", "0001", "2"], 1, 3, 1, 2),
    ],
)
def test_shot_numbers_count_only_with_the_digits_that_readers_use(
    tmp_path: Path, names: list[str], asked: int | None, num_shots: int, digits: int, num_misnamed: int
) -> None:
    for name in names:
        (tmp_path / f"shot_{name}_img_0.jpg").write_text("")
    listing = list_keyframes(tmp_path, asked)
    assert (listing.num_shots, listing.digits, listing.num_misnamed) == (num_shots, digits, num_misnamed)


def test_a_stray_huge_number_does_not_fill_the_memory(tmp_path: Path) -> None:
    make_film(tmp_path, "a", 3)
    folder = tmp_path / "240P_frames" / "a"
    (folder / "shot_999999999_img_0.jpg").write_text("")
    listing = list_keyframes(folder, 4)
    assert listing.num_others == 1
    np.testing.assert_array_equal(listing.present, np.ones((3, 3), bool))

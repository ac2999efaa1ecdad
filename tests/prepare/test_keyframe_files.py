from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from bassl.prepare.inspection import inspect_film
from bassl.prepare.keyframe_files import list_film_folders, list_keyframes, read_jpeg_size
from tests.prepare.making import jpeg, make_film


def written(tmp_path: Path, content: bytes) -> str:
    path = tmp_path / "picture.jpg"
    path.write_bytes(content)
    return str(path)


def encoded(**options: object) -> bytes:
    file = BytesIO()
    Image.new("L" if options.pop("grey", False) else "RGB", (123, 45), 77).save(file, "JPEG", **options)
    return file.getvalue()


def test_a_pipe_in_place_of_a_keyframe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(ValueError, match="is no regular file"):
        read_jpeg_size(str(tmp_path / "pipe.jpg"))
    (tmp_path / "film").mkdir()
    os.mkfifo(tmp_path / "film" / "shot_0000_img_0.jpg")
    for decode in (False, True):
        found = inspect_film(tmp_path, "film", None, decode)
        assert found.broken == ["shot_0000_img_0.jpg is no regular file"]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"grey": True},
        {"progressive": True},
        {"comment": b"x" * 9_000},
        {"exif": b"Exif\0\0" + b"\xff\xd9" * 2_000},
        {"optimize": True},
    ],
)
def test_the_size_is_read_from_headers_of_every_kind(tmp_path: Path, options: dict) -> None:
    assert read_jpeg_size(written(tmp_path, encoded(**options))) == (123, 45)


@pytest.mark.parametrize("padding", [b"\0\0", b"\n"])
def test_a_few_bytes_after_the_end_do_no_harm(tmp_path: Path, padding: bytes) -> None:
    assert read_jpeg_size(written(tmp_path, encoded() + padding)) == (123, 45)


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "empty"),
        (b"\x89PNG\r\n", "no JPEG"),
        (encoded()[:-20], "end is missing"),
        (encoded()[:60], "no size"),
        (b"\xff\xd8\xff\xd9", "no size"),
        (b"\xff\xd8garbage" * 9, "damaged header"),
    ],
)
def test_files_that_are_not_whole_are_told(tmp_path: Path, content: bytes, what: str) -> None:
    with pytest.raises(ValueError, match=what):
        read_jpeg_size(written(tmp_path, content))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(cut=st.integers(0, 900), noise=st.lists(st.tuples(st.integers(2, 600), st.integers(0, 255)), max_size=4))
def test_any_bytes_have_a_size_or_raise_value_error(tmp_path: Path, cut: int, noise: list[tuple[int, int]]) -> None:
    content = bytearray(jpeg()[: max(0, len(jpeg()) - cut)])
    for position, value in noise:
        if position < len(content):
            content[position] = value
    try:
        width, height = read_jpeg_size(written(tmp_path, bytes(content)))
    except ValueError:
        return
    assert 0 < width < 65536
    assert 0 < height < 65536


def test_a_listing_tells_shots_and_gaps_without_opening_a_file(tmp_path: Path) -> None:
    make_film(tmp_path, "a", 4)
    folder = tmp_path / "240P_frames" / "a"
    (folder / "shot_0002_img_1.jpg").unlink()
    (folder / "notes.txt").write_text("")
    (folder / "shot_0001_img_3.jpg").write_text("")
    listing = list_keyframes(folder)
    assert listing.num_shots == 4
    assert listing.missing() == [(2, 1)]
    assert listing.num_others == 2
    assert listing.digits == 4


def test_other_paddings_of_shot_numbers_are_understood(tmp_path: Path) -> None:
    for shot in (0, 1, 10_000):
        for keyframe in range(3):
            (tmp_path / f"shot_{shot:05d}_img_{keyframe}.jpg").write_text("")
    assert list_keyframes(tmp_path).digits == 5


def test_a_stray_huge_number_does_not_fill_the_memory(tmp_path: Path) -> None:
    make_film(tmp_path, "a", 3)
    folder = tmp_path / "240P_frames" / "a"
    (folder / "shot_999999999_img_0.jpg").write_text("")
    listing = list_keyframes(folder)
    assert listing.num_shots == 3
    assert listing.num_others == 1
    np.testing.assert_array_equal(listing.present, np.ones((3, 3), bool))
    alone = tmp_path / "alone"
    alone.mkdir()
    (alone / "shot_999999999_img_0.jpg").write_text("")
    assert list_keyframes(alone).present.size < 10**7


def test_work_in_progress_is_no_film(tmp_path: Path) -> None:
    for name in ("b", "a", ".partial-c"):
        (tmp_path / name).mkdir()
    (tmp_path / "file").write_text("")
    assert list_film_folders(tmp_path) == ["a", "b"]

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bassl.dataset.annotation import is_film_name
from bassl.errors import InputError
from bassl.labels.film_names import MAX_BYTES, find_collisions, find_film, match_file, safe_film_name

MALICIOUS = ["../../etc/passwd", "..", "", "a\nb", "<script>alert(1)</script>", "'; rm -rf ~; '", 'a"b', "C:\\Windows"]
MALICIOUS += ["$(reboot)", "a\x00b", "con", "-rf", ".hidden", "\udcff", "a/../b", "x" * 5000, "é" * 300]


@pytest.mark.parametrize("text", MALICIOUS)
def test_no_name_leaves_its_folder_or_needs_escaping(text: str, tmp_path: Path) -> None:
    name = safe_film_name(text)
    assert not set(name) & set("/\\<>\"'&;$`|\n\r\0 :*?")
    assert ".." not in name
    assert not name.startswith((".", "-"))
    (tmp_path / f".partial-{name}.json").write_text("")
    (tmp_path / name).mkdir()
    assert (tmp_path / name).resolve().parent == tmp_path.resolve()


@given(st.text(max_size=300))
def test_a_safe_name_is_its_own_safe_name_and_every_reader_takes_it(text: str) -> None:
    name = safe_film_name(text)
    assert is_film_name(name)
    assert safe_film_name(name) == name
    assert len(name.encode()) <= MAX_BYTES


def test_ordinary_names_stay_as_they_are() -> None:
    for name in ("tt0048545", "big_buck_bunny", "Amélie.2001", "Война-и-мир"):
        assert safe_film_name(name) == name
    assert safe_film_name("Dr. No (1962)") == "Dr._No_1962"


def test_films_that_would_share_a_folder_collide() -> None:
    names = {"one/a.mp4": "a", "two/a.mkv": "a", "A.mp4": "A", "b.mp4": "b"}
    assert find_collisions(names) == {"a": ["one/a.mp4", "two/a.mkv", "A.mp4"]}


@pytest.mark.parametrize(
    ("text", "films", "film"),
    [
        ("Dr. No (1962)", ["Dr._No_1962", "other"], "Dr._No_1962"),
        (" films/Dr. No (1962).mp4 ", ["Dr._No_1962"], "Dr._No_1962"),
        ("a.MKV", ["a"], "a"),
        ("a.2", ["a"], None),  # only endings of film files are dropped
        ("d1/a.mp4", ["a", "d1_a"], "d1_a"),  # the whole path is tried first
        ("a.mp4", ["a", "d1_a"], "a"),
        ("tt1", ["tt2"], None),
    ],
)
def test_a_list_may_call_a_film_by_title_path_or_file(text: str, films: list[str], film: str | None) -> None:
    assert find_film(text, films) == film


BOTH = ["d1/same.mp4", "d2/same.mp4", "other"]


@pytest.mark.parametrize(
    ("texts", "path", "match"),
    [
        (BOTH, "/films/d1/same.mp4", "d1/same.mp4"),
        (BOTH, "/films/d2/same.mp4", "d2/same.mp4"),
        (BOTH[:1], "/films/d2/same.mp4", None),
        (["same", *BOTH], "/films/d3/same.mp4", "same"),
        (["/films/d1/same.mp4", "d1/same.mp4"], "/films/d1/same.mp4", "/films/d1/same.mp4"),
        (["Face/Off"], "/films/Face_Off.mp4", "Face/Off"),
        (["film.dat"], "/films/film.dat", "film.dat"),
    ],
)
def test_a_film_is_told_from_one_of_the_same_name_in_another_folder(texts: list[str], path: str, match: str) -> None:
    assert match_file(texts, PurePosixPath(path)) == match


def test_two_names_for_one_film_are_refused() -> None:
    with pytest.raises(InputError, match=r"'same' and 'same\.mp4' both mean same\.mp4"):
        match_file(["same", "same.mp4"], PurePosixPath("/films/same.mp4"))

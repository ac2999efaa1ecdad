from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bassl.dataset.annotation import FILM_NAME, is_film_name
from bassl.errors import InputError
from bassl.labels.film_names import MAX_BYTES, colliding, film_name_of, find_film, safe_film_name, what_means

MALICIOUS = [
    "../../etc/passwd",
    "/etc/passwd",
    "..",
    ".",
    "",
    "a\nb",
    "<script>alert(1)</script>",
    "'; rm -rf ~; '",
    'a"b',
    "C:\\Windows",
    "$(reboot)",
    "a\x00b",
    "con",
    "-rf",
    ".hidden",
    "\udcff",
    "a/../b",
    "x" * 5000,
    "é" * 300,
]


@pytest.mark.parametrize("text", MALICIOUS)
def test_no_name_leaves_its_folder_or_needs_escaping(text: str, tmp_path: Path) -> None:
    name = safe_film_name(text)
    assert FILM_NAME.fullmatch(name)
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
    for name in ("tt0048545", "big_buck_bunny", "Amélie.2001", "BBC_10", "Война-и-мир"):
        assert safe_film_name(name) == name
    assert safe_film_name("Dr. No (1962)") == "Dr._No_1962"
    assert safe_film_name("03_Ice Worlds") == "03_Ice_Worlds"


def test_names_that_were_cut_stay_apart() -> None:
    assert safe_film_name("x" * 500 + "a") != safe_film_name("x" * 500 + "b")
    assert safe_film_name("???") != safe_film_name("!!!!")


def test_the_folder_can_be_part_of_the_name() -> None:
    assert film_name_of(PurePosixPath("disc1/a.mp4")) == "a"
    assert film_name_of(PurePosixPath("disc1/a.mp4"), by_path=True) == "disc1_a"


def test_films_that_would_share_a_folder_are_found() -> None:
    names = {"one/a.mp4": "a", "two/a.mkv": "a", "A.mp4": "A", "b.mp4": "b"}
    assert colliding(names) == {"a": ["one/a.mp4", "two/a.mkv", "A.mp4"]}


@pytest.mark.parametrize(
    "text",
    ["Dr. No (1962)", "Dr._No_1962", "Dr. No (1962).mp4", "films/Dr. No (1962).mp4", " Dr. No (1962) "],
)
def test_a_label_file_may_call_a_film_by_its_title_or_file(text: str) -> None:
    assert find_film(text, ["Dr._No_1962", "other"]) == "Dr._No_1962"


def test_a_film_that_is_not_there_is_none() -> None:
    assert find_film("tt1", ["tt2"]) is None


@pytest.mark.parametrize(("text", "film"), [("r25.part2", "r25"), ("a.2", "a"), ("d1/a.2", "a"), ("a.backup", "a")])
def test_only_the_ending_of_a_film_file_is_no_part_of_a_name(text: str, film: str) -> None:
    assert find_film(text, [film]) is None
    assert find_film(f"{film}.MKV", [film]) == film


def test_a_path_is_looked_for_as_a_whole_before_its_last_part() -> None:
    assert find_film("d1/same.mp4", ["same", "d1_same"]) == "d1_same"
    assert find_film("same.mp4", ["same", "d1_same"]) == "same"


def test_a_film_is_told_from_its_namesake_in_another_folder() -> None:
    both = ["d1/same.mp4", "d2/same.mp4", "other"]
    assert what_means(both, PurePosixPath("/films/d1/same.mp4")) == "d1/same.mp4"
    assert what_means(both, PurePosixPath("/films/d2/same.mp4")) == "d2/same.mp4"
    assert what_means(both[:1], PurePosixPath("/films/d2/same.mp4")) is None
    assert what_means(["same", *both], PurePosixPath("/films/d3/same.mp4")) == "same"
    assert what_means(["/films/d1/same.mp4", "d1/same.mp4"], PurePosixPath("/films/d1/same.mp4"))[0] == "/"
    assert what_means(["Face/Off"], PurePosixPath("/films/Face_Off.mp4")) == "Face/Off"
    assert what_means(["film.dat"], PurePosixPath("/films/film.dat")) == "film.dat"


def test_two_names_for_one_film_are_an_input_error() -> None:
    with pytest.raises(InputError, match=r"'same' and 'same\.mp4' both mean same\.mp4"):
        what_means(["same", "same.mp4"], PurePosixPath("/films/same.mp4"))

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bassl.dataset.annotation import UNKNOWN_SCENE, Annotations, read_annotations
from bassl.errors import InputError
from bassl.files import LONGEST_NAME
from tests.movienet import FILMS, write_ndjson

GOOD: dict[str, Any] = {"video_id": "tt1", "shot_id": "0007", "num_shot": 9, "boundary_label": 0}
UNSAFE_NAMES = [
    "", ".", "..", "../tt1", "a/../b", "a/b", "a\\b", "/etc", "~", "-rf", "a\0b", "a\nb", "tt1..", " tt1", "a*",
    "a" * 201,
]  # fmt: skip
SAFE_NAMES = [
    "tt0048545",
    "BBC_1",
    "Big Buck Bunny (2008)",
    "O'Brother, Where",
    "a.b+c=d@e&f[1]",
    "üñ",
    "a" * 200,
]
WRONG_FIELDS: list[tuple[str, Any]] = [
    ("video_id", None),
    ("video_id", 7),
    ("video_id", ["tt1"]),
    ("shot_id", None),
    ("shot_id", 7),
    ("shot_id", ""),
    ("shot_id", "-1"),
    ("shot_id", "7a"),
    ("shot_id", "\N{ARABIC-INDIC DIGIT SEVEN}"),
    ("shot_id", "0000000007"),
    ("boundary_label", None),
    ("boundary_label", 2),
    ("boundary_label", "1"),
    ("boundary_label", True),
    ("boundary_label", [1]),
    ("boundary_label", 0.5),
    ("invideo_scene_id", None),
    ("invideo_scene_id", "3"),
    ("invideo_scene_id", 1.5),
    ("invideo_scene_id", -2),
    ("invideo_scene_id", 2**31),
    ("invideo_scene_id", True),
    ("num_shot", None),
    ("num_shot", "9"),
    ("num_shot", -1),
    ("num_shot", 9.0),
    ("num_shot", True),
]
NOT_JSON = [
    b"{",
    b'{"video_id": "tt1",}',
    b"video_id,shot_id",
    b'{"a": 1} {"a": 2}',
    b'{"a": 1},{"a": 2}',
    b"[" * 100_000,
    b'{"num_shot": ' + b"1" * 5000 + b"}",
]
NO_OBJECTS = [b"3", b"[]", b'"tt1"', b"null", b"true", b"NaN"]


def row(**changes: Any) -> dict[str, Any]:
    return {**GOOD, **changes}


def rows_of(film: str, shots: range, **changes: Any) -> list[dict[str, Any]]:
    return [row(video_id=film, shot_id=f"{shot:04d}", **changes) for shot in shots]


def read(folder: Path, *rows: dict[str, Any]) -> Annotations:
    return read_annotations(write_ndjson(folder / "anno.test.ndjson", rows))


def refusal_of(path: Path) -> str:
    with pytest.raises(InputError) as refusal:
        read_annotations(path)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def test_rows_become_columns_in_the_order_of_the_file(tmp_path: Path) -> None:
    notes = read(
        tmp_path,
        row(video_id="b", shot_id="0002", boundary_label=1, invideo_scene_id=4, num_shot=2),
        row(video_id="a", shot_id="0000", boundary_label=-1, num_shot=0, global_scene_id=7, extra=[1]),
        row(video_id="b", shot_id="0001", boundary_label=0, invideo_scene_id=4, num_shot=2),
    )
    assert len(notes) == 3
    assert notes.films == ("b", "a")
    assert notes.film.tolist() == [0, 1, 0]
    assert notes.shot.tolist() == [2, 0, 1]
    assert notes.label.tolist() == [1, -1, 0]
    assert notes.scene.tolist() == [4, UNKNOWN_SCENE, 4]
    assert notes.num_shots.tolist() == [3, 1]
    assert notes.shot_id(0, 12) == "0012"


def test_the_tiny_data_set_is_read_whole(tiny_movienet: Path) -> None:
    anno = tiny_movienet / "anno"
    unlabelled = read_annotations(anno / "anno.pretrain.ndjson")
    assert dict(zip(unlabelled.films, unlabelled.num_shots.tolist(), strict=True)) == FILMS
    assert len(unlabelled) == sum(FILMS.values())
    assert set(unlabelled.label) == {-1}
    assert set(unlabelled.scene) == {UNKNOWN_SCENE}
    labelled = read_annotations(anno / "anno.trainvaltest.ndjson")
    assert len(labelled) == sum(FILMS.values()) - len(FILMS)
    assert set(labelled.label) == {-1, 0, 1}
    for split, film in zip(("train", "val", "test"), FILMS, strict=True):
        assert read_annotations(anno / f"anno.{split}.ndjson").films == (film,)


@pytest.mark.parametrize("num_shot", [9, 10, 4, 1000])
def test_the_rows_and_not_num_shot_say_how_long_a_film_is(
    num_shot: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """9 is the index of the last shot, as published, 10 the count of other tools; the others are wrong."""
    with caplog.at_level(logging.WARNING):
        notes = read(tmp_path, *rows_of("tt1", range(10), num_shot=num_shot))
    assert notes.num_shots.tolist() == [10]
    assert notes.shot.max() == 9
    warned = [
        "num_shot lies below the shots listed in 1 films, such as tt1 (4)" in caplog.text,
        bool(caplog.text),
    ]
    assert warned == [num_shot == 4] * 2


def test_rows_that_leave_shots_out_still_reach_to_the_last(tmp_path: Path) -> None:
    assert read(tmp_path, row(shot_id="0003"), row(shot_id="0020")).num_shots.tolist() == [21]


def test_a_better_source_lengthens_a_film(tmp_path: Path) -> None:
    notes = read(tmp_path, *rows_of("a", range(10)), *rows_of("b", range(5)))
    assert notes.with_num_shots({"a": 11, "other": 3}, "shots").num_shots.tolist() == [11, 5]
    assert notes.num_shots.tolist() == [10, 5]
    with pytest.raises(InputError, match=r"film a has a row for shot 9, but shots holds only 9 shots \(0 to 8\)"):
        notes.with_num_shots({"a": 9}, "shots")


def test_selected_rows_keep_films_and_lengths(tmp_path: Path) -> None:
    notes = read(tmp_path, *rows_of("a", range(4)), *rows_of("b", range(3), boundary_label=1))
    chosen = notes.select(notes.label == 1)
    assert (chosen.films, chosen.num_shots.tolist()) == (notes.films, [4, 3])
    assert (chosen.film.tolist(), chosen.shot.tolist()) == ([1, 1, 1], [0, 1, 2])
    assert notes.select(np.array([5, 0])).shot.tolist() == [1, 0]


def test_ids_without_padding_stay_without(tmp_path: Path) -> None:
    notes = read(tmp_path, row(shot_id="10"), row(shot_id="9"), row(video_id="b", shot_id="00009"))
    assert [notes.shot_id(0, 9), notes.shot_id(0, 10), notes.shot_id(1, 9)] == ["9", "10", "00009"]
    notes = read(tmp_path, row(shot_id="9999"), row(shot_id="10000"))
    assert [notes.shot_id(0, shot) for shot in (3, 9999, 10000)] == ["0003", "9999", "10000"]


@pytest.mark.parametrize(("field", "value"), WRONG_FIELDS)
def test_a_wrong_field_is_refused_with_file_line_and_value(field: str, value: Any, tmp_path: Path) -> None:
    path = write_ndjson(
        tmp_path / "anno.test.ndjson",
        [row(), row(shot_id="0008", **{field: value})] if field != "shot_id" else [row(), row(shot_id=value)],
    )
    assert refusal_of(path).startswith(f"{path}, line 2: {field} {value!r} must be ")


@pytest.mark.parametrize("field", sorted(GOOD))
def test_a_missing_field_is_named(field: str, tmp_path: Path) -> None:
    path = write_ndjson(tmp_path / "anno.test.ndjson", [{key: value for key, value in GOOD.items() if key != field}])
    assert refusal_of(path).startswith(f"{path}, line 1: {field} None must be ")


@pytest.mark.parametrize("name", UNSAFE_NAMES)
def test_a_film_name_that_could_leave_its_folder_is_refused(name: str, tmp_path: Path) -> None:
    path = write_ndjson(tmp_path / "anno.test.ndjson", [row(video_id=name)])
    assert refusal_of(path) == f"{path}, line 1: video_id {name!r} must be a text that can name a folder"


@pytest.mark.parametrize("name", SAFE_NAMES)
def test_an_ordinary_film_name_is_kept(name: str, tmp_path: Path) -> None:
    assert read(tmp_path, row(video_id=name)).films == (name,)


@pytest.mark.parametrize("line", NOT_JSON)
def test_a_line_that_is_no_json_is_refused_by_its_number(line: bytes, tmp_path: Path) -> None:
    path = tmp_path / "anno.test.ndjson"
    path.write_bytes(json.dumps(row()).encode() + b"\n" + line + b"\n")
    assert refusal_of(path).startswith(f"{path}, line 2: not a JSON object (")


@pytest.mark.parametrize("line", NO_OBJECTS)
def test_a_line_that_holds_no_object_is_refused_by_its_number(line: bytes, tmp_path: Path) -> None:
    path = tmp_path / "anno.test.ndjson"
    path.write_bytes(line)
    assert refusal_of(path).startswith(f"{path}, line 1: a row must be a JSON object, not ")


def test_text_of_another_encoding_is_refused_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "anno.test.ndjson"
    long_file = "".join(json.dumps(one) + "\n" for one in rows_of("tt1", range(2000)))
    path.write_bytes(long_file.encode() + b'{"video_id": "\xe9"}\n')
    assert refusal_of(path).startswith(f"{path}, line 2001: not UTF-8 text (")


def test_empty_lines_are_skipped_and_counted_and_a_mark_at_the_start_is_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "anno.test.ndjson"
    text = f"\ufeff{json.dumps(row())}\r\n\n  \n{json.dumps(row(shot_id='0008'))}"
    path.write_bytes(text.encode())
    assert read_annotations(path).shot.tolist() == [7, 8]
    path.write_bytes(f"{text}\n\n{{}}".encode())
    assert refusal_of(path).startswith(f"{path}, line 6: video_id None")


def test_a_shot_listed_twice_is_refused_with_both_lines(tmp_path: Path) -> None:
    path = tmp_path / "anno.test.ndjson"
    listed = [*rows_of("b", range(3)), *rows_of("a", range(3)), row(video_id="b", shot_id="1")]
    path.write_text("\n" + "\n".join(json.dumps(one) for one in listed))
    assert refusal_of(path) == f"{path}, line 8: shot 1 of film b stands already in line 3; remove one"


def test_a_missing_and_an_empty_file_are_refused_with_their_path(tmp_path: Path) -> None:
    missing = tmp_path / "anno.pretrain.ndjson"
    said = refusal_of(missing)
    assert said.startswith(f"annotation file {missing} does not exist; set config.DATA_PATH")
    assert "scripts/download_movienet_data.sh" in said
    for content in (b"", b"\n\n"):
        missing.write_bytes(content)
        assert refusal_of(missing) == f"annotation file {missing} holds no rows; make it again"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
ROWS = st.one_of(
    st.fixed_dictionaries({}, optional=dict.fromkeys((*GOOD, "invideo_scene_id"), JSON)),
    st.tuples(st.sampled_from([*GOOD, "invideo_scene_id"]), JSON).map(lambda change: row(**dict([change]))),
)


@given(st.lists(ROWS.map(lambda one: json.dumps(one).encode()) | st.binary(max_size=40), max_size=3))
@example([json.dumps(row()).encode(), json.dumps(row(shot_id="7")).encode()])
def test_whatever_a_file_holds_it_is_read_or_refused_by_its_line(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes]
) -> None:
    path = tmp_path_factory.getbasetemp() / "random.ndjson"
    path.write_bytes(b"\n".join(lines))
    try:
        notes = read_annotations(path)
    except InputError as refusal:
        assert str(path) in str(refusal)  # noqa: PT017
        return
    assert len(notes) >= 1
    assert (notes.shot < notes.num_shots[notes.film]).all()
    assert all(len(name.encode()) <= LONGEST_NAME for name in notes.films)

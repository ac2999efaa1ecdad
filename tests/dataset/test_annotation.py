from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from bassl.dataset.annotation import UNKNOWN_SCENE, Annotations, is_film_name, read_annotations
from bassl.errors import InputError
from tests.movienet import write_ndjson

GOOD: dict[str, Any] = {"video_id": "tt1", "shot_id": "0007", "num_shot": 9, "boundary_label": 0}
WRONG_FIELDS: list[tuple[str, Any]] = [
    ("video_id", None), ("video_id", "../tt1"), ("shot_id", 7), ("shot_id", "7a"), ("shot_id", "0000000007"),
    ("shot_id", "\N{ARABIC-INDIC DIGIT SEVEN}"), ("boundary_label", 2), ("boundary_label", True),
    ("invideo_scene_id", "3"), ("invideo_scene_id", -2), ("invideo_scene_id", 2**31), ("num_shot", -1),
    ("num_shot", 9.0),
]  # fmt: skip


def rows_of(film: str, shots: range, **changes: Any) -> list[dict[str, Any]]:
    return [{**GOOD, "video_id": film, "shot_id": f"{shot:04d}", **changes} for shot in shots]


def read(folder: Path, *rows: dict[str, Any]) -> Annotations:
    return read_annotations(write_ndjson(folder / "anno.test.ndjson", rows))


def test_rows_become_columns_in_the_order_of_the_file(tmp_path: Path) -> None:
    annotations = read(
        tmp_path,
        {"video_id": "b", "shot_id": "0002", "boundary_label": 1, "invideo_scene_id": 4, "num_shot": 2},
        {"video_id": "a", "shot_id": "0000", "boundary_label": -1, "num_shot": 0, "global_scene_id": 7, "extra": [1]},
        {"video_id": "b", "shot_id": "0001", "boundary_label": 0, "invideo_scene_id": 4, "num_shot": 2},
    )
    assert (len(annotations), annotations.films) == (3, ("b", "a"))
    assert annotations.film.tolist() == [0, 1, 0]
    assert annotations.shot.tolist() == [2, 0, 1]
    assert annotations.label.tolist() == [1, -1, 0]
    assert annotations.scene.tolist() == [4, UNKNOWN_SCENE, 4]
    assert annotations.num_shots.tolist() == [3, 1]


@pytest.mark.parametrize("num_shot", [9, 10, 4, 1000])
def test_rows_decide_the_length_of_a_film_and_num_shot_does_not(
    num_shot: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """9 is the index of the last shot, as published, 10 the count of other tools; the others are wrong."""
    with caplog.at_level(logging.WARNING):
        annotations = read(tmp_path, *rows_of("tt1", range(0, 10, 3), num_shot=num_shot))
    assert annotations.num_shots.tolist() == [10]
    assert ("such as tt1 (4)" in caplog.text, bool(caplog.text)) == (num_shot == 4, num_shot == 4)


def test_a_better_source_lengthens_a_film_and_never_shortens_it(tmp_path: Path) -> None:
    annotations = read(tmp_path, *rows_of("a", range(10)), *rows_of("b", range(5)))
    assert annotations.with_num_shots({"a": 11, "other": 3}, "shots").num_shots.tolist() == [11, 5]
    assert annotations.num_shots.tolist() == [10, 5]
    with pytest.raises(InputError, match=r"film a has a row for shot 9, but shots holds only 9 shots \(0 to 8\)"):
        annotations.with_num_shots({"a": 9}, "shots")


def test_selected_rows_keep_films_and_lengths(tmp_path: Path) -> None:
    annotations = read(tmp_path, *rows_of("a", range(4)), *rows_of("b", range(3), boundary_label=1))
    chosen = annotations.select(annotations.label == 1)
    assert (chosen.films, chosen.num_shots.tolist()) == (annotations.films, [4, 3])
    assert (chosen.film.tolist(), chosen.shot.tolist()) == ([1, 1, 1], [0, 1, 2])
    assert annotations.select(np.array([5, 0])).shot.tolist() == [1, 0]


def test_shot_ids_are_padded_as_in_the_file(tmp_path: Path) -> None:
    rows = [{**GOOD, "shot_id": "10"}, {**GOOD, "shot_id": "9"}, *rows_of("b", range(9, 10))]
    annotations = read(tmp_path, *rows)
    assert [annotations.shot_id(*key) for key in ((0, 9), (0, 10), (1, 9))] == ["9", "10", "0009"]


def scenes_of(label: list[int], scene: list[int], film: list[int], shot: list[int]) -> list[int]:
    counts = np.array([100] * (max(film) + 1))
    columns = [np.asarray(column) for column in (film, shot, label, scene)]
    annotations = Annotations(tuple(f"film{i}" for i in range(len(counts))), *columns, counts, counts * 0 + 4)
    return annotations.scene_numbers().tolist()


def test_scenes_are_as_annotated_or_counted_from_the_labels_of_their_film() -> None:
    unknown = UNKNOWN_SCENE
    assert scenes_of([0, 1, 0], [4, 4, 5], [0, 0, 0], [0, 1, 2]) == [4, 4, 5]
    assert scenes_of([0, 1, 0, -1, 0, 1], [unknown] * 6, [0] * 6, list(range(6))) == [0, 0, 1, 1, 2, 2]
    assert scenes_of([0, 1, 1, 0], [unknown] * 4, [0, 1, 0, 1], [9, 3, 2, 4]) == [1, 0, 0, 1]
    assert scenes_of([0, 1, 1, 0], [7, unknown, 7, unknown], [0, 1, 0, 1], [9, 3, 2, 4]) == [7, 0, 7, 1]


@pytest.mark.parametrize(("field", "value"), WRONG_FIELDS)
def test_a_wrong_field_is_refused_with_file_line_and_value(field: str, value: Any, tmp_path: Path) -> None:
    path = write_ndjson(tmp_path / "anno.test.ndjson", [{**GOOD, "shot_id": "0001"}, {**GOOD, field: value}])
    with pytest.raises(InputError) as refusal:
        read_annotations(path)
    assert str(refusal.value).startswith(f"{path}, line 2: {field} {value!r} must be ")


@pytest.mark.parametrize("name", ["", "..", "a/../b", "a/b", "a\\b", "/etc", "-rf", "a\nb", " tt1", "a*", "a" * 201])
def test_a_name_that_could_leave_its_folder_is_no_film_name(name: str) -> None:
    assert not is_film_name(name)


@pytest.mark.parametrize("name", ["tt0048545", "Big Buck Bunny (2008)", "O'Brother, Where", "a.b+c=d@e&f[1]", "üñ"])
def test_an_ordinary_name_is_a_film_name(name: str) -> None:
    assert is_film_name(name)


@pytest.mark.parametrize("line", [b"{", b"video_id,shot_id", b"[" * 100_000, b'{"video_id": "\xe9"}', b"[]", b"NaN"])
def test_a_line_without_a_json_object_is_refused_by_its_number(line: bytes, tmp_path: Path) -> None:
    path = tmp_path / "anno.test.ndjson"
    path.write_bytes(json.dumps(GOOD).encode() + b"\n\n" + line + b"\n")
    with pytest.raises(InputError, match=r"line 3: (not a JSON object|a row must be a JSON object)"):
        read_annotations(path)


def test_a_shot_listed_twice_is_refused_with_both_lines(tmp_path: Path) -> None:
    path = tmp_path / "anno.test.ndjson"
    listed = [*rows_of("b", range(3)), *rows_of("a", range(3)), {**GOOD, "video_id": "b", "shot_id": "1"}]
    path.write_text("\n" + "\n".join(json.dumps(row) for row in listed))
    with pytest.raises(InputError, match="line 8: shot 1 of film b is already in line 3"):
        read_annotations(path)


def test_a_missing_or_empty_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "anno.pretrain.ndjson"
    with pytest.raises(InputError, match=r"does not exist; set config\.DATA_PATH"):
        read_annotations(path)
    path.write_bytes(b"\n\n")
    with pytest.raises(InputError, match="holds no rows"):
        read_annotations(path)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
ROWS = st.tuples(st.sampled_from([*GOOD, "invideo_scene_id"]), JSON).map(lambda change: {**GOOD, change[0]: change[1]})

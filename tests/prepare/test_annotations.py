from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bassl.dataset.annotation import read_annotations
from bassl.labels.label_files import NO_LABEL
from bassl.prepare.annotations import Film, write_annotations
from bassl.prepare.layout import ANNOTATION_NAMES, Layout
from tests.prepare.making import rows_of


def film(name: str, *labels: int, has_keyframes: bool = True) -> Film:
    return Film(name, np.array(labels, np.int8), has_keyframes)


def test_a_row_has_the_published_keys_and_values(tmp_path: Path) -> None:
    layout = Layout.of(tmp_path)
    films = [film("b", 0, 1, -1, 0, NO_LABEL), film("a", 1, 0, NO_LABEL)]
    rows = write_annotations(layout, films, {"train": ["b"], "test": ["a"]})
    assert rows == {"pretrain": 8, "trainvaltest": 6, "train": 4, "val": 0, "test": 2}
    of_b = [row for row in rows_of(tmp_path, "trainvaltest") if row["video_id"] == "b"]
    assert of_b[2] == {
        "video_id": "b",
        "shot_id": "0002",
        "num_shot": 4,  # the index of the last shot
        "boundary_label": -1,
        "global_video_id": 1,
        "invideo_scene_id": 1,
        "global_scene_id": 3,  # film a has two scenes
    }
    assert [row["invideo_scene_id"] for row in of_b] == [0, 0, 1, 2]  # -1 ends a scene, as in the benchmark
    assert json.loads(layout.numbers.read_text()) == {"a": 0, "b": 1}
    assert rows_of(tmp_path, "train") == of_b


def test_pretraining_has_every_shot_of_every_film_with_keyframes(tmp_path: Path) -> None:
    films = [film("a", NO_LABEL, NO_LABEL), film("b", 1, NO_LABEL), film("c", 0, has_keyframes=False)]
    write_annotations(Layout.of(tmp_path), films, {})
    rows = rows_of(tmp_path, "pretrain")
    columns = [(row["video_id"], row["shot_id"], row["boundary_label"]) for row in rows]
    assert columns == [("a", "0000", 0), ("a", "0001", 0), ("b", "0000", 1), ("b", "0001", 0)]
    assert set(rows[0]) == {"video_id", "shot_id", "num_shot", "boundary_label"}


def test_files_that_have_no_rows_any_more_are_removed(tmp_path: Path) -> None:
    layout = Layout.of(tmp_path)
    for splits in ({"train": ["a"], "val": ["a"]}, {"train": ["a"]}):
        write_annotations(layout, [film("a", 1, NO_LABEL)], splits)
    assert {path.name for path in layout.annotations.iterdir()} == {
        *(f"anno.{name}.ndjson" for name in ("pretrain", "train", "trainvaltest")),
        "vid2idx.json",
    }


def test_a_film_of_more_than_ten_thousand_shots_keeps_its_order(tmp_path: Path) -> None:
    write_annotations(Layout.of(tmp_path), [film("a", *[0] * 10_002)], {})
    rows = rows_of(tmp_path, "pretrain")
    assert [rows[9_999]["shot_id"], rows[10_000]["shot_id"]] == ["9999", "10000"]
    assert read_annotations(Layout.of(tmp_path).annotation_file("pretrain")).num_shots.tolist() == [10_002]


films_of = st.dictionaries(
    st.sampled_from(["tt1", "tt2", "Amélie", "a b", "x'y"]),
    st.lists(st.sampled_from([0, 1, -1, NO_LABEL]), min_size=1, max_size=12),
    min_size=1,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(labels=films_of, in_test=st.sets(st.sampled_from(["tt1", "tt2", "Amélie"])))
def test_training_reads_back_every_label(tmp_path: Path, labels: dict[str, list[int]], in_test: set[str]) -> None:
    layout = Layout.of(tmp_path)
    films = [film(name, *of_film) for name, of_film in labels.items()]
    rows = write_annotations(layout, films, {"test": sorted(in_test), "train": sorted(set(labels) - in_test)})
    assert rows["pretrain"] == sum(map(len, labels.values()))
    assert rows["train"] + rows["test"] == rows["trainvaltest"]
    for name in ANNOTATION_NAMES:
        assert layout.annotation_file(name).exists() == (rows[name] > 0)
        if rows[name]:
            read = read_annotations(layout.annotation_file(name))
            assert len(read) == rows[name]
            for number, shot, label in zip(read.film, read.shot, read.label, strict=True):
                written = labels[read.films[number]][shot]
                assert label == (written if written != NO_LABEL else 0)

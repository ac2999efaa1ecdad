from __future__ import annotations

import json
from contextlib import suppress
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bassl.errors import InputError
from bassl.labels.findings import ERROR, WARNING
from bassl.prepare.splits import (
    draw_splits,
    fit_splits,
    match_splits,
    note_unplaced,
    read_split_file,
    write_split_file,
)

FORMS = {
    "movienet.json": '{"train": ["a", "b"], "val": ["c"], "test": ["d"], "all": ["a", "b", "c", "d"]}',
    "objects.json": '{"train": [{"name": "a", "index": 0}, {"name": "b"}], "val": [{"imdb_id": "c"}], "test": ["d"]}',
    "by_film.json": '{"a": "train", "b": "training", "c": "validation", "d": "test"}',
    "long_names.json": '{"Train": ["a", "b"], "valid": ["c"], "TEST": ["d"], "full": ["a", "b", "c", "d"]}',
    "commas.csv": "film,split\na,train\nb,train\nc,val\nd,test\n",
    "tabs.csv": "a\ttrain\nb\ttrain\nc\tdev\nd\ttest",
    "excel.csv": "sep=;\nfilm;split\na;train\nb;train\nc;val\nd;test\n\n",
}
FILMS = [f"film{i}" for i in range(20)]


@pytest.mark.parametrize("name", FORMS)
def test_every_known_form_of_a_split_file_reads_the_same(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(FORMS[name])
    splits = read_split_file(path)
    assert splits.pop("all", ["a", "b", "c", "d"]) == ["a", "b", "c", "d"]
    assert splits == {"train": ["a", "b"], "val": ["c"], "test": ["d"]}


@pytest.mark.parametrize("text", ["", "[]", '{"train": 3}', '{"train": [3]}', '{"a": "b"}', '{"all": ["a"]}'])
def test_anything_else_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "split318.json"
    path.write_text(text)
    with pytest.raises(InputError, match="split318"):
        read_split_file(path)


json_values = st.recursive(
    st.none() | st.integers() | st.text(max_size=6) | st.sampled_from(["train", "val", "../x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["train", "test", "name", "x"]), inner, max_size=3)
    ),
    max_leaves=10,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=json_values)
def test_any_json_is_splits_or_refused(tmp_path: Path, value: object) -> None:
    path = tmp_path / "split.json"
    path.write_text(json.dumps(value))
    with suppress(InputError):
        splits, _ = fit_splits(read_split_file(path), ["a", "b"])
        assert set(chain(*splits.values())) <= {"a", "b"}


def test_missing_films_and_films_in_two_splits_are_reported() -> None:
    splits, findings = fit_splits({"train": ["a", "b"], "test": ["a", "gone"], "all": ["a", "b", "c"]}, ["a", "b", "c"])
    assert splits == {"train": ["a", "b"], "val": [], "test": ["a"]}
    assert [(finding.severity, finding.kind, finding.about) for finding in findings] == [
        (WARNING, "missing films", "split"),
        (WARNING, "films in no split", "split"),
        (ERROR, "film in several splits", "a"),
    ]


def test_splits_are_drawn_by_film_and_seed() -> None:
    splits = draw_splits(FILMS, (0.6, 0.2, 0.2), seed=0)
    assert [len(splits[name]) for name in ("train", "val", "test")] == [12, 4, 4]
    assert sorted(chain(*splits.values())) == sorted(FILMS)
    assert draw_splits(reversed(FILMS), (3, 1, 1), seed=0) == splits
    assert draw_splits(FILMS, (0.6, 0.2, 0.2), seed=1) != splits


def test_one_film_more_moves_few_of_the_others() -> None:
    before, after = (draw_splits(films, (0.6, 0.2, 0.2), seed=3) for films in (FILMS, [*FILMS, "new"]))
    assert sum(len(set(before[name]) - set(after[name])) for name in before) <= 2


@given(st.integers(0, 30), st.tuples(st.floats(0.1, 9), st.floats(0, 9), st.floats(0, 9)), st.integers())
def test_every_film_is_in_one_split_and_no_wanted_split_stays_empty(
    num_films: int, shares: tuple[float, float, float], seed: int
) -> None:
    splits = draw_splits(FILMS[:num_films], shares, seed)
    assert sorted(chain(*splits.values())) == sorted(FILMS[:num_films])
    for name, share in zip(("train", "val", "test"), shares, strict=True):
        assert share > 0 or not splits[name]
        assert share == 0 or num_films < 3 or splits[name]


@pytest.mark.parametrize("shares", [(0, 1, 1), (1, 1), (1, -1, 1), (float("nan"), 1, 1)])
def test_shares_that_cannot_work_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="split shares"):
        draw_splits(FILMS, shares, 0)


def test_patterns_choose_films() -> None:
    films = [f"BBC_{i}" for i in range(1, 12)]
    splits = match_splits(films, {"train": ["BBC_[1-8]"], "val": [], "test": ["BBC_9", "BBC_1?"]})
    assert splits == {"train": films[:8], "val": [], "test": ["BBC_10", "BBC_11", "BBC_9"]}
    with pytest.raises(InputError, match="matches no film"):
        match_splits(films, {"train": ["tt*"]})


@pytest.mark.parametrize(("split", "other"), [("train", "val"), ("train", "test"), ("val", "test")])
def test_a_film_that_two_patterns_take_is_refused(split: str, other: str) -> None:
    with pytest.raises(InputError, match=f"--{split} and --{other} both take film1"):
        match_splits(FILMS, {split: ["film1"], other: ["film1*"]})


def test_labelled_films_outside_all_splits_are_noted() -> None:
    assert note_unplaced(["a"], {"train": ["a"]}) == []
    assert "such as b" in note_unplaced(["a", "b"], {"train": ["a"]})[0].what


def test_a_written_split_file_is_of_the_published_form(tmp_path: Path) -> None:
    path = tmp_path / "meta" / "split318.json"
    write_split_file(path, {"train": ["b", "a"], "test": ["c"]})
    assert json.loads(path.read_text()) == {"train": ["a", "b"], "val": [], "test": ["c"], "all": ["a", "b", "c"]}

from __future__ import annotations

import json
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
    read_split_file,
    unplaced,
    write_split_file,
)

FORMS = {
    "movienet.json": {"train": ["a", "b"], "val": ["c"], "test": ["d"], "all": ["a", "b", "c", "d"]},
    "objects.json": {
        "train": [{"name": "a", "index": 0}, {"name": "b"}],
        "val": [{"imdb_id": "c"}],
        "test": ["d"],
    },
    "by_film.json": {"a": "train", "b": "training", "c": "validation", "d": "test"},
    "long_names.json": {"Train": ["a", "b"], "valid": ["c"], "TEST": ["d"], "full": ["a", "b", "c", "d"]},
}


@pytest.mark.parametrize("name", FORMS)
def test_every_known_form_of_a_split_file_says_the_same(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text(json.dumps(FORMS[name]))
    splits = read_split_file(path)
    splits.pop("all", None)
    assert splits == {"train": ["a", "b"], "val": ["c"], "test": ["d"]}


@pytest.mark.parametrize(
    "text",
    [
        "film,split\na,train\nb,train\nc,val\nd,test\n",
        "a\ttrain\nb\ttrain\nc\tdev\nd\ttest",
        "film;split\na;train\nb;train\nc;val\nd;test\n",
    ],
)
def test_a_csv_will_do(tmp_path: Path, text: str) -> None:
    path = tmp_path / "splits.csv"
    path.write_text(text)
    assert read_split_file(path) == {"train": ["a", "b"], "val": ["c"], "test": ["d"]}


@pytest.mark.parametrize(
    "text",
    ["", "[]", "3", "{}", '{"train": 3}', '{"train": [3]}', '{"a": "b"}', "{" * 9000, '{"all": ["a"]}'],
)
def test_anything_else_is_an_input_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "split318.json"
    path.write_text(text)
    with pytest.raises(InputError, match="split318"):
        read_split_file(path)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6) | st.sampled_from(["train", "val", "../x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["train", "test", "name", "x"]), inner, max_size=3)
    ),
    max_leaves=10,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(value=json_values)
def test_any_json_is_splits_or_an_input_error(tmp_path: Path, value: object) -> None:
    path = tmp_path / "split.json"
    path.write_text(json.dumps(value))
    try:
        splits, _ = fit_splits(read_split_file(path), ["a", "b"])
    except InputError:
        return
    assert {film for films in splits.values() for film in films} <= {"a", "b"}


def test_films_that_are_not_here_and_films_in_two_splits_are_reported() -> None:
    splits, found = fit_splits({"train": ["a", "b"], "test": ["a", "gone"], "all": ["a", "b", "c"]}, ["a", "b", "c"])
    assert splits == {"train": ["a", "b"], "val": [], "test": ["a"]}
    assert sorted((finding.severity, finding.about) for finding in found) == [
        (ERROR, "a"),
        (WARNING, "split"),
        (WARNING, "split"),
    ]


FILMS = [f"film{i}" for i in range(20)]


def test_splits_are_drawn_by_film_and_seed() -> None:
    splits = draw_splits(FILMS, (0.6, 0.2, 0.2), seed=0)
    assert [len(splits[name]) for name in ("train", "val", "test")] == [12, 4, 4]
    assert sorted(chain(*splits.values())) == sorted(FILMS)
    assert draw_splits(reversed(FILMS), (3, 1, 1), seed=0) == splits
    assert draw_splits(FILMS, (0.6, 0.2, 0.2), seed=1) != splits


def test_one_film_more_moves_few_of_the_others() -> None:
    before, after = (draw_splits(films, (0.6, 0.2, 0.2), seed=3) for films in (FILMS, [*FILMS, "new"]))
    moved = [film for film in FILMS if not any(film in before[name] and film in after[name] for name in before)]
    assert len(moved) <= 2


@given(st.integers(0, 30), st.tuples(st.floats(0.1, 9), st.floats(0, 9), st.floats(0, 9)), st.integers())
def test_every_film_is_in_one_split_and_no_wanted_split_stays_empty(
    num_films: int, shares: tuple[float, float, float], seed: int
) -> None:
    films = [f"f{i}" for i in range(num_films)]
    splits = draw_splits(films, shares, seed)
    assert sorted(chain(*splits.values())) == sorted(films)
    for name, share in zip(("train", "val", "test"), shares, strict=True):
        assert share > 0 or not splits[name]
        assert share == 0 or num_films < 3 or splits[name]


@pytest.mark.parametrize("shares", [(0, 1, 1), (1, 1), (1, -1, 1), (float("nan"), 1, 1), (1e300, 1, 1)])
def test_shares_that_cannot_work_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="split shares"):
        draw_splits(FILMS, shares, 0)


def test_patterns_choose_films() -> None:
    films = [f"BBC_{i}" for i in range(1, 12)]
    splits = match_splits(films, {"train": ["BBC_[1-8]"], "val": [], "test": ["BBC_9", "BBC_1?"]})
    assert splits == {"train": films[:8], "val": [], "test": ["BBC_10", "BBC_11", "BBC_9"]}
    with pytest.raises(InputError, match="fits no film"):
        match_splits(films, {"train": ["tt*"]})
    with pytest.raises(InputError, match="both take BBC_1"):
        match_splits(films, {"train": ["BBC_1"], "test": ["*"]})


def test_labelled_films_that_nobody_trains_on_are_mentioned() -> None:
    assert unplaced(["a"], {"train": ["a"]}) == []
    assert "such as b" in unplaced(["a", "b"], {"train": ["a"]})[0].what


def test_a_written_split_file_is_of_the_published_form(tmp_path: Path) -> None:
    path = tmp_path / "meta" / "split318.json"
    write_split_file(path, {"train": ["b", "a"], "test": ["c"]})
    assert json.loads(path.read_text()) == {
        "train": ["a", "b"],
        "val": [],
        "test": ["c"],
        "all": ["a", "b", "c"],
    }
    assert read_split_file(path)["train"] == ["a", "b"]

from __future__ import annotations

import re
from pathlib import Path

import pytest
from bassl.config.resolve import resolve_finetune, resolve_pretrain

from bassl.config.load import FOLDER
from bassl.errors import InputError
from bassl.sweep.experiment import read_experiment, ready_names
from bassl.sweep.runs import plan_runs
from tests.sweep.composed import composed

NUM_ROWS = {"losses": 9, "procedural": 6, "published": 6, "sample": 3}
SHOT_LEVEL_LR = {"simclr_instance", "simclr_temporal", "simclr_nn", "only_ssm"}


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return str(path)


def test_the_ready_experiments_are_known_here() -> None:
    assert ready_names() == sorted(NUM_ROWS)
    assert len(list((FOLDER / "experiment").iterdir())) == len(NUM_ROWS)


@pytest.mark.parametrize("name", sorted(NUM_ROWS))
def test_a_ready_experiment_opens_with_its_command_and_composes_whole(name: str, tmp_path: Path) -> None:
    first = (FOLDER / "experiment" / f"{name}.yaml").read_text().splitlines()[0]
    assert re.match(rf"# bassl sweep {name}( |$)", first)
    experiment = read_experiment(name)
    runs = plan_runs(experiment, [], tmp_path, experiment.seeds, list(experiment.rows))  # raises where one cannot be
    assert len(experiment.rows) == NUM_ROWS[name]
    assert len(runs) == NUM_ROWS[name] * len(experiment.seeds)
    assert len({run.name for run in runs}) == len(runs)


@pytest.mark.parametrize("name", sorted(NUM_ROWS))
def test_no_two_rows_of_a_ready_experiment_are_the_same(name: str, tmp_path: Path) -> None:
    experiment = read_experiment(name)
    runs = plan_runs(experiment, [], tmp_path, [0], list(experiment.rows))
    said = [tuple(str(dict(step.settings)) for step in run.steps) for run in runs]
    assert len(set(said)) == len(said)


def test_the_published_rows_are_the_published_runs(tmp_path: Path) -> None:
    experiment = read_experiment("published")
    assert dict(experiment.published_ap) == {
        "simclr_instance": 51.51,
        "simclr_temporal": 50.05,
        "simclr_nn": 51.17,
        "bassl": 56.26,
        "bassl_40_epochs": 57.40,
    }
    runs = {run.row: run for run in plan_runs(experiment, [], tmp_path, [0], list(experiment.rows))}
    methods = {row: composed(run, "pretrain", resolve_pretrain).method.name for row, run in runs.items()}
    assert list(methods.values()) == ["instance", "temporal", "shotcol", "bassl", "bassl", "bassl+shotcol"]
    epochs = {row: composed(run, "pretrain", resolve_pretrain).loop.max_epochs for row, run in runs.items()}
    assert epochs == dict.fromkeys(runs, 10) | {"bassl_40_epochs": 40}


@pytest.mark.parametrize("name", ["published", "losses"])
def test_fine_tuning_starts_gently_where_a_crn_is_transferred(name: str, tmp_path: Path) -> None:
    experiment = read_experiment(name)
    for run in plan_runs(experiment, [], tmp_path, [0], list(experiment.rows)):
        base_lr = composed(run, "finetune", resolve_finetune).optimizer.lr / 4  # batch 1024 instead of 256
        assert base_lr == pytest.approx(2.5e-5 if run.row in SHOT_LEVEL_LR else 2.5e-6), run.row
        assert composed(run, "pretrain", resolve_pretrain).method.uses_crn == (run.row not in SHOT_LEVEL_LR)


def test_the_losses_are_each_left_out_and_each_alone(tmp_path: Path) -> None:
    experiment = read_experiment("losses")
    terms = {
        run.row: set(composed(run, "pretrain", resolve_pretrain).method.terms)
        for run in plan_runs(experiment, [], tmp_path, [0], list(experiment.rows))
    }
    every = {"ssm", "cgm", "pp", "msm"}
    assert terms == {
        "all": every,
        **{f"without_{term}": every - {term} for term in every},
        **{f"only_{term}": {term} for term in every},
    }


@pytest.mark.parametrize("name", ["sample", "procedural"])
def test_the_random_row_is_not_trained_and_the_others_are(name: str, tmp_path: Path) -> None:
    experiment = read_experiment(name)
    runs = plan_runs(experiment, [], tmp_path, [0], list(experiment.rows))
    epochs = {run.row: composed(run, "pretrain", resolve_pretrain).loop.max_epochs for run in runs}
    assert [row for row, number in epochs.items() if number == 0] == ["random"]


def test_an_experiment_of_ones_own_is_read_from_its_path(tmp_path: Path) -> None:
    path = written(tmp_path, "about: mine\nrows:\n  one: [+method=bassl]\n  two: []\n")
    experiment = read_experiment(path)
    assert (experiment.name, experiment.about, list(experiment.rows)) == ("mine", "mine", ["one", "two"])
    assert experiment.seeds == [0, 1, 2]


@pytest.mark.parametrize(("text", "message"), [
    ("about: x\n", "rows is missing"),
    ("about: x\nrows: {}\n", "no rows or no seeds"),
    ("about: x\nrows: {a: []}\nseeds: []\n", "no rows or no seeds"),
    ("about: x\nrows: {a: []}\nseeds: [one]\n", "'one'"),
    ("about: x\nrows: {a: []}\nseeds: [1, 1]\n", "seed 1 stands there twice"),
    ("about: x\nrows: {a/b: []}\n", "cannot name a folder"),
    ("about: x\nrows: {a: []}\nrow: {}\n", "row"),
    ("about: x\nrows: {a: []}\npublished_ap: {b: 1.0}\n", "published_ap names b"),
    ("about: x\nrows: {a: []}\npublished_ap: {a: .nan}\n", "published_ap of a is nan; give percent"),
    ("about: x\nrows: {a: []}\npublished_ap: {a: 101}\n", "published_ap of a is 101.0; give percent"),
    ("about: x\nrows: {a: []}\ndata: nowhere\n", "data=nowhere"),
    ("about: [\n", "cannot be read"),
    ("rows: {a: [], a: []}\nabout: x\n", "cannot be read"),
])  # fmt: skip
def test_a_file_that_is_no_experiment_is_one_clear_error(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_experiment(written(tmp_path, text))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("given", "hint"), [("sampel", "did you mean sample?"), ("x", "choose one of losses,"),
                                             ("nowhere.yaml", "choose one of")])  # fmt: skip
def test_an_unknown_experiment_names_the_nearest(given: str, hint: str) -> None:
    with pytest.raises(InputError, match=re.escape(hint)):
        read_experiment(given)

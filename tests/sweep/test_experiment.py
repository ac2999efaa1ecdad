from __future__ import annotations

import re
from pathlib import Path

import pytest

from bassl.config.batches import scaled_lr
from bassl.config.methods import method_of
from bassl.errors import InputError
from bassl.sweep.experiment import EXPERIMENTS, read_experiment, shipped_experiments
from bassl.sweep.runs import Run, plan_runs

NUM_ROWS = {"few_labels": 4, "losses": 9, "procedural": 6, "published": 6, "sample": 3}
SHOT_LEVEL = {"simclr_instance", "simclr_temporal", "simclr_nn", "only_ssm"}


def runs_of(name: str, folder: Path) -> dict[str, Run]:
    experiment = read_experiment(name)
    return {run.row: run for run in plan_runs(experiment, [], folder, [0], list(experiment.rows))}


@pytest.mark.parametrize("name", sorted(NUM_ROWS))
def test_a_shipped_experiment_opens_with_its_command_and_its_rows_are_valid_and_differ(
    name: str, tmp_path: Path
) -> None:
    assert shipped_experiments() == sorted(NUM_ROWS)
    first = (EXPERIMENTS / f"{name}.yaml").read_text().splitlines()[0]
    assert re.match(rf"# bassl sweep {name}( |$)", first)
    runs = runs_of(name, tmp_path)  # raises for an invalid one
    settings = {tuple(str(dict(step.settings)) for step in run.steps) for run in runs.values()}
    assert len(runs) == len(settings) == NUM_ROWS[name]


def test_the_published_rows_are_the_published_runs(tmp_path: Path) -> None:
    published = {"simclr_instance": 51.51, "simclr_temporal": 50.05, "simclr_nn": 51.17, "bassl": 56.26,
                 "bassl_40_epochs": 57.40}  # fmt: skip
    assert dict(read_experiment("published").published_ap) == published
    pretrain = {row: run.steps[0].config for row, run in runs_of("published", tmp_path).items()}
    methods = [method_of(config).name for config in pretrain.values()]
    assert methods == ["instance", "temporal", "shotcol", "bassl", "bassl", "bassl+shotcol"]
    epochs = {row: config.TRAINER.max_epochs for row, config in pretrain.items()}
    assert epochs == dict.fromkeys(pretrain, 10) | {"bassl_40_epochs": 40}


@pytest.mark.parametrize("name", ["published", "losses"])
def test_fine_tuning_uses_a_tenth_of_the_rate_where_a_crn_is_transferred(name: str, tmp_path: Path) -> None:
    for row, run in runs_of(name, tmp_path).items():
        rate = scaled_lr(run.steps[-1].config) / 4  # batch 1024 instead of 256
        assert rate == pytest.approx(2.5e-5 if row in SHOT_LEVEL else 2.5e-6), row
        assert method_of(run.steps[0].config).uses_crn == (row not in SHOT_LEVEL)


def test_each_loss_is_left_out_once_and_alone_once(tmp_path: Path) -> None:
    terms = {row: set(method_of(run.steps[0].config).terms) for row, run in runs_of("losses", tmp_path).items()}
    every = {"ssm", "cgm", "pp", "msm"}
    without, only = {f"without_{term}": every - {term} for term in every}, {f"only_{term}": {term} for term in every}
    assert terms == {"all": every, **without, **only}


@pytest.mark.parametrize("name", ["sample", "procedural"])
def test_only_the_random_row_is_untrained(name: str, tmp_path: Path) -> None:
    epochs = {row: run.steps[0].config.TRAINER.max_epochs for row, run in runs_of(name, tmp_path).items()}
    assert [row for row, number in epochs.items() if number == 0] == ["random"]


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    return str(path)


def test_an_experiment_is_read_from_a_path(tmp_path: Path) -> None:
    text = "about: a test\nlabelled_films: [2, 8]\nrows:\n  one: [+method=bassl]\n  two: []\n"
    experiment = read_experiment(written(tmp_path, text))
    assert (experiment.name, experiment.about, list(experiment.rows)) == ("mine", "a test", ["one", "two"])
    assert (experiment.seeds, experiment.labelled_films) == ([0, 1, 2], [2, 8])


@pytest.mark.parametrize(("text", "message"), [
    ("about: x\n", "rows is missing"),
    ("about: x\nrows: {}\n", "no rows or no seeds"),
    ("about: x\nrows: {a: []}\nseeds: [one]\n", "'one'"),
    ("about: x\nrows: {a: []}\nseeds: [1, 1]\n", "seeds [1, 1] are invalid"),
    ("about: x\nrows: {a: []}\nlabelled_films: [0]\n", "labelled_films [0] are invalid"),
    ("about: x\nrows: {a/b: []}\n", "cannot name a folder"),
    ("about: x\nrows: {a: []}\nrow: {}\n", "row"),
    ("about: x\nrows: {a: []}\npublished_ap: {b: 1.0}\n", "published_ap of b"),
    ("about: x\nrows: {a: []}\npublished_ap: {a: .nan}\n", "published_ap of a is nan"),
    ("about: x\nrows: {a: []}\ndata: nowhere\n", "data=nowhere"),
    ("about: [\n", "cannot be read"),
])  # fmt: skip
def test_an_invalid_file_is_one_line(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read_experiment(written(tmp_path, text))
    assert message in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(("given", "hint"), [("sampel", "mean sample?"), ("x.yaml", "choose one of few_labels,")])
def test_an_unknown_experiment_names_the_nearest(given: str, hint: str) -> None:
    with pytest.raises(InputError, match=re.escape(hint)):
        read_experiment(given)

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from bassl.sweep.experiment import Experiment
from bassl.sweep.folder import SweepFolder
from bassl.sweep.results import RowResult, collect, spread
from tests.sweep.written import write_run

A = Experiment(name="mine", about="", rows={"a": []})


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    return SweepFolder(tmp_path)


@pytest.fixture
def two_seeds(folder: SweepFolder) -> SweepFolder:
    for seed in (0, 1):
        write_run(folder, "a", seed, {"AP": 0.5, "mAP": 0.5})
    return folder


def test_mean_and_spread_are_those_of_numpy_and_nan_where_there_are_none() -> None:
    values = [51.2, 48.7, 50.1]
    found = spread(values)
    assert (found.mean, found.sd) == (pytest.approx(np.mean(values)), pytest.approx(np.std(values, ddof=1)))
    assert spread([3.0]).mean == 3.0 and math.isnan(spread([3.0]).sd) and math.isnan(spread([]).mean)


def test_the_numbers_of_a_run_are_those_that_its_steps_wrote_in_percent(folder: SweepFolder) -> None:
    validated = {
        "knn/precision@1": [(0, 30.0), (4, 60.0), (8, 70.0)],
        "val/pseudo_boundary_distance": [(4, 3.5), (8, 2.5)],
    }
    write_run(folder, "bassl", 1, {"AP": 0.5, "mAP": 0.6}, zero_shot=0.2, validated=validated, seconds=3.0)
    experiment = Experiment(name="", about="", rows={"bassl": [], "not run": []}, published_ap={"bassl": 56.26})
    (row,) = collect(folder, experiment)
    (run,) = row.runs
    assert dict(run.values) == {
        "AP": 50.0, "mAP": 60.0, "training_free_AP": 25.0, "zero_shot_AP": 20.0,
        "knn@1_before": 30.0, "knn@1": 70.0, "distance": 2.5,
    }  # fmt: skip
    assert dict(run.seconds) == {"pretrain": 3.0, "extract": 6.0, "zero_shot": 9.0, "finetune": 12.0}
    assert (run.is_done, run.failure, row.published_ap, row.num_done) == (True, None, 56.26, 1)


def test_rows_and_seeds_are_in_the_experiments_order_and_removed_rows_at_the_end(folder: SweepFolder) -> None:
    for row, seed in (("b", 2), ("removed", 0), ("a", 0), ("b", 1)):
        write_run(folder, row, seed, {"AP": 0.5, "mAP": 0.5})
    found = collect(folder, Experiment(name="", about="", rows={"a": [], "b": [], "c": []}))
    assert [(row.name, [run.seed for run in row.runs]) for row in found] == [
        ("a", [0]),
        ("b", [1, 2]),
        ("removed", [0]),
    ]


def test_a_row_has_one_result_per_number_of_labelled_films(folder: SweepFolder) -> None:
    for seed in (0, 1):
        write_run(folder, "a", seed, {"AP": 0.1, "mAP": 0.1}, films=[2, 8])
    few, many = collect(folder, Experiment(name="", about="", rows={"a": []}, labelled_films=[2, 8]))
    assert [row.label for row in (few, many, RowResult("a", (), num_films=1))] == [
        "a, 2 films",
        "a, 8 films",
        "a, 1 film",
    ]
    assert (few.spread("AP").values, many.spread("AP").mean) == ((20.0, 20.0), 80.0)
    assert few.seconds("pretrain") == many.seconds("pretrain") == 10.0
    assert (few.seconds("finetune"), many.seconds("finetune"), many.num_done) == (30.0, 40.0, 2)


def test_a_failed_run_counts_in_no_mean(folder: SweepFolder) -> None:
    write_run(folder, "a", 0, {"AP": 0.5, "mAP": 0.5})
    write_run(folder, "a", 1, None, error="no key-frames")
    (row,) = collect(folder, A)
    assert (row.spread("AP").values, row.num_done, row.seconds("pretrain")) == ((50.0,), 1, 10.0)
    assert row.runs[1].failure == ("finetune", "no key-frames")


@pytest.mark.parametrize("text", [None, "{", '{"test": {}}', '{"test": {"AP": "x", "mAP": 1}, "training_free": {}}',
                                  '{"test": {"AP": 1, "mAP": 1}, "training_free": []}'])  # fmt: skip
def test_a_lost_score_file_fails_its_run_only_and_says_how_to_repeat_the_step(
    two_seeds: SweepFolder, text: str | None
) -> None:
    path = two_seeds.root / "finetune" / "logs" / "a-seed0" / "all_score.json"
    path.unlink() if text is None else path.write_text(text)
    (row,) = collect(two_seeds, A)
    assert (row.spread("AP").values, row.num_done, row.runs[1].failure) == ((50.0,), 1, None)
    step, message = row.runs[0].failure
    assert step == "finetune"
    assert message.startswith(f"{path} cannot be read (")
    assert f"remove {two_seeds.record_path('a-seed0', 'finetune')}, and only that step" in message


def test_a_damaged_record_fails_its_run_only(two_seeds: SweepFolder) -> None:
    two_seeds.record_path("a-seed1", "finetune").write_text("[]")
    (row,) = collect(two_seeds, A)
    assert (row.num_done, row.runs[0].failure) == (1, None)
    assert "a-seed1.finetune.json is damaged" in row.runs[1].failure[1]


def test_a_metric_without_anything_to_measure_counts_in_no_mean(folder: SweepFolder) -> None:
    lost = {"knn/precision@1": [(0, math.nan), (4, 60.0)], "val/pseudo_boundary_distance": [(0, 1.0), (4, math.inf)]}
    write_run(folder, "a", 0, {"AP": math.nan, "mAP": None}, zero_shot=math.nan, validated=lost)
    write_run(folder, "a", 1, {"AP": 0.5, "mAP": 0.5})
    (row,) = collect(folder, A)
    assert dict(row.runs[0].values) == {"training_free_AP": 25.0, "knn@1": 60.0, "distance_before": 1.0}
    assert (row.spread("AP").mean, row.num_done) == (50.0, 2)

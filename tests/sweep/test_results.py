from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from bassl.sweep.folder import SweepFolder
from bassl.sweep.results import collect, spread
from tests.sweep.written import write_run


def test_mean_and_spread_are_those_of_numpy() -> None:
    values = [51.2, 48.7, 50.1]
    found = spread(values)
    assert found.mean == pytest.approx(np.mean(values))
    assert found.sd == pytest.approx(np.std(values, ddof=1))
    assert found.values == tuple(values)


def test_one_value_has_no_spread_and_none_has_no_mean() -> None:
    assert spread([3.0]).mean == 3.0
    assert math.isnan(spread([3.0]).sd)
    assert math.isnan(spread([]).mean)


def test_the_numbers_of_a_run_are_those_that_its_steps_wrote_in_percent(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    validated = {
        "knn/precision@1": [(0, 30.0), (4, 60.0), (8, 70.0)],
        "val/pseudo_boundary_distance": [(4, 3.5), (8, 2.5)],
    }
    write_run(folder, "bassl", 1, {"AP": 0.5, "mAP": 0.6}, zero_shot=0.2, validated=validated, seconds=3.0)
    (row,) = collect(folder, ["bassl", "never asked for"], {"bassl": 56.26})
    (run,) = row.runs
    assert dict(run.values) == {
        "AP": 50.0, "mAP": 60.0, "training_free_AP": 25.0, "zero_shot_AP": 20.0,
        "knn@1_before": 30.0, "knn@1": 70.0, "distance": 2.5,
    }  # fmt: skip
    assert dict(run.seconds) == {"pretrain": 3.0, "extract": 6.0, "zero_shot": 9.0, "finetune": 12.0}
    assert (run.is_done, run.failure, row.published_ap, row.num_done) == (True, None, 56.26, 1)


def test_rows_come_in_the_experiments_order_and_seeds_in_theirs(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    for row, seed in (("b", 2), ("gone", 0), ("a", 0), ("b", 1)):
        write_run(folder, row, seed, {"AP": 0.5, "mAP": 0.5})
    found = collect(folder, ["a", "b", "c"], {})
    assert [(row.name, [run.seed for run in row.runs]) for row in found] == [("a", [0]), ("b", [1, 2]), ("gone", [0])]


def test_a_failed_run_counts_in_no_mean_and_is_told(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    write_run(folder, "a", 0, {"AP": 0.5, "mAP": 0.5})
    write_run(folder, "a", 1, None, error="no key-frames")
    (row,) = collect(folder, ["a"], {})
    assert row.spread("AP").values == (50.0,)
    assert row.num_done == 1
    assert row.runs[1].failure == ("finetune", "no key-frames")
    assert row.seconds("pretrain") == 10.0


@pytest.mark.parametrize("text", [None, "{", "[]", '{"test": {}}', '{"test": {"AP": "x", "mAP": 1}}',
                                  '{"test": {"AP": 1, "mAP": 1}, "training_free": []}'])  # fmt: skip
def test_a_score_file_that_is_lost_fails_its_run_alone_and_tells_how_to_repeat_the_step(
    tmp_path: Path, text: str | None
) -> None:
    folder = SweepFolder(tmp_path)
    for seed in (0, 1):
        write_run(folder, "a", seed, {"AP": 0.5, "mAP": 0.5})
    path = tmp_path / "finetune" / "logs" / "a-seed0" / "all_score.json"
    path.unlink() if text is None else path.write_text(text)
    (row,) = collect(folder, ["a"], {})
    assert (row.spread("AP").values, row.num_done) == ((50.0,), 1)
    assert [run.failure is None for run in row.runs] == [False, True]
    step, said = row.runs[0].failure
    assert step == "finetune"
    assert said.startswith(f"{path} cannot be read (")
    record = tmp_path / "steps" / "a-seed0.finetune.json"
    assert f"remove {record} first, and only that step" in said
    assert record.is_file()


def test_a_damaged_record_fails_its_run_alone(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    for seed in (0, 1):
        write_run(folder, "a", seed, {"AP": 0.5, "mAP": 0.5})
    (tmp_path / "steps" / "a-seed1.finetune.json").write_text("[]")
    (row,) = collect(folder, ["a"], {})
    assert (row.num_done, row.runs[0].failure) == (1, None)
    assert row.runs[1].failure[0] == "finetune"
    assert "a-seed1.finetune.json is damaged" in row.runs[1].failure[1]


def test_a_number_that_there_is_nothing_to_measure_for_counts_in_no_mean(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path)
    lost = {"knn/precision@1": [(0, math.nan), (4, 60.0)], "val/pseudo_boundary_distance": [(0, 1.0), (4, math.inf)]}
    write_run(folder, "a", 0, {"AP": math.nan, "mAP": None}, zero_shot=math.nan, validated=lost)
    write_run(folder, "a", 1, {"AP": 0.5, "mAP": 0.5})
    (row,) = collect(folder, ["a"], {})
    assert dict(row.runs[0].values) == {"training_free_AP": 25.0, "knn@1": 60.0, "distance_before": 1.0}
    assert (row.spread("AP").mean, row.num_done) == (50.0, 2)

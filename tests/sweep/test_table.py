from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from bassl.sweep.experiment import Experiment
from bassl.sweep.folder import SweepFolder
from bassl.sweep.results import collect
from bassl.sweep.table import format_seconds, markdown, write_tables
from tests.sweep.written import write_run

ROWS: dict[str, list[str]] = {"random": [], "bassl": [], "bad": []}
EXPERIMENT = Experiment(name="mine", about="what it is", rows=ROWS, published_ap={"bassl": 56.26})
PLAIN = Experiment(name="mine", about="what it is", rows=ROWS)
AP = {"random": [0.21, 0.19, 0.2], "bassl": [0.31, 0.35, 0.39]}


@pytest.fixture
def folder(tmp_path: Path) -> SweepFolder:
    sweep = SweepFolder(tmp_path)
    for row, values in AP.items():
        for seed, value in enumerate(values):
            zero_shot = value / 2 if row == "bassl" else None
            knn = [(0, 10.0 + seed)] if row == "random" else [(0, 10.0 + seed), (9, 100 * value)]
            validated = {"knn/precision@1": knn, "val/pseudo_boundary_distance_random": [(0, 4.25)]}
            scores = {"AP": value, "mAP": value + 0.01}
            write_run(sweep, row, seed, scores, zero_shot=zero_shot, validated=validated)
    write_run(sweep, "bad", 0, None, error="no key-frames")
    return sweep


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_table_has_one_line_per_row_with_the_values_of_numpy(folder: SweepFolder) -> None:
    text = markdown(EXPERIMENT, collect(folder, EXPERIMENT))
    lines = [cells(line) for line in text.splitlines() if line.startswith("|")]
    assert lines[0] == ["row", "seeds", "published AP", "AP", "mAP", "zero-shot AP", "training-free AP", "k-NN@1",
                        "pretrain time", "extract time", "finetune time"]  # fmt: skip
    assert [line[0] for line in lines[2:]] == ["random", "bassl", "bad"]
    for line, row in zip(lines[2:4], AP, strict=True):
        values = 100 * np.array(AP[row])
        assert line[3] == f"{values.mean():.2f} ± {values.std(ddof=1):.2f}"
        assert line[4] == f"{values.mean() + 1:.2f} ± {values.std(ddof=1):.2f}"
    assert [line[8:] for line in lines[2:4]] == [["10 s", "20 s", "30 s"], ["10 s", "20 s", "40 s"]]
    assert [line[7] for line in lines[2:4]] == ["11.00 ± 1.00", "11.00 → 35.00 ± 4.00"]
    assert [line[2] for line in lines[2:]] == ["", "56.26", ""]
    assert lines[3][5] == "17.50 ± 2.00"
    assert lines[4] == ["bad", "0 of 1", "", "", "", "", "", "", "10 s", "20 s", ""]
    assert "The boundary distance of chance is 4.25 shots." in text
    assert "- bad, seed 0, finetune: no key-frames" in text


def test_empty_columns_are_omitted(tmp_path: Path) -> None:
    sweep = SweepFolder(tmp_path)
    write_run(sweep, "random", 0, {"AP": 0.2, "mAP": 0.3})
    text = markdown(PLAIN, collect(sweep, PLAIN))
    assert cells(text.splitlines()[4])[:4] == ["row", "seeds", "AP", "mAP"]
    assert "zero-shot" not in text.splitlines()[4]
    assert "| random | 1 | 20.00 | 30.00 | 25.00 |" in text
    assert "Failed" not in text
    assert "chance" not in text


def test_an_interrupted_runs_time_is_shown_as_a_bound(tmp_path: Path) -> None:
    sweep = SweepFolder(tmp_path)
    write_run(sweep, "random", 0, {"AP": 0.2, "mAP": 0.3}, seconds=700.0, attempts=2)
    assert "| ≥ 12 min | ≥ 23 min | ≥ 35 min |" in markdown(PLAIN, collect(sweep, PLAIN))


def test_the_csv_files_hold_the_same_numbers(folder: SweepFolder) -> None:
    write_tables(folder.root, EXPERIMENT, collect(folder, EXPERIMENT))
    with (folder.root / "results.csv").open(newline="") as file:
        rows = {line["row"]: line for line in csv.DictReader(file)}
    with (folder.root / "runs.csv").open(newline="") as file:
        runs = list(csv.DictReader(file))
    assert (list(rows), len(runs)) == (["random", "bassl", "bad"], 7)
    for row, values in AP.items():
        mine = [float(run["AP"]) for run in runs if run["row"] == row]
        np.testing.assert_allclose(mine, 100 * np.array(values))
        assert float(rows[row]["AP_mean"]) == pytest.approx(np.mean(mine), rel=1e-5)
        assert float(rows[row]["AP_sd"]) == pytest.approx(np.std(mine, ddof=1), rel=1e-5)
        assert float(rows[row]["knn@1_before_mean"]) == pytest.approx(11.0)
    assert (rows["bassl"]["published_AP"], rows["random"]["published_AP"], rows["bad"]["AP_mean"]) == ("56.26", "", "")
    assert runs[-1]["failed"] == "finetune: no key-frames"
    assert (folder.root / "results.md").read_text().startswith("# mine\n\nwhat it is\n\n| row |")


def test_rows_with_limited_films_say_how_many(tmp_path: Path) -> None:
    experiment = Experiment(name="mine", about="", rows={"random": []}, labelled_films=[2, 4])
    sweep = SweepFolder(tmp_path)
    write_run(sweep, "random", 0, {"AP": 0.1, "mAP": 0.1}, films=[2, 4])
    rows = collect(sweep, experiment)
    text = markdown(experiment, rows)
    assert "| random, 2 films | 1 | 20.00 |" in text and "| random, 4 films | 1 | 40.00 |" in text
    write_tables(sweep.root, experiment, rows)
    with (sweep.root / "results.csv").open(newline="") as file:
        assert [(line["row"], line["labelled_films"]) for line in csv.DictReader(file)] == [
            ("random", "2"),
            ("random", "4"),
        ]


@pytest.mark.parametrize(("seconds", "shown"), [(0.4, "0 s"), (99.4, "99 s"), (99.5, "2 min"), (5969, "99 min"),
                                                (5971, "1.7 h"), (360000, "100.0 h")])  # fmt: skip
def test_durations_are_written_in_a_fitting_unit(seconds: float, shown: str) -> None:
    assert format_seconds(seconds) == shown

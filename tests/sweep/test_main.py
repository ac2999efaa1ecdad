"""The command as a user types it, on a tiny MovieNet."""

from __future__ import annotations

import csv
import json
import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bassl.config.load import load
from bassl.config.paths import PACKAGE
from bassl.model.checkpoint import read_checkpoint
from bassl.sweep import main as sweep_main
from bassl.sweep.folder import SweepFolder
from tests.sweep.conftest import RealSweep, tiny_experiment
from tests.sweep.written import write_run

STEPS = ("pretrain", "extract", "zero_shot", "finetune")
BIG_BUCK_BUNNY = PACKAGE / "data" / "big_buck_bunny"


def run(*arguments: object) -> int:
    return sweep_main.main([str(argument) for argument in arguments])


def step_average_precision(probability: list[float], label: list[int]) -> float:
    """AP the slow way: at each threshold, how much recall it adds times the precision there."""
    total = found = 0.0
    num_true = sum(label)
    for threshold in sorted(set(probability), reverse=True):
        chosen = [true for value, true in zip(probability, label, strict=True) if value >= threshold]
        total += (sum(chosen) - found) / num_true * sum(chosen) / len(chosen)
        found = sum(chosen)
    return total


@pytest.mark.slow
def test_after_a_kill_the_rest_is_run_and_a_failing_row_stops_no_other(real_sweep: RealSweep) -> None:
    assert real_sweep.second.returncode == 1
    records = {
        path.name.removesuffix(".json"): json.loads(path.read_text())
        for path in (real_sweep.folder / "steps").iterdir()
    }
    status = {name: record["status"] for name, record in records.items()}
    finished = {f"{row}-seed1.{step}": "done" for row in ("bassl", "random") for step in STEPS}
    del finished["random-seed1.zero_shot"]  # has no boundary head
    assert status == finished | {"broken-seed1.pretrain": "failed"}
    assert records["bassl-seed1.pretrain"]["attempts"] == 2
    assert records["bassl-seed1.extract"]["attempts"] == 1
    model = read_checkpoint(real_sweep.folder / "pretrain" / "ckpt" / "bassl-seed1")
    assert model.global_step == 6
    output = (real_sweep.folder / "output" / "bassl-seed1.pretrain.txt").read_text()
    assert output.count("$ python3 -m bassl.pretrain.main") == 2
    assert "resuming" in output.lower() or "going on from" in output
    assert "broken-seed1: pretrain failed: " in real_sweep.second.stderr


@pytest.mark.slow
def test_the_table_holds_what_the_runs_wrote(real_sweep: RealSweep) -> None:
    with (real_sweep.folder / "results.csv").open(newline="") as file:
        rows = {line["row"]: line for line in csv.DictReader(file)}
    assert list(rows) == ["bassl", "broken", "random"]
    for row, step, column in (
        ("bassl", "finetune", "AP"),
        ("random", "finetune", "AP"),
        ("bassl", "zero_shot", "zero_shot_AP"),
    ):
        logs = real_sweep.folder / step / "logs" / f"{row}-seed1"
        with (logs / "predictions.csv").open(newline="") as file:
            lines = list(csv.DictReader(file))
        ap = step_average_precision([float(x["probability"]) for x in lines], [abs(int(x["label"])) for x in lines])
        assert float(rows[row][f"{column}_mean"]) == pytest.approx(100 * ap, abs=0.01)
        assert float(rows[row][f"{step}_seconds"]) > 0
    assert (rows["broken"]["AP_mean"], rows["random"]["zero_shot_AP_mean"]) == ("", "")
    text = (real_sweep.folder / "results.md").read_text()
    assert text in real_sweep.second.stdout
    assert "- broken, seed 1, pretrain: " in text
    with Image.open(real_sweep.folder / "results.png") as image:
        assert image.size[0] > 1000


@pytest.mark.slow
def test_the_untrained_row_is_what_the_others_were_before_training(real_sweep: RealSweep) -> None:
    """The same seed draws the same encoder; its nearest neighbours, counted by hand from the random row's features."""
    with (real_sweep.folder / "results.csv").open(newline="") as file:
        rows = {line["row"]: line for line in csv.DictReader(file)}
    before = {rows[row]["knn@1_before_mean"] for row in ("bassl", "random")}
    assert before == {rows["random"]["knn@1_mean"]}
    films: dict[str, list[dict[str, int]]] = {}
    for line in (real_sweep.data / "anno" / "anno.test.ndjson").read_text().splitlines():
        films.setdefault(json.loads(line)["video_id"], []).append(json.loads(line))
    right = total = 0
    for film, labelled in films.items():
        features = np.load(real_sweep.folder / "features" / "random-seed1" / f"{film}.npy").astype(np.float64)
        unit = features / np.linalg.norm(features, axis=1, keepdims=True)
        shots = [int(row["shot_id"]) for row in labelled]
        scenes = {shot: row["invideo_scene_id"] for shot, row in zip(shots, labelled, strict=True)}
        for query in shots:
            nearest = max((other for other in shots if other != query), key=lambda shot: unit[query] @ unit[shot])
            right += scenes[nearest] == scenes[query]
            total += 1
    assert before == {f"{100 * right / total:.6g}"}


@pytest.mark.slow
def test_the_same_folder_is_refused_under_changed_settings(
    real_sweep: RealSweep, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in real_sweep.folder.rglob("*") if path.name[0] != "."}
    changed = "finetune:config.TRAIN.OPTIMIZER.lr.base_lr=0.5"
    assert run(real_sweep.experiment, "--output", real_sweep.folder, changed) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert "config.TRAIN.OPTIMIZER.lr.base_lr=0.001 (finetune), now it is 0.5; name another --output" in said[0]
    assert {path: path.stat().st_mtime_ns for path in real_sweep.folder.rglob("*") if path.name[0] != "."} == before


@pytest.mark.slow
def test_done_steps_are_listed_as_done(real_sweep: RealSweep, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(real_sweep.experiment, "--output", real_sweep.folder, "--list", "--rows", "random") == 0
    steps = ["pretrain", "extract", "finetune"]
    assert capsys.readouterr().out.splitlines() == ["# random-seed1", *(f"# done: {step}" for step in steps)]


def test_the_listing_holds_valid_commands_and_writes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    experiment = tiny_experiment(tmp_path / "tiny.yaml", tmp_path / "data")
    assert run(experiment, "--output", tmp_path / "a b", "--list", "--rows", "random,bassl", "--seeds", "2,3") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("#")] == [
        "# bassl-seed2", "# bassl-seed3", "# random-seed2", "# random-seed3"
    ]  # fmt: skip
    commands = [shlex.split(line) for line in lines if line.startswith("python3")]
    jobs = {"bassl.pretrain.main": "pretrain", "bassl.pretrain.extract_shot_repr": "extract"}
    assert len(commands) == 2 * 4 + 2 * 3
    for command in commands:
        load(jobs.get(command[2], "finetune"), command[3:])  # raises for what cannot be
    assert not (tmp_path / "a b").exists()


def test_an_output_that_cannot_be_written_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "l.csv").touch()
    assert run("sample", "pretrain:config.DISTRIBUTED.NUM_PROC_PER_NODE=1", "-o", tmp_path / "l.csv") == 2
    assert f"l.csv cannot be written ({tmp_path}/l.csv is a file); name another --output" in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "message"), [
    (["sampel"], "did you mean sample?"),
    (["sample", "--rows", "random,bsasl"], "has no row 'bsasl'; choose from random, shotcol, bassl"),
    (["sample", "--seeds", "0,x"], "--seeds 0,x is invalid"),
    (["sample", "--jobs", "0"], "--jobs 0 with 0 --devices is invalid"),
    (["sample", "--jobs", "2", "--devices", "0"], "--jobs 2 with 1 --devices is invalid"),
    (["sample", "config.TRAINER.max_epochs=1"], "write pretrain:config.TRAINER.max_epochs=1"),
    (["losses", f"config.DATA_PATH={BIG_BUCK_BUNNY}", "config.DISTRIBUTED.NUM_PROC_PER_NODE=64",
      "pretrain:config.TRAIN.BATCH_SIZE.effective_batch_size=64"],
     "NUM_PROC_PER_NODE=64 needs as many GPUs, this machine has "),
    (["sample", "pretrain:config.TRAIN.BATCH_SIZE.effective_batch_size=200"],
     "row random, pretrain: a batch of 200 samples does not fit the 136 samples there are; set"),
    (["procedural", "config.DATA_PATH=/nowhere"], "there is no /nowhere/anno/anno.pretrain.ndjson"),
])  # fmt: skip
def test_a_mistake_is_one_sentence_before_anything_is_written(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*arguments, "--output", tmp_path / "out") == 2
    said = capsys.readouterr().err.splitlines()
    assert message in said[-1]
    assert said[-1].startswith("error: ")
    assert not (tmp_path / "out").exists()


def test_a_picture_of_lost_scores_is_removed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is run: every step is done."""
    folder = SweepFolder(tmp_path)
    run_arguments = ("sample", "--rows", "random", "--seeds", "0", "--output", tmp_path)
    write_run(folder, "random", 0, {"AP": 0.5, "mAP": 0.5})
    (tmp_path / "sweep.json").write_text(json.dumps({"experiment": "sample", "runs": [["random", 0]]}))
    assert run(*run_arguments) == 0
    assert (tmp_path / "results.png").is_file()
    assert capsys.readouterr().out.endswith(f"{tmp_path}/results.md, results.csv, results.png\n")
    (tmp_path / "finetune" / "logs" / "random-seed0" / "all_score.json").unlink()
    assert run(*run_arguments) == 1
    said = capsys.readouterr().out
    assert said.endswith(f"{tmp_path}/results.md, results.csv\n")
    assert "| random | 0 of 1 |" in said
    assert not (tmp_path / "results.png").exists()

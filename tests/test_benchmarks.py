"""Each benchmark runs, both of its sides compute the same, and what it prints is what it found. No times are judged."""

from __future__ import annotations

import importlib
import json
import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from bassl.dataset.movienet import LabelledWindows, WindowBatch
from bassl.dataset.sampler import EpochSampler, SampleKey
from bassl.finetune.metrics import scene_metrics
from bassl.finetune.module import FinetuneModule
from bassl.pretrain.alignment import pseudo_boundary
from bassl.pretrain.extract import extract
from bassl.pretrain.knn import KS, FilmwisePrecision
from benchmarks import (
    alignment,
    cold_start,
    cost_check,
    extraction,
    feeding,
    film_by_film_in_loops,
    finetune_entry,
    finetune_epoch,
    memory,
    pictures_one_by_one,
    pretrain_step,
    samples,
    validation,
    warping,
)
from benchmarks.main import NAMES, main
from benchmarks.material import FULL_FILMS, FULL_SHOTS, film_sizes, split_of
from benchmarks.measure import Row, Settings, compared, in_turns
from benchmarks.table import RESULTS, stored_table, table
from tests.reference import data


@pytest.fixture
def quick(tmp_path: Path) -> Settings:
    return Settings(tmp_path, quick=True)


def test_every_benchmark_is_a_module_of_the_folder() -> None:
    assert len(NAMES) == len(set(NAMES)) == 12
    for name in NAMES:
        assert callable(importlib.import_module(f"benchmarks.{name}").run)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_quick_mode_of_each_gives_numbers(name: str, quick: Settings) -> None:
    rows = importlib.import_module(f"benchmarks.{name}").run(quick)
    assert rows
    for row in rows:
        assert row.ours is not None
        assert math.isfinite(row.ours)
        assert (row.reached is None) == (row.goal == "")
        assert row.ratio is None or row.ratio > 0
    assert table({"date": "today"}, {name: rows}).count("\n") >= len(rows)


@pytest.mark.parametrize(
    ("took", "ratio", "reached"),
    [(2.0, 1.0, True), (1.0, 2.0, False), (4.0, 0.5, False), (0.0, None, False), (-1.0, None, False)],
)
def test_a_prediction_is_compared_with_what_a_busy_machine_measured(
    took: float, ratio: float | None, reached: bool
) -> None:
    row = cost_check.prediction("a run", 2.0, took)
    assert (row.ratio, row.reached) == (ratio, reached)
    assert ("measure again" in row.note) == (ratio is None)


def test_samples_of_both_sides_are_the_same_views() -> None:
    dataset = samples.dataset(64)
    for row in (25, 60):
        key = SampleKey(0, row)
        ours, mask = samples.whole_sample(dataset, key)
        theirs, their_mask = pictures_one_by_one.sample(dataset, key)
        assert ours.shape == theirs.shape == (19, 3, 64, 64)
        assert torch.equal(mask, their_mask)
        # Pillow rounds after every operation, and its blur is made of boxes.
        assert (ours - theirs).abs().mean() < 0.05
        assert float(torch.corrcoef(torch.stack([ours.flatten(), theirs.flatten()]))[0, 1]) > 0.99


def test_batches_from_a_table_and_from_files_are_equal(quick: Settings) -> None:
    material = finetune_epoch.prepared(quick)
    windows = LabelledWindows(material.rows, material.table.first)
    keys = list(EpochSampler(len(material.rows), 8, rank=0, world_size=1, seed=0))[:8]
    keys += [SampleKey(0, 0), SampleKey(0, len(material.rows) - 1)]  # windows that stick out of their film
    ours, labels = feeding.from_table(windows, material.table, keys)
    theirs, their_labels = feeding.from_files(material.files, material.rows, keys)
    assert torch.equal(ours, theirs)
    assert torch.equal(labels, their_labels)


def test_an_epoch_has_the_same_losses_on_both_sides(quick: Settings) -> None:
    material = finetune_epoch.prepared(quick)
    ours = finetune_epoch.epoch(finetune_epoch.scorer(quick, dropout=0.0), material, quick, torch.float32)
    theirs = finetune_epoch.in_full(finetune_epoch.scorer(quick, dropout=0.0), material, quick)
    half = finetune_epoch.epoch(finetune_epoch.scorer(quick, dropout=0.0), material, quick, torch.bfloat16)
    assert len(ours) == len(theirs) == len(half) == 2
    torch.testing.assert_close(torch.stack(ours), torch.stack(theirs))
    torch.testing.assert_close(torch.stack(half), torch.stack(theirs), rtol=0.02, atol=0.02)


def test_an_epoch_through_the_entry_is_compared_with_the_loop() -> None:
    row = finetune_entry.compared_with_loop([2.0, 1.0, 4.0], [1.0, 0.8, 1.0], num_windows=100)
    assert (row.ours, row.floor, row.ratio) == (20.0, 10.0, 0.5)
    assert row.note.startswith("50 % are not the loop's")
    assert finetune_entry.compared_with_loop([2.0, 0.0], [1.0, 1.0], num_windows=100).ratio is None


@pytest.mark.slow
def test_the_entry_trains_as_many_steps_as_the_loop(quick: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    step = FinetuneModule.training_step

    def counted(module: FinetuneModule, batch: WindowBatch, batch_idx: int) -> torch.Tensor:
        taken.append(len(batch.label))
        return step(module, batch, batch_idx)

    monkeypatch.setattr(FinetuneModule, "training_step", counted)
    material = finetune_epoch.prepared(quick)
    finetune_entry.fine_tune(finetune_entry.command(quick, material), 1)
    assert taken == [material.batch_size] * (material.num_windows // material.batch_size)


@pytest.mark.slow
def test_extraction_of_both_sides_gives_the_same_features(quick: Settings) -> None:
    plan = extraction.prepared(quick, num_films=2, num_shots=3)
    ours, theirs = quick.folder / "our_features", quick.folder / "their_features"
    extract(replace(plan, features=ours, compute=replace(plan.compute, precision="32")), {})
    extraction.one_by_one(plan, theirs, quick)
    assert extraction.largest_difference(ours, theirs) < 0.01


def test_loops_find_the_pseudo_boundaries_of_the_package() -> None:
    for seed in range(3):
        sparse, dense = alignment.embeddings(20, torch.device("cpu"), seed)
        assert warping.boundaries(sparse, dense) == pseudo_boundary(sparse, dense).tolist()


def test_loops_give_the_nearest_neighbour_precision_of_the_package() -> None:
    ours = FilmwisePrecision()
    found, queries = np.zeros(len(KS)), np.zeros(len(KS))
    films = list(validation.films([60, 45], dimension=32))
    assert [len(features) for features, _ in films] == [60, 45]
    for features, scenes in films:
        ours.update(features, scenes)
        in_film = film_by_film_in_loops.count_neighbors(features, scenes, KS)
        found, queries = found + in_film[0], queries + in_film[1]
    assert ours.totals.tolist() == [found.tolist(), queries.tolist()]
    assert found[0] > 0


def test_loops_give_the_film_metrics_of_the_package() -> None:
    scored, frames = validation.predictions([90, 70, 50])
    ours = scene_metrics(scored, frames)
    theirs = film_by_film_in_loops.film_metrics(scored, frames)
    assert len(theirs) == 3
    for name, value in theirs.items():
        assert ours[name] == pytest.approx(value), name
        assert 0 < value < 1


@pytest.mark.slow
def test_a_training_step_has_the_loss_and_the_update_of_the_references_way(quick: Settings) -> None:
    plan = pretrain_step.plan_of(quick, 2, 32, 18)
    batch = pretrain_step.first_batch(plan, quick)
    ours = replace(pretrain_step.our_step(plan, quick), precision=torch.float32)
    theirs = replace(pretrain_step.reference_step(plan, quick), precision=torch.float32)
    for step in (ours, theirs):
        step.module.eval()  # two passes have other batch statistics than one
    images = pretrain_step.augment(batch.keyframes, batch.draws)
    mine = pretrain_step.take_step(ours, batch)
    torch.testing.assert_close(
        mine, pretrain_step.take_reference_step(theirs, images, batch.mask), rtol=1e-4, atol=1e-4
    )
    pairs = list(zip(ours.module.parameters(), theirs.module.parameters(), strict=True))
    assert len(pairs) > 60
    for weight, expected in pairs:
        torch.testing.assert_close(weight, expected, rtol=1e-3, atol=1e-5)


def test_lars_tensor_by_tensor_is_the_packages() -> None:
    weights = [torch.nn.Parameter(data(seed, (4, 3))) for seed in (1, 2)]
    copies = [torch.nn.Parameter(weight.detach().clone()) for weight in weights]
    ours = pretrain_step.LARS(weights, lr=0.1, weight_decay=1e-3)
    theirs = pretrain_step.OneByOneLARS(copies, lr=0.1, weight_decay=1e-3)
    for step in range(3):
        for weight, copied in zip(weights, copies, strict=True):
            weight.grad = data(10 + step, (4, 3))
            copied.grad = weight.grad.clone()
        ours.step()
        theirs.step()
    for weight, copied in zip(weights, copies, strict=True):
        torch.testing.assert_close(weight, copied)


def test_peak_memory_is_that_of_the_command_alone(quick: Settings) -> None:
    held = bytearray(300 * 2**20)  # memory of this process does not count
    usage = memory.measured([sys.executable, "-c", "x = bytes(1) * 100 * 2**20"], quick)
    assert len(held) == 300 * 2**20
    assert 100 < usage.resident / 2**20 < 200
    failed = memory.measured([sys.executable, "-c", "raise SystemExit('no such film')"], quick)
    assert (failed.status, failed.said.strip()) == (1, "no such film")


def test_help_and_a_typo_are_answered() -> None:
    help_ = cold_start.answered(["-m", *cold_start.ASKED["--help of fine-tuning"]])
    assert (help_.returncode, help_.stderr) == (0, "")
    typo = cold_start.answered(["-m", *cold_start.ASKED["a typo"]])
    assert typo.returncode == 2
    assert "did you mean" in typo.stderr


def test_made_films_have_the_size_of_the_benchmark() -> None:
    sizes = film_sizes(sum(FULL_FILMS.values()), FULL_SHOTS)
    assert len(sizes) == 318
    assert sum(sizes.values()) == 507_530
    splits = split_of(sizes, FULL_FILMS)
    assert [len(films) for films in splits.values()] == [190, 64, 64]
    assert sum(sum(films.values()) for films in splits.values()) == 507_530


def test_sides_take_turns(quick: Settings) -> None:
    order: list[str] = []
    seconds = in_turns({"ours": lambda: order.append("a"), "reference": lambda: order.append("b")}, quick, rounds=3)
    assert "".join(order) == "ababab"
    assert [len(values) for values in seconds.values()] == [3, 3]


def test_a_ratio_is_the_median_over_pairs_and_decides_the_goal() -> None:
    seconds = {"ours": [1.0, 2.0, 1.0], "reference": [4.0, 10.0, 6.0], "floor": [0.5, 0.5, 0.5]}
    row = compared("work", seconds, per=2, unit="ms", goal=5)
    assert row == Row("work", "ms", 500.0, 3000.0, 5.0, "5 x", True, 250.0, "")
    assert compared("work", seconds, per=2, unit="ms", goal=5.5).reached is False
    assert compared("work", seconds, per=2, unit="ms").goal == ""


def test_the_table_shows_a_line_a_row_and_the_notes() -> None:
    rows = [
        Row("a", "ms", 1.234567, 12345.0, 10.0, "5 x", True, 0.5, "quiet"),
        Row("b", "s", 2.0, reached=False, goal="1 s"),
    ]
    shown = table({"date": "today", "gpu": None}, {"one": rows}).splitlines()
    assert shown[0] == "date today"
    assert [cell.strip() for cell in shown[4].strip("|").split("|")] == [
        "a",
        "ms",
        "1.23",
        "12345",
        "10",
        "5 x (reached)",
        "0.5",
    ]
    assert "MISSED" in shown[5]
    assert shown[-1] == "- a: quiet"


def test_the_readme_shows_what_is_stored() -> None:
    shown = (RESULTS.parent / "README.md").read_text(encoding="utf-8")
    assert stored_table(RESULTS / "cpu.json") in shown
    assert set(json.loads((RESULTS / "cpu.json").read_text(encoding="utf-8"))) <= set(NAMES)


def test_results_of_other_benchmarks_stay_in_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "found.json"
    file.write_text(json.dumps({"memory": {"rows": []}}))
    assert main(["--only", "feeding", "--quick", "--json", str(file)]) == 0
    stored = json.loads(file.read_text())
    assert set(stored) == {"memory", "feeding"}
    assert stored["feeding"]["machine"]["quick"] is True
    assert stored["feeding"]["rows"][0]["work"] == "feeding of fine-tuning"
    assert "| feeding of fine-tuning |" in capsys.readouterr().out


def test_a_missing_gpu_is_one_sentence(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["--device", "cuda"]) == 2
    assert "there is no CUDA device" in capsys.readouterr().err

"""Both sides of each benchmark compute the same, and every benchmark runs. No times are judged."""

from __future__ import annotations

import importlib
import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.autograd import DeviceType

from bassl.dataset.movienet import WindowBatch
from bassl.dataset.sampler import SampleKey
from bassl.finetune.metrics import scene_metrics
from bassl.finetune.module import FinetuneModule
from bassl.pretrain.alignment import pseudo_boundary
from bassl.pretrain.extract import extract
from bassl.pretrain.knn import KS, FilmwisePrecision
from bassl.training.optim import LARS
from benchmarks import (
    alignment,
    extraction,
    feeding,
    finetune_entry,
    finetune_epoch,
    memory,
    pretrain_step,
    profile_step,
    reference_augmentation,
    reference_metrics,
    reference_training,
    samples,
    table,
    validation,
)
from benchmarks.main import NAMES, main
from benchmarks.measure import Row, Settings, compared, in_turns
from tests.reference import data


@pytest.fixture
def quick(tmp_path: Path) -> Settings:
    return Settings(tmp_path, quick=True)


# --- the reference's way computes the same --------------------------------------------------------------------------


def test_samples_of_both_sides_are_the_same_views() -> None:
    dataset = samples.dataset(64)
    for row in (25, 60):
        key = SampleKey(0, row)
        ours, mask = samples.whole_sample(dataset, key)
        theirs, their_mask = reference_augmentation.pretrain_sample(dataset, key)
        assert ours.shape == theirs.shape == (19, 3, 64, 64)
        assert torch.equal(mask, their_mask)
        # Pillow rounds after every operation, and its blur is made of boxes.
        assert (ours - theirs).abs().mean() < 0.05
        assert float(torch.corrcoef(torch.stack([ours.flatten(), theirs.flatten()]))[0, 1]) > 0.99


@pytest.mark.slow
def test_extraction_of_both_sides_gives_the_same_features(quick: Settings) -> None:
    config = extraction.prepare(quick, 2, 3, "config.TRAINER.precision=32")
    ours, theirs = quick.folder / "features", quick.folder / "per_shot"
    extract(config)
    extraction.extract_per_shot(config, theirs, quick)
    assert extraction.largest_difference(ours, theirs) < 0.01


def test_batches_from_a_table_and_from_files_are_equal(quick: Settings) -> None:
    films = finetune_epoch.prepare(quick)
    keys = list(films.sampler)[:8]
    keys += [SampleKey(0, 0), SampleKey(0, len(films.rows) - 1)]  # windows that extend past their film
    ours, labels = feeding.from_table(films.windows, films.table, keys)
    theirs, their_labels = feeding.from_files(films, keys)
    assert torch.equal(ours, theirs)
    assert torch.equal(labels, their_labels)


def test_an_epoch_has_the_same_losses_on_both_sides(quick: Settings) -> None:
    films = finetune_epoch.prepare(quick)
    ours = finetune_epoch.epoch(finetune_epoch.scorer(quick, dropout=0.0), films, quick, torch.float32)
    theirs = finetune_epoch.reference_epoch(finetune_epoch.scorer(quick, dropout=0.0), films, quick)
    half = finetune_epoch.epoch(finetune_epoch.scorer(quick, dropout=0.0), films, quick, torch.bfloat16)
    assert len(ours) == len(theirs) == len(half) == 2
    torch.testing.assert_close(torch.stack(ours), torch.stack(theirs))
    torch.testing.assert_close(torch.stack(half), torch.stack(theirs), rtol=0.02, atol=0.02)


@pytest.mark.slow
def test_the_entry_trains_as_many_steps_as_the_loop(quick: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    step = FinetuneModule.training_step

    def counted(module: FinetuneModule, batch: WindowBatch, batch_idx: int) -> torch.Tensor:
        sizes.append(len(batch.label))
        return step(module, batch, batch_idx)

    monkeypatch.setattr(FinetuneModule, "training_step", counted)
    films = finetune_epoch.prepare(quick)
    finetune_entry.fine_tune(finetune_entry.command(quick, films), 1)
    assert sizes == [films.batch_size] * (finetune_epoch.num_windows(films) // films.batch_size)


@pytest.mark.parametrize("seed", range(3))
def test_loops_find_the_pseudo_boundaries_of_the_package(seed: int) -> None:
    sparse, dense = alignment.embeddings(20, torch.device("cpu"), seed)
    boundaries = reference_training.pseudo_boundaries(sparse, dense)
    assert torch.equal(boundaries, pseudo_boundary(sparse, dense))
    assert len(boundaries.unique()) > 5


def test_loops_give_the_knn_precision_of_the_package() -> None:
    ours = FilmwisePrecision()
    hits, queries = np.zeros(len(KS)), np.zeros(len(KS))
    for features, scenes in validation.films([60, 45], dimension=32):
        ours.update(features, scenes)
        of_film = reference_metrics.count_neighbors(features, scenes, KS)
        hits, queries = hits + of_film[0], queries + of_film[1]
    assert ours.totals.tolist() == [hits.tolist(), queries.tolist()]
    assert hits[0] > 0


def test_loops_give_the_film_metrics_of_the_package() -> None:
    scored, frames = validation.predictions([90, 70, 50])
    ours, theirs = scene_metrics(scored, frames), reference_metrics.film_metrics(scored, frames)
    assert set(theirs) == {"Recall", "Recall@3s", "mIoU"}
    assert {name: ours[name] for name in theirs} == pytest.approx(theirs)
    assert all(0 < value < 1 for value in theirs.values())


@pytest.mark.slow
def test_a_step_has_the_same_loss_and_update_on_both_sides_and_under_the_profiler(quick: Settings) -> None:
    case = pretrain_step.default_case(quick)
    batch = pretrain_step.first_batch(quick, case)
    assert batch.keyframes.shape == (2, 19, 3, 32, 32)
    images = pretrain_step.augment(batch.keyframes, batch.draws)
    sides = {
        pretrain_step.our_step: lambda step: pretrain_step.take_step(step, batch),
        pretrain_step.reference_step: lambda step: pretrain_step.take_reference_step(step, images, batch.mask),
    }
    steps, losses = [], []
    for build, take in [*sides.items(), (pretrain_step.our_step, lambda step: profile_step.profiled_step(step, batch))]:
        step = replace(build(quick, case), precision=torch.float32)
        step.module.crn.set_dropout(0.0)  # BatchNorm trains: several passes would differ from one
        losses.append(take(step))
        steps.append(list(step.module.parameters()))
    for loss, parameters in zip(losses[1:], steps[1:], strict=True):
        torch.testing.assert_close(loss, losses[0], rtol=1e-4, atol=1e-4)
        assert len(parameters) == len(steps[0]) > 60
        for weight, expected in zip(parameters, steps[0], strict=True):
            torch.testing.assert_close(weight, expected, rtol=1e-3, atol=1e-5)


def test_looped_lars_is_the_packages() -> None:
    weights = [torch.nn.Parameter(data(seed, (4, 3))) for seed in (1, 2, 3)]
    weights.append(torch.nn.Parameter(torch.zeros(4, 3)))
    copies = [torch.nn.Parameter(weight.detach().clone()) for weight in weights]
    ours = LARS(weights, lr=0.1, weight_decay=1e-3)
    theirs = reference_training.LoopedLARS(copies, lr=0.1, weight_decay=1e-3)
    for step in range(3):
        for weight, copied in zip(weights, copies, strict=True):
            weight.grad = data(10 + step, (4, 3)) * (weight is not weights[2])  # one without gradient
            copied.grad = weight.grad.clone()
        ours.step()
        theirs.step()
    torch.testing.assert_close(weights, copies)


# --- measuring ------------------------------------------------------------------------------------------------------


def test_peak_memory_is_that_of_the_command_alone(quick: Settings) -> None:
    held = bytearray(300 * 2**20)  # memory of this process does not count
    usage = memory.measure([sys.executable, "-c", "x = bytes(1) * 100 * 2**20"], quick)
    assert len(held) == 300 * 2**20
    assert 100 < usage.resident / 2**20 < 200
    failed = memory.measure([sys.executable, "-c", "raise SystemExit('no such film')"], quick)
    assert (failed.status, failed.stderr.strip()) == (1, "no such film")


def test_sides_run_in_turns(tmp_path: Path) -> None:
    order: list[str] = []
    sides = {"ours": lambda: order.append("a"), "reference": lambda: order.append("b")}
    seconds = in_turns(sides, Settings(tmp_path), rounds=3)
    assert "".join(order) == "ab" + "ababab"  # warm-up first
    assert [len(values) for values in seconds.values()] == [3, 3]


def test_a_ratio_is_the_median_over_pairs_and_decides_the_goal() -> None:
    seconds = {"ours": [1.0, 2.0, 1.0], "reference": [4.0, 10.0, 6.0], "floor": [0.5, 0.5, 0.5]}
    row = compared("work", seconds, per=2, unit="ms", goal=5)
    assert row == Row("work", "ms", 500.0, 3000.0, 5.0, "5 x", True, 250.0, "")
    assert compared("work", seconds, per=2, unit="ms", goal=5.5).reached is False


def test_an_epoch_through_the_entry_is_compared_with_the_loop() -> None:
    row = finetune_entry.beside_the_loop([2.0, 1.0, 4.0], [1.0, 0.8, 1.0], count=100)
    assert (row.ours, row.floor, row.ratio) == (20.0, 10.0, 0.5)
    assert finetune_entry.beside_the_loop([2.0, 0.0], [1.0, 1.0], count=100).ratio is None


def test_parts_of_a_profile_have_their_hand_values() -> None:
    def host(name: str, cpu: float = 0.0, device: float = 0.0) -> Any:
        microseconds = {"cpu_time_total": 1e6 * cpu, "device_time_total": 1e6 * device}
        return SimpleNamespace(name=name, device_type=DeviceType.CPU, **microseconds)

    def kernel(start: float, end: float, is_user_annotation: bool = False) -> Any:
        span = SimpleNamespace(start=1e6 * start, end=1e6 * end)
        return SimpleNamespace(device_type=DeviceType.CUDA, time_range=span, is_user_annotation=is_user_annotation)

    losses, optimiser, rest = profile_step.LOSSES, profile_step.OPTIMISER, profile_step.REST
    events = [host(losses, 2.0), host(losses, 4.0), host(optimiser, 1.0), host("aten::mm", 3.0)]
    parts = profile_step.host_seconds(events, num_steps=2, whole=4.0)
    assert {name: seconds for name, seconds in parts.items() if seconds} == {losses: 3.0, optimiser: 0.5, rest: 0.5}
    assert profile_step.limit(parts) == "losses and CRN limits it with 75 % of it"

    events = [host(losses, device=2.0), host(optimiser, device=1.0)]
    events += [kernel(0, 3), kernel(2, 4), kernel(9, 10), kernel(0, 20, is_user_annotation=True)]  # busy for 5 s
    parts = profile_step.device_seconds(events, num_steps=2, whole=5.0)
    expected = {losses: 1.0, optimiser: 0.5, rest: 1.0, profile_step.IDLE: 2.5}
    assert {name: seconds for name, seconds in parts.items() if seconds} == expected


# --- the command line -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_quick_mode_of_each_benchmark_gives_numbers(name: str, quick: Settings) -> None:
    rows = importlib.import_module(f"benchmarks.{name}").run(quick)
    assert rows
    for row in rows:
        assert row.ours is not None and math.isfinite(row.ours)
        assert (row.reached is None) == (row.goal == "")


def test_results_are_printed_and_added_to_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "results.json"
    file.write_text(json.dumps({"memory": {"machine": {"date": "2026-01-01"}, "rows": []}}))
    assert main(["--only", "feeding", "--quick", "--json", str(file)]) == 0
    stored = json.loads(file.read_text())
    assert set(stored) == {"memory", "feeding"}
    assert stored["feeding"]["rows"][0]["work"] == "feeding of fine-tuning"
    assert "| feeding of fine-tuning |" in capsys.readouterr().out
    assert table.main([str(file)]) == 0
    assert "| feeding of fine-tuning |" in capsys.readouterr().out


def test_the_table_is_written_to_its_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text("a\n<!-- results: x -->\nold\n<!-- end of results -->\nb\n")
    monkeypatch.setattr(table, "README", page)
    assert table.main(["--readme"]) == 0
    expected = table.stored_table(table.RESULTS / "cpu.json")
    assert page.read_text() == f"a\n<!-- results: x -->\n{expected}\n<!-- end of results -->\nb\n"


@pytest.mark.parametrize("content", [None, "[]", "{}"])
def test_a_file_without_results_is_reported_in_one_line(
    content: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "results.json"
    if content is not None:
        file.write_text(content)
    assert table.main([str(file)]) == 2
    stderr = capsys.readouterr().err
    assert stderr.startswith(f"error: {file} cannot be read (") and stderr.count("\n") == 1


def test_a_missing_gpu_is_reported(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(["--device", "cuda"]) == 2
    assert "no CUDA device" in capsys.readouterr().err

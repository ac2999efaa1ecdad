"""What the module adds to loss and scorer: labels, randomness, ranks, where tensors lie, optimiser."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bassl.config.load import load
from bassl.dataset.features import FeatureTable
from bassl.dataset.movienet import WindowBatch
from bassl.dataset.transform import normalize
from bassl.distributed import rank, world_size
from bassl.finetune.losses import balanced_cross_entropy, sum_over_slices
from bassl.finetune.module import FinetuneModule, on_device_if_it_fits, windows_at_a_time
from bassl.model.boundary_scorer import BoundaryScorer
from bassl.model.crn import ContextualRelationNetwork
from bassl.model.shot_encoder import mean_over_keyframes
from tests.distributed import run_in_processes
from tests.reference import data, fill

NUM_SHOTS, WIDTH = 17, 12
LABELS = torch.tensor([0, -1, 1, 0, 0, -1, 0, 0])  # the halves hold 2 and 1 boundaries
SHOTS = (torch.arange(8)[:, None] + torch.arange(NUM_SHOTS)) % 40


def module_of(*overrides: str, dropout: float = 0.0, logged: dict[str, Any] | None = None) -> FinetuneModule:
    crn = ContextualRelationNetwork(WIDTH, 8, 1, 2, 16, dropout=dropout)
    table = FeatureTable(data(0, (40, WIDTH)), np.array([0]), np.array([40]))
    config = load("finetune", ["config.FEATURE_PATH=/f", *overrides])
    module = FinetuneModule(
        fill(BoundaryScorer(crn)), None, table, evaluations={}, validated="test", optimizer=config.TRAIN.OPTIMIZER,
        lr=0.2, seed=0, metadata={},
    )  # fmt: skip
    kept: dict[str, Any] = {} if logged is None else logged
    module.log = lambda name, value, **_options: kept.update({name: value})  # type: ignore[method-assign,assignment]
    return at(module)


def at(module: FinetuneModule, epoch: int = 0, global_rank: int = 0) -> FinetuneModule:
    """Put a module under a stand-in for the trainer."""
    trainer: Any = SimpleNamespace(
        optimizers=[SimpleNamespace(param_groups=[{"lr": 0.1}])], current_epoch=epoch, global_step=0,
        global_rank=global_rank, estimated_stepping_batches=20, precision_plugin=None, gradient_clip_val=None,
    )  # fmt: skip
    module._trainer = trainer
    return module


def batch_of(rows: slice = slice(None)) -> WindowBatch:
    return WindowBatch(torch.arange(8)[rows], LABELS[rows], SHOTS[rows])


def test_a_step_takes_uncertain_labels_as_boundaries_and_logs_tensors() -> None:
    logged: dict[str, Any] = {}
    module = module_of(logged=logged)
    loss = module.training_step(batch_of(), 0)
    assert module._table is not None
    torch.testing.assert_close(loss, balanced_cross_entropy(module(module._table.values[SHOTS]), LABELS.abs()))
    assert logged.keys() == {"train/loss", "train/lr"}
    assert all(isinstance(value, Tensor) for value in logged.values()), "a number would be copied to the device"


def test_dropout_differs_between_ranks_steps_and_epochs_and_repeats_on_resuming() -> None:
    module = module_of(dropout=0.5).train()
    places = [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0), (0, 0, 0)]  # epoch, step, rank
    *first, again = [at(module, epoch, r).training_step(batch_of(), step).item() for epoch, step, r in places]
    assert len(set(first)) == 4
    assert again == first[0]


def gradient() -> list[Tensor]:
    """Gradient of this rank's half of the batch, before any optimiser hides its scale."""
    module = module_of()
    half = 8 // world_size()
    module.training_step(batch_of(slice(rank() * half, (rank() + 1) * half)), 0).backward()
    return [parameter.grad for parameter in module.parameters() if parameter.grad is not None]


@pytest.mark.slow
def test_two_ranks_with_unequal_labels_have_the_gradient_of_one_process() -> None:
    assert [int(half.abs().sum()) for half in LABELS.chunk(2)] == [2, 1]
    first, second = run_in_processes(gradient, 2)
    expected = gradient()
    assert len(expected) > 10
    torch.testing.assert_close(
        [(a + b) / 2 for a, b in zip(first, second, strict=True)], expected, rtol=1e-4, atol=1e-7
    )


class SmallEncoder(nn.Module):
    """A key-frame as WIDTH numbers."""

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1)[:, :WIDTH]


def raw_batch() -> tuple[FinetuneModule, WindowBatch]:
    """A module that reads key-frames, and 20 windows of 6 shots."""
    module = module_of()
    module._table, module._encoder = None, [SmallEncoder().eval()]  # type: ignore[list-item]
    keyframes = data(2, (6, 3, 3, 4, 4)).mul(20).add(128).to(torch.uint8)
    windows = (torch.arange(20)[:, None] + torch.arange(NUM_SHOTS)) % 6
    return module, WindowBatch(torch.arange(20), torch.arange(20) % 4 // 3, windows, keyframes)


def test_key_frames_of_a_batch_are_encoded_into_its_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    module, batch = raw_batch()
    assert batch.keyframes is not None
    monkeypatch.setattr("bassl.finetune.module.SHOTS_AT_A_TIME", 4)
    slow = [mean_over_keyframes(module._encoder[0], normalize(shot)[None])[0] for shot in batch.keyframes]
    expected = torch.stack([torch.stack([slow[shot] for shot in window]) for window in batch.shots.tolist()])
    torch.testing.assert_close(module._reader(batch)(slice(3, 11)), expected[3:11])


def test_a_gpu_takes_a_whole_batch_at_once_for_the_scale_of_fp16(monkeypatch: pytest.MonkeyPatch) -> None:
    module, batch = raw_batch()
    slices: list[int] = []

    def count(loss_of: Any, num_rows: int, rows_at_a_time: int, parameters: Any) -> Tensor:
        slices.append(len(range(0, num_rows, rows_at_a_time)))
        return sum_over_slices(loss_of, num_rows, rows_at_a_time, parameters)

    monkeypatch.setattr("bassl.finetune.module.sum_over_slices", count)
    monkeypatch.setattr("bassl.finetune.module.CPU_WINDOWS", 8)
    module.training_step(batch, 0)
    everything = windows_at_a_time(torch.device("cuda"))
    monkeypatch.setattr("bassl.finetune.module.windows_at_a_time", lambda device: everything)
    module.training_step(batch, 0)
    assert slices == [3, 1]


@pytest.mark.parametrize(("table", "moved"), [("meta", True), ("cpu", False), (None, False)])
def test_row_numbers_travel_to_a_table_on_the_device_and_key_frames_stay(table: str | None, moved: bool) -> None:
    module, batch = raw_batch()
    if table is not None:
        module._table = FeatureTable(torch.zeros(6, WIDTH, device=table), np.array([0]), np.array([6]))
    sent = module.transfer_batch_to_device(batch, torch.device("meta"), 0)
    assert (sent.row.device.type, sent.label.device.type) == ("meta", "meta")
    assert sent.shots.device.type == ("meta" if moved else "cpu")
    assert sent.keyframes is batch.keyframes


@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_the_optimiser_spares_biases_and_follows_a_cosine_after_its_warm_up(name: str, kind: type) -> None:
    keys = [f"name={name}", "weight_decay=0.1", "scheduler.warmup=0.2"]
    module = module_of(*(f"config.TRAIN.OPTIMIZER.{key}" for key in keys))
    found: Any = module.configure_optimizers()
    optimizer, schedule = found["optimizer"], found["lr_scheduler"]
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    trained = {n: p for n, p in module.named_parameters() if p.requires_grad}
    assert {n: decay[id(p)] for n, p in trained.items()} == {n: 0.0 if "bias" in n else 0.1 for n in trained}
    assert (type(optimizer), schedule["interval"]) == (kind, "step")
    rates = []
    for _ in range(20):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule["scheduler"].step()
    assert rates[:5] == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])
    assert rates[12] == pytest.approx(0.1)


@pytest.mark.parametrize(("free", "fits"), [(2 * 480 + 2, True), (2 * 480, False)])
def test_features_go_to_the_gpu_where_they_leave_half_of_its_free_memory(
    free: int, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[torch.device] = []

    class Movable(Tensor):
        def to(self, device: torch.device) -> Tensor:  # type: ignore[override]
            moved.append(device)
            return self

    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (free, 10**9))
    values = torch.zeros(10, WIDTH).as_subclass(Movable)
    assert values.nbytes == 480
    for device in (torch.device("cuda", 1), torch.device("cpu")):
        on_device_if_it_fits(values, device)
    assert moved == [torch.device("cuda", 1)] * fits

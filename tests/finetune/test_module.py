"""What the Lightning module adds to loss and scorer: labels, optimiser, schedule."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from bassl.config.plan import OptimizerPlan

from bassl.dataset.features import FeatureTable
from bassl.dataset.movienet import WindowBatch
from bassl.dataset.transform import normalize
from bassl.finetune.losses import balanced_cross_entropy
from bassl.finetune.module import FinetuneModule, on_device_if_it_fits, windows_at_a_time
from bassl.finetune.slices import sum_over_slices
from bassl.model.boundary_scorer import BoundaryScorer
from bassl.model.crn import ContextualRelationNetwork
from bassl.model.shot_encoder import mean_over_keyframes
from tests.reference import data, fill

NUM_SHOTS, WIDTH = 17, 12


def module_of(name: str = "adam", weight_decay: float = 0.0, warmup: float = 0.0) -> FinetuneModule:
    crn = ContextualRelationNetwork(WIDTH, 8, 1, 2, 16, dropout=0.0)
    table = FeatureTable(data(0, (40, WIDTH)), torch.tensor([0]).numpy(), torch.tensor([40]).numpy())
    plan = OptimizerPlan(name, 0.2, weight_decay, warmup)
    module = FinetuneModule(fill(BoundaryScorer(crn)), None, table, plan, seed=0, metadata={})
    optimizer = SimpleNamespace(param_groups=[{"lr": 0.1}])
    trainer: Any = SimpleNamespace(
        optimizers=[optimizer], current_epoch=0, global_step=0, global_rank=0, estimated_stepping_batches=20,
        precision_plugin=None, gradient_clip_val=None,
    )  # fmt: skip
    module._trainer = trainer
    module.log = lambda *_arguments, **_options: None  # type: ignore[method-assign,assignment]
    return module


def test_an_uncertain_label_is_trained_as_a_boundary() -> None:
    module = module_of()
    shots = (torch.arange(6)[:, None] + torch.arange(NUM_SHOTS)) % 40
    labels = torch.tensor([0, -1, 1, 0, 0, -1])
    loss = module.training_step(WindowBatch(torch.arange(6), labels, shots), 0)
    assert module._table is not None
    logits = module(module._table.values[shots])
    torch.testing.assert_close(loss, balanced_cross_entropy(logits, torch.tensor([0, 1, 1, 0, 0, 1])))


def test_a_step_logs_tensors_alone() -> None:
    """Lightning makes a tensor of a plain number on the GPU, for which each step would wait."""
    logged: dict[str, Any] = {}
    module = module_of()
    module.log = lambda name, value, **_options: logged.update({name: value})  # type: ignore[method-assign,assignment]
    module.training_step(WindowBatch(torch.arange(2), torch.tensor([0, 1]), torch.zeros(2, NUM_SHOTS).long()), 0)
    assert logged.keys() == {"train/loss", "train/lr"}
    assert all(isinstance(value, torch.Tensor) for value in logged.values())
    assert logged["train/lr"].item() == pytest.approx(0.1)


def raw_batch() -> tuple[FinetuneModule, WindowBatch]:
    """A module that reads key-frames, and 20 windows of 6 shots."""
    module = module_of()
    module._table, module._encoder = None, [SmallEncoder().eval()]
    keyframes = data(2, (6, 3, 3, 4, 4)).mul(20).add(128).to(torch.uint8)
    windows = (torch.arange(20)[:, None] + torch.arange(NUM_SHOTS)) % 6
    return module, WindowBatch(torch.arange(20), torch.arange(20) % 4 // 3, windows, keyframes)


class SmallEncoder(torch.nn.Module):
    """A key-frame as WIDTH numbers."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.shapes = [*getattr(self, "shapes", []), len(images)]
        return images.flatten(1)[:, :WIDTH]


def test_each_shot_of_a_batch_of_key_frames_is_encoded_once() -> None:
    module, batch = raw_batch()
    features = module._reader(batch)
    assert batch.keyframes is not None
    slow = [mean_over_keyframes(module._encoder[0], normalize(batch.keyframes[i])[None])[0] for i in range(6)]
    assert module._encoder[0].shapes == [18, *[3] * 6]
    expected = torch.stack([torch.stack([slow[shot] for shot in window]) for window in batch.shots.tolist()])
    torch.testing.assert_close(features(slice(3, 11)), expected[3:11])


@pytest.mark.parametrize("raw", [False, True])
def test_a_gpu_takes_the_loss_of_a_whole_batch_whose_gradients_fp16_can_scale(
    raw: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slice's gradients are taken before the sum's loss is scaled: small ones would be lost in fp16."""
    module, batch = raw_batch()
    if not raw:
        module, batch = module_of(), batch._replace(keyframes=None)
    slices: list[int] = []

    def noted(loss_of: Any, num_rows: int, rows_at_a_time: int, parameters: Any) -> torch.Tensor:
        slices.append(len(range(0, num_rows, rows_at_a_time)))
        return sum_over_slices(loss_of, num_rows, rows_at_a_time, parameters)

    monkeypatch.setattr("bassl.finetune.module.sum_over_slices", noted)
    monkeypatch.setattr("bassl.finetune.module.CPU_WINDOWS", 8)
    module.training_step(batch, 0)
    everything = windows_at_a_time(torch.device("cuda"))
    monkeypatch.setattr("bassl.finetune.module.windows_at_a_time", lambda device: everything)
    module.training_step(batch, 0)
    assert slices == [3, 1]


@pytest.mark.parametrize(("table", "moved"), [("meta", True), ("cpu", False), (None, False)])
def test_rows_travel_to_a_table_on_the_device_only_and_key_frames_never(table: str | None, moved: bool) -> None:
    module, batch = raw_batch()
    if table is not None:
        module._table = FeatureTable(torch.zeros(6, WIDTH, device=table), np.array([0]), np.array([6]))
    sent = module.transfer_batch_to_device(batch, torch.device("meta"), 0)
    assert (sent.row.device.type, sent.label.device.type) == ("meta", "meta")
    assert sent.shots.device.type == ("meta" if moved else "cpu")
    assert sent.keyframes is batch.keyframes


@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_the_optimiser_is_that_of_the_plan_and_spares_biases_from_decay(name: str, kind: type) -> None:
    module = module_of(name, weight_decay=0.1)
    found: Any = module.configure_optimizers()
    assert type(found["optimizer"]) is kind
    decays = {id(p): group["weight_decay"] for group in found["optimizer"].param_groups for p in group["params"]}
    named = {n: p for n, p in module.named_parameters() if p.requires_grad}
    assert {n: decays[id(p)] for n, p in named.items()} == {n: 0.0 if "bias" in n else 0.1 for n in named}
    assert len(decays) == len(named) > 10


def test_the_learning_rate_follows_a_cosine_from_the_first_step_on() -> None:
    found: Any = module_of().configure_optimizers()
    assert found["lr_scheduler"]["interval"] == "step"
    rates = []
    for _ in range(20):
        rates.append(found["optimizer"].param_groups[0]["lr"])
        found["optimizer"].step()
        found["lr_scheduler"]["scheduler"].step()
    assert rates[0] == 0.2
    assert rates[10] == pytest.approx(0.1)
    assert rates[19] == pytest.approx(0.2 * 0.00615583, rel=1e-4)


class Movable(torch.Tensor):
    """A tensor that says where it goes to."""

    def to(self, device: torch.device) -> str:  # type: ignore[override]
        return f"on {device}"


@pytest.mark.parametrize(("free", "fits"), [(2 * 480 + 2, True), (2 * 480, False), (0, False)])
def test_features_go_to_the_gpu_where_they_leave_half_of_its_free_memory(
    free: int, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda device: (free, 10**9))
    values = torch.zeros(10, WIDTH).as_subclass(Movable)
    assert values.nbytes == 480
    found: object = on_device_if_it_fits(values, torch.device("cuda", 1))
    assert found == "on cuda:1" if fits else found is values
    assert on_device_if_it_fits(values, torch.device("cpu")) is values

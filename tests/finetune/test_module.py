"""What the Lightning module adds to loss and scorer: labels, optimiser, schedule."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from bassl.config.plan import OptimizerPlan
from bassl.dataset.features import FeatureTable
from bassl.dataset.movienet import WindowBatch
from bassl.finetune.losses import balanced_cross_entropy
from bassl.finetune.module import FinetuneModule, on_device_if_it_fits
from bassl.model.boundary_scorer import BoundaryScorer
from bassl.model.crn import ContextualRelationNetwork
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

"""The fine-tuning step on a GPU that need not be there: nothing of it lies on the CPU, and nothing is read back."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from bassl.config.plan import OptimizerPlan

from bassl.dataset.features import FeatureTable
from bassl.dataset.movienet import WindowBatch
from bassl.finetune.module import FinetuneModule
from bassl.model.boundary_scorer import BoundaryScorer, SimilarityHead
from bassl.model.crn import ContextualRelationNetwork
from bassl.model.shot_encoder import ShotEncoder
from tests.fake_gpu import GPU, READ, FakeGpu, take_steps

NUM_SHOTS, BATCH = 17, 4


def module_of(width: int, encoder: ShotEncoder | None, table: FeatureTable | None, optimizer: str) -> FinetuneModule:
    scorer = BoundaryScorer(ContextualRelationNetwork(width, 8, 2, 2, 16), SimilarityHead(width, NUM_SHOTS, 8, 0.1))
    plan = OptimizerPlan(optimizer, 0.1, weight_decay=0.1, warmup=0.5)
    return FinetuneModule(scorer, encoder, table, plan, seed=0, metadata={}).train()


@pytest.mark.parametrize(
    ("optimizer", "precision", "clip", "waits"),
    [
        ("adam", "32", None, []),
        ("adamw", "bf16", None, []),
        ("adamw", "bf16", 1.0, []),
        ("adam", "fp16", None, []),
        ("adam", "fp16", 1.0, [READ, READ]),  # not fused: the scaler asks in each step whether to skip it
    ],
)
def test_a_step_over_features_on_the_device_reads_nothing_back(
    optimizer: str, precision: str, clip: float | None, waits: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with FakeGpu() as gpu:
        table = FeatureTable(gpu.copy(torch.zeros(40, 12)), np.array([0]), np.array([40]))
        module = module_of(12, None, table, optimizer)
        gpu.move(module)
        labels, shots = torch.tensor([0, -1, 1, 0]), torch.zeros(BATCH, NUM_SHOTS, dtype=torch.int64)
        batch = WindowBatch(gpu.copy(torch.arange(BATCH)), gpu.copy(labels), gpu.copy(shots))
        stepped = take_steps(module, batch, precision, monkeypatch, clip)
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    assert len(stepped.state) == len(trained) > 30
    assert all(parameter.grad is not None and parameter.grad.device == GPU for parameter in trained)
    assert gpu.waits == waits


def test_a_step_over_keyframes_reads_nothing_back(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = ShotEncoder.build(18)
    module = module_of(encoder.feature_dim, encoder, None, "adam")
    keyframes = torch.zeros(2 * NUM_SHOTS, 3, 3, 32, 32, dtype=torch.uint8)
    shots = torch.arange(BATCH)[:, None] + torch.arange(NUM_SHOTS)
    with FakeGpu() as gpu:
        gpu.move(module)
        gpu.move(encoder)  # hidden from the module; `setup` moves it
        rows = torch.arange(BATCH)
        batch = WindowBatch(gpu.copy(rows), gpu.copy(rows % 2), gpu.copy(shots), gpu.copy(keyframes))
        stepped = take_steps(module, batch, "bf16", monkeypatch)
    assert len(stepped.state) > 30
    assert gpu.waits == []

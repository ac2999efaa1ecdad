"""The training step never waits for the device: on CUDA a wait is an error, elsewhere it is counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from bassl.config.plan import PretrainPlan
from bassl.config.resolve import resolve_pretrain

from bassl.config.load import load
from bassl.dataset.movienet import PretrainBatch
from bassl.pretrain.knn import FilmwisePrecision
from bassl.pretrain.train import build_data, build_module
from tests.fake_gpu import GPU, READ, FakeGpu, take_steps
from tests.runs import pretrain_overrides

METHODS = ("bassl", "bassl_shotcol", "shotcol", "instance", "temporal")


def tiny_plan(data: Path, out: Path, method: str = "bassl", *more: str) -> PretrainPlan:
    overrides = [*pretrain_overrides(data, out), f"+method={method}", "config.TEST.KNN_VALIDATION=false", *more]
    return resolve_pretrain(load("pretrain", overrides))


@pytest.mark.parametrize(
    ("method", "optimizer", "precision", "waits"),
    [
        *((method, "lars", "bf16", []) for method in METHODS),
        ("bassl", "sgd", "32", []),
        ("bassl_shotcol", "lars", "fp16", [READ, READ]),  # the scaler asks in each step whether to skip it
    ],
)
def test_the_step_stays_on_the_device_and_reads_nothing_back(
    method: str, optimizer: str, precision: str, waits: list[str],
    tiny_movienet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    plan = tiny_plan(tiny_movienet, tmp_path, method, f"config.TRAIN.OPTIMIZER.name={optimizer}")
    batch = next(iter(build_data(plan, 0).train_dataloader()))
    for coin in (batch.draws.flip, batch.draws.jitter, batch.draws.blur):
        coin[0] = True  # one sample takes all of the augmentation
    module = build_module(plan, 0, {}).train()
    module._draws = torch.Generator()  # a generator of a GPU that is not there cannot be made
    with FakeGpu() as gpu:
        gpu.move(module)
        on_gpu = PretrainBatch(gpu.copy(batch.keyframes), batch.draws, gpu.copy(batch.mask))
        stepped = take_steps(module, on_gpu, precision, monkeypatch)
    trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
    assert len(trained) > 60
    assert all(parameter.grad is not None and parameter.grad.device == GPU for parameter in trained)
    assert len(stepped.state) == len(trained)
    assert gpu.waits == waits


def test_neighbours_of_a_film_are_waited_for_as_often_whatever_its_length() -> None:
    waits = []
    for num_shots in (60, 2000):
        with FakeGpu() as gpu:
            FilmwisePrecision().update(gpu.copy(torch.ones(num_shots, 32)), gpu.copy(torch.arange(num_shots)))
        waits.append(gpu.waits)
    assert waits[0] == waits[1]
    assert len(waits[0]) == 6  # are they numbers, which scenes are there, twice the ks, and both totals


if torch.cuda.is_available():

    class RefuseToWait(pl.Callback):
        """From the second batch on, whatever makes the host wait for the device within a step is an error."""

        def __init__(self) -> None:
            self.num_batches = 0

        def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *unused: Any) -> None:
            torch.cuda.set_sync_debug_mode("error" if self.num_batches else "default")

        def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *unused: Any) -> None:
            torch.cuda.set_sync_debug_mode("default")
            self.num_batches += 1

    def test_the_step_never_waits_for_the_gpu(tiny_movienet: Path, tmp_path: Path) -> None:
        counted = 0
        for method in METHODS:
            plan = tiny_plan(tiny_movienet, tmp_path, method, "config.TRAINER.limit_train_batches=4")
            watcher = RefuseToWait()
            trainer = pl.Trainer(
                accelerator="gpu",
                devices=1,
                precision="bf16-mixed",
                max_epochs=1,
                limit_train_batches=4,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                use_distributed_sampler=False,
                callbacks=[watcher],
            )
            try:
                trainer.fit(build_module(plan, 0, {}), datamodule=build_data(plan, 0))
            finally:
                torch.cuda.set_sync_debug_mode("default")
            counted += watcher.num_batches
        assert counted == 4 * len(METHODS)

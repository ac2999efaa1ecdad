"""The training step never waits for the device: on CUDA a wait is an error, elsewhere tensors have no value to read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call

from bassl.config.load import load
from bassl.config.plan import PretrainPlan
from bassl.config.resolve import resolve_pretrain
from bassl.dataset.augmentation import ViewDraw
from bassl.dataset.view import apply_views
from bassl.pretrain.module import PretrainModule
from bassl.pretrain.train import build_data, build_module
from tests.runs import pretrain_overrides

METHODS = ("bassl", "bassl_shotcol", "shotcol", "instance", "temporal")


def tiny_plan(data: Path, out: Path, method: str = "bassl", *more: str) -> PretrainPlan:
    overrides = [*pretrain_overrides(data, out), f"+method={method}", "config.TEST.KNN_VALIDATION=false", *more]
    return resolve_pretrain(load("pretrain", overrides))


class Step(nn.Module):
    """What the module does with a batch, without Lightning around it; the optimiser has a test of its own."""

    def __init__(self, module: PretrainModule) -> None:
        super().__init__()
        self.module = module

    def forward(self, keyframes: Tensor, draws: ViewDraw, mask: Tensor) -> Tensor:
        images = apply_views(keyframes, draws)
        features = self.module.shot_encoder(images.flatten(0, 1)).unflatten(0, images.shape[:2])
        terms = self.module.loss(features, mask, self.module.crn, torch.Generator())
        return torch.stack(list(terms.values())).sum()


@pytest.mark.parametrize("method", METHODS)
def test_no_method_reads_a_value_of_a_tensor_in_its_step(method: str, tiny_movienet: Path, tmp_path: Path) -> None:
    plan = tiny_plan(tiny_movienet, tmp_path, method)
    batch = next(iter(build_data(plan, 0).train_dataloader()))
    step = Step(build_module(plan, 0, {}).train())
    with FakeTensorMode() as fake:  # a fake tensor has no value to read
        state = {name: fake.from_tensor(tensor) for name, tensor in step.state_dict(keep_vars=True).items()}
        inputs = (fake.from_tensor(batch.keyframes), batch.draws, fake.from_tensor(batch.mask))
        functional_call(step, state, inputs).backward()
    assert any(tensor.grad is not None for tensor in state.values())


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

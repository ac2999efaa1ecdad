"""The optimiser and the schedule that the plan of a run asks for, and what ranks share before a validation."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from bassl.config.resolve import resolve_pretrain

from bassl.config.load import load
from bassl.dataset.augmentation import AugmentationSettings, concatenate_params, draw_params, stack_params
from bassl.dataset.movienet import PretrainBatch
from bassl.distributed import rank
from bassl.pretrain.module import PretrainModule
from bassl.pretrain.train import build_module
from bassl.training.optim import LARS
from tests.distributed import run_in_processes

SMALL = ["+method=instance", "config.MODEL.shot_encoder.resnet.depth=18"]


def module_of(*overrides: str) -> PretrainModule:
    module = build_module(resolve_pretrain(load("pretrain", [*SMALL, *overrides])), seed=0, config={})
    trainer: Any = SimpleNamespace(estimated_stepping_batches=40, lightning_module=module)
    module._trainer = trainer
    return module


def test_pretraining_runs_lars_with_the_published_settings() -> None:
    module = module_of()
    found: Any = module.configure_optimizers()
    optimizer = found["optimizer"]
    assert type(optimizer) is LARS
    decayed, spared = optimizer.param_groups
    for group, weight_decay in ((decayed, 1e-6), (spared, 0.0)):
        settings = {name: group[name] for name in ("momentum", "weight_decay", "trust_coefficient", "eps")}
        assert settings == {
            "momentum": 0.9, "weight_decay": weight_decay, "trust_coefficient": 0.001, "eps": 1e-8,
        }  # fmt: skip
        assert group["initial_lr"] == pytest.approx(0.3)
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    assert {("bn" in names[id(p)] or "bias" in names[id(p)]) for p in spared["params"]} == {True}
    assert {("bn" in names[id(p)] or "bias" in names[id(p)]) for p in decayed["params"]} == {False}
    assert len(decayed["params"]) + len(spared["params"]) == len(names)


def test_the_learning_rate_warms_up_over_a_tenth_of_the_steps_and_then_falls_to_zero() -> None:
    found: Any = module_of("config.TRAIN.BATCH_SIZE.effective_batch_size=512").configure_optimizers()
    optimizer, schedule = found["optimizer"], found["lr_scheduler"]
    assert schedule["interval"] == "step"
    rates = []
    for _ in range(41):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule["scheduler"].step()
    assert rates[:5] == pytest.approx([0.0, 0.15, 0.3, 0.45, 0.6])
    assert rates[22] == pytest.approx(0.3)  # half way from step 4 to step 40
    assert rates[40] == pytest.approx(0.0, abs=1e-12)


def test_sgd_is_the_other_choice() -> None:
    module = module_of("config.TRAIN.OPTIMIZER.name=sgd", "config.TRAIN.OPTIMIZER.momentum=0.8")
    found: Any = module.configure_optimizers()
    optimizer = found["optimizer"]
    assert type(optimizer) is torch.optim.SGD
    assert [(group["momentum"], group["weight_decay"]) for group in optimizer.param_groups] == [(0.8, 1e-6), (0.8, 0.0)]


def test_a_step_logs_tensors_alone() -> None:
    """Lightning makes a tensor of a plain number on the GPU, for which each step would wait."""
    logged: dict[str, Any] = {}
    module = module_of()
    module.log = lambda name, value, **_options: logged.update({name: value})  # type: ignore[method-assign,assignment]
    module.log_dict = lambda values: logged.update(values)  # type: ignore[method-assign,assignment]
    module._log_terms({"simclr": torch.tensor(2.0)}, torch.tensor(2.0), 0.1)
    assert logged.keys() == {"train/loss", "train/lr", "train/simclr"}
    assert all(isinstance(value, torch.Tensor) for value in logged.values())
    assert logged["train/lr"].item() == pytest.approx(0.1)


def small_batch() -> PretrainBatch:
    rng = np.random.default_rng(0)
    settings = AugmentationSettings(size=32)
    draws = [concatenate_params([draw_params(1, 40, 40, settings, rng) for _ in range(2)]) for _ in range(4)]
    pixels = torch.from_numpy(rng.integers(256, size=(4, 2, 3, 32, 32), dtype=np.uint8))
    return PretrainBatch(pixels, stack_params(draws), torch.zeros(4, 1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_images_are_written_in_the_precision_of_the_step_which_changes_no_number(
    dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first convolution would round them in the same way, from twice the memory."""
    losses, seen = [], []
    logged: dict[str, Any] = {}
    for way in (None, torch.float32):  # as it is, and with 32-bit images
        if way is not None:
            monkeypatch.setattr("bassl.pretrain.module.compute_dtype", lambda device: torch.float32)
        torch.manual_seed(0)
        module = module_of().train()
        lr = SimpleNamespace(param_groups=[{"lr": 0.1}])
        module._trainer = SimpleNamespace(optimizers=[lr], current_epoch=0, global_rank=0, global_step=0)  # type: ignore[assignment]
        module.log = lambda name, value, **_unused: logged.update({name: value})  # type: ignore[method-assign]
        module.log_dict = logged.update  # type: ignore[method-assign,assignment]
        module.shot_encoder.register_forward_pre_hook(lambda _module, given: seen.append(given[0]))
        with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
            losses.append(module.training_step(small_batch(), 0))
        assert logged["train/loss"].item() == logged["train/simclr"].item() == losses[-1].item() > 0.1
    assert [images.dtype for images in seen] == [dtype, torch.float32]
    assert seen[0].is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(*losses)


def validated_statistics() -> list[torch.Tensor]:
    """Running statistics of a rank that has seen other images than the others, when its validation begins."""
    module = module_of().train()
    torch.manual_seed(rank())
    module.shot_encoder(torch.randn(2, 3, 32, 32) + rank())
    own = module.shot_encoder.bn1.running_mean.clone()
    module.on_validation_epoch_start()
    return [own, *(buffer.clone() for buffer in module.buffers())]


def test_without_sync_bn_all_ranks_validate_with_the_statistics_that_rank_zero_saves() -> None:
    (first, *saved), (second, *others) = run_in_processes(validated_statistics, 2)
    assert not torch.equal(first, second)
    assert any(torch.equal(first, buffer) for buffer in saved)
    assert len(saved) == len(others) > 40
    for one, other in zip(saved, others, strict=True):
        assert torch.equal(one, other)

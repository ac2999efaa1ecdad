"""NaN and infinite losses, gradients and weights: what aborts a run, what does not, and what is kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.precision import MixedPrecision

from bassl.dataset.features import FeatureWriter
from bassl.errors import RunError
from bassl.finetune import main as finetune_main
from bassl.model.checkpoint import read_checkpoint
from bassl.pretrain import main as pretrain_main
from bassl.pretrain import objective
from bassl.training.nan_guard import NanGuard, _Watched, check_weights, gradient_norm
from bassl.training.optim import LARS
from tests.movienet import FILMS
from tests.runs import assert_same_run, finetune_overrides, pretrain_overrides

TWO_EPOCHS = ["config.TRAINER.max_epochs=2", "config.TEST.KNN_VALIDATION=false"]  # of two steps


def pretrain(data: Path, out: Path, *more: str) -> int:
    return pretrain_main.main([*pretrain_overrides(data, out), *TWO_EPOCHS, *more])


def finetune(data: Path, out: Path, features: Path, *more: str) -> int:
    return finetune_main.main([*finetune_overrides(data, out), f"config.FEATURE_PATH={features}", *more])


def final_line(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().err.strip().splitlines()[-1]


def alter(monkeypatch: pytest.MonkeyPatch, step: int, how: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Apply a function to the loss term pp of the n-th step."""
    whole, calls = objective.PretextObjective.forward, [0]

    def forward(self: objective.PretextObjective, *arguments: Any) -> dict[str, torch.Tensor]:
        calls[0] += 1
        terms = whole(self, *arguments)
        return {**terms, "pp": how(terms["pp"])} if calls[0] == step else terms

    monkeypatch.setattr(objective.PretextObjective, "forward", forward)


def after_step(
    monkeypatch: pytest.MonkeyPatch,
    kind: type[torch.optim.Optimizer],
    act: Callable[[torch.optim.Optimizer, int], None],
) -> None:
    """Call `act(optimizer, number)` after every optimiser step."""
    whole, calls = kind.step, [0]

    def step(self: torch.optim.Optimizer, *arguments: Any, **options: Any) -> Any:
        done = whole(self, *arguments, **options)
        calls[0] += 1
        act(self, calls[0])
        return done

    monkeypatch.setattr(kind, "step", step)


class Overflow(torch.autograd.Function):
    """A finite loss with an infinite gradient."""

    @staticmethod
    def forward(ctx: Any, loss: torch.Tensor) -> torch.Tensor:
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient * torch.inf


@pytest.fixture
def features(tmp_path: Path) -> Path:
    """Random features of the tiny data set."""
    rng = np.random.default_rng(0)
    writer = FeatureWriter(tmp_path / "features", 16, "float32", {"model": None})
    writer.begin()
    for film, num_shots in FILMS.items():
        writer.write(film, rng.standard_normal((num_shots, 16)))
    writer.finish(FILMS)
    return tmp_path / "features"


@pytest.mark.parametrize(
    ("how", "what"),
    [(lambda term: term * torch.nan, "loss term pp"), (Overflow.apply, "the gradient")],
    ids=["loss", "gradient"],
)
def test_nan_aborts_the_run_by_name_and_the_last_checkpoint_stays(
    how: Any, what: str, tiny_movienet: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    alter(monkeypatch, 3, how)
    assert pretrain(tiny_movienet, tmp_path) == 1
    assert final_line(capsys).startswith(f"error: {what} is not finite at step 2 (batch 0 of its epoch, learning rate ")
    assert read_checkpoint(tmp_path / "pretrain/ckpt/devel").global_step == 2


def test_a_slow_device_is_waited_for_before_an_epoch_is_validated_and_saved(
    tiny_movienet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    alter(monkeypatch, 2, Overflow.apply)
    monkeypatch.setattr(_Watched, "has_arrived", lambda watched: False)
    assert pretrain(tiny_movienet, tmp_path) == 1
    assert final_line(capsys).startswith("error: the gradient is not finite at step 1 (batch 1 of its epoch")
    assert not (tmp_path / "pretrain/ckpt/devel/last.ckpt").exists()


@pytest.mark.slow
@pytest.mark.parametrize("job", ["pretrain", "finetune"])
def test_infinite_weights_are_neither_validated_nor_saved_over_good_ones(
    job: str, features: Path, tiny_movienet: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """The last step of the second epoch breaks one weight."""

    def break_weight(optimizer: torch.optim.Optimizer, number: int) -> None:
        if number == 4:
            optimizer.param_groups[0]["params"][0].data.fill_(torch.inf)

    after_step(monkeypatch, LARS if job == "pretrain" else torch.optim.Adam, break_weight)
    two_steps = "config.TRAINER.limit_train_batches=2"
    if job == "pretrain":
        status = pretrain(tiny_movienet, tmp_path, "config.TEST.KNN_VALIDATION=true")
    else:
        status = finetune(tiny_movienet, tmp_path, features, two_steps)
    assert status == 1
    assert "weights are not finite after step 4, such as " in final_line(capsys)
    assert read_checkpoint(tmp_path / job / "ckpt/devel").global_step == 2


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_weights_are_read_once_and_by_name_only_if_one_is_broken(value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2), torch.nn.Linear(2, 2).bfloat16())
    module[0].weight.data.fill_(3e38)  # finite, although its Euclidean norm is not
    read: list[torch.Tensor] = []
    whole = torch.isfinite
    monkeypatch.setattr(torch, "isfinite", lambda tensor: read.append(tensor) or whole(tensor))
    trainer: Any = SimpleNamespace(lightning_module=module, global_step=7)
    check_weights(trainer)
    assert read == []
    module[2].bias.data[1] = value
    with pytest.raises(RunError, match=r"1 weights are not finite after step 7, such as 2\.bias;"):
        check_weights(trainer)


def test_flush_waits_for_every_pending_value_and_checks_it_once() -> None:
    waited: list[str] = []
    copied: Any = SimpleNamespace(query=lambda: False, synchronize=lambda: waited.append("waited"))
    guard = NanGuard()
    guard._pending = [
        _Watched(torch.tensor([value]), (f"loss term {name}",), f"step {step}", copied)
        for step, (name, value) in enumerate([("ssm", 1.0), ("pp", torch.nan)])
    ]
    with pytest.raises(RunError, match="loss term pp is not finite at step 1;"):
        guard.flush()
    assert len(waited) == 2
    guard.flush()


def test_the_gradient_norm_is_over_all_parameters_that_have_a_gradient() -> None:
    parameters = [torch.nn.Parameter(torch.zeros(2)) for _ in range(3)]
    parameters[0].grad, parameters[2].grad = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0])
    assert gradient_norm(parameters).item() == 5.0


def test_the_gradient_of_a_step_is_clipped_to_the_given_norm(
    features: Path, tiny_movienet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    norms: list[float] = []

    def note(optimizer: torch.optim.Optimizer, number: int) -> None:
        norms.append(gradient_norm(weight for group in optimizer.param_groups for weight in group["params"]).item())

    after_step(monkeypatch, torch.optim.Adam, note)
    more = ["config.TRAINER.limit_train_batches=1", "config.TRAINER.max_epochs=1"]
    for clip in ("null", "0.001"):
        assert finetune(tiny_movienet, tmp_path, features, *more, f"config.TRAINER.gradient_clip_val={clip}") == 0
    assert norms[0] > 0.01
    assert norms[1] == pytest.approx(0.001, rel=1e-3)


# --- a gradient scaler ----------------------------------------------------------------------------------------------


class ScaledFloat32(MixedPrecision):
    """The gradient scaler of fp16 training over float32 arithmetic, for the CPU."""

    @contextmanager
    def forward_context(self) -> Iterator[None]:
        yield


@pytest.fixture
def scaler(monkeypatch: pytest.MonkeyPatch) -> torch.amp.GradScaler:
    """Train with a gradient scaler, which starts at 1024."""
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)

    class ScaledTrainer(pl.Trainer):
        def __init__(self, **options: Any) -> None:
            del options["precision"]
            options["plugins"] = [*options["plugins"], ScaledFloat32("16-mixed", "cpu", scaler)]
            super().__init__(**options)

    monkeypatch.setattr(pl, "Trainer", ScaledTrainer)
    return scaler


@pytest.mark.slow
def test_an_overflow_under_a_scaler_skips_a_step_and_survives_a_restart(
    scaler: torch.amp.GradScaler, tiny_movienet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scale is halved and stored in the checkpoint. A NaN loss still aborts the run."""
    steps: list[int] = []
    after_step(monkeypatch, LARS, lambda optimizer, number: steps.append(number))
    with monkeypatch.context() as patch:
        alter(patch, 2, Overflow.apply)
        assert pretrain(tiny_movienet, tmp_path / "whole") == 0
    assert (len(steps), scaler.get_scale()) == (3, 512.0)

    scaler.update(1024.0)
    with monkeypatch.context() as patch:
        alter(patch, 2, Overflow.apply)
        alter(patch, 3, lambda term: term * torch.nan)
        assert pretrain(tiny_movienet, tmp_path / "stopped") == 1
    scaler.update(1024.0)
    assert pretrain(tiny_movienet, tmp_path / "stopped", "config.RESUME=true") == 0
    assert scaler.get_scale() == 512.0
    assert_same_run(tmp_path / "whole" / "pretrain", tmp_path / "stopped" / "pretrain")


def test_fine_tuning_with_clipping_survives_an_overflow_under_a_scaler(
    scaler: torch.amp.GradScaler, features: Path, tiny_movienet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bassl.finetune import module

    whole, calls = module.balanced_cross_entropy, [0]

    def overflow_in_the_second_step(*arguments: Any, **options: Any) -> torch.Tensor:
        calls[0] += 1
        loss = whole(*arguments, **options)
        return Overflow.apply(loss) if calls[0] == 2 else loss

    monkeypatch.setattr(module, "balanced_cross_entropy", overflow_in_the_second_step)
    more = ["config.TRAINER.limit_train_batches=2", "config.TRAINER.gradient_clip_val=1.0"]
    assert finetune(tiny_movienet, tmp_path, features, *more) == 0
    assert (calls[0], scaler.get_scale()) == (4, 512.0)
    weights = read_checkpoint(tmp_path / "finetune/ckpt/devel").state_dict
    assert all(torch.isfinite(value).all() for value in weights.values())

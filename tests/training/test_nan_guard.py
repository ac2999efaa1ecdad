"""Losses, gradients and weights that are no numbers: what ends the run, what does not, and what is kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.precision import MixedPrecision

from bassl.dataset.features import FeatureWriter
from bassl.errors import RunError
from bassl.finetune import losses
from bassl.finetune import main as finetune_main
from bassl.finetune.module import FinetuneModule
from bassl.model.checkpoint import read_checkpoint
from bassl.pretrain import main as pretrain_main
from bassl.pretrain import objective
from bassl.training.nan_guard import FiniteGuard, _Watched, gradient_norm
from bassl.training.optim import LARS
from tests.movienet import FILMS
from tests.runs import finetune_overrides, pretrain_overrides
from tests.training.test_resume import same_weights

TWO_EPOCHS = ["config.TRAINER.max_epochs=2", "config.TEST.KNN_VALIDATION=false"]  # of two steps


def pretrain(data: Path, out: Path, *more: str) -> int:
    return pretrain_main.main([*pretrain_overrides(data, out), *TWO_EPOCHS, *more])


def breaks(monkeypatch: pytest.MonkeyPatch, step: int, how: Any) -> None:
    """Put `how` between the term pp of the n-th step and the rest."""
    whole, calls = objective.PretextObjective.forward, [0]

    def forward(self: objective.PretextObjective, *arguments: Any) -> dict[str, torch.Tensor]:
        calls[0] += 1
        terms = whole(self, *arguments)
        return {**terms, "pp": how(terms["pp"])} if calls[0] == step else terms

    monkeypatch.setattr(objective.PretextObjective, "forward", forward)


class Overflow(torch.autograd.Function):
    """A finite loss with an infinite gradient."""

    @staticmethod
    def forward(ctx: Any, loss: torch.Tensor) -> torch.Tensor:
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient * torch.inf


@pytest.mark.parametrize(
    ("how", "what"),
    [(lambda term: term * torch.nan, "loss term pp"), (Overflow.apply, "the gradient")],
    ids=["loss", "gradient"],
)
def test_what_is_no_number_ends_the_run_by_name_and_the_last_checkpoint_stays(
    how: Any,
    what: str,
    tiny_movienet: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    breaks(monkeypatch, 3, how)
    assert pretrain(tiny_movienet, tmp_path) == 1
    sentence = capsys.readouterr().err.strip().splitlines()[-1]
    assert sentence.startswith(f"error: {what} is not finite at step 2 (batch 0 of its epoch, learning rate ")
    stored = read_checkpoint(tmp_path / "pretrain" / "ckpt" / "devel")
    assert stored.global_step == 2
    assert all(torch.isfinite(value).all() for value in stored.state_dict.values())


@pytest.mark.slow
def test_weights_that_are_no_numbers_are_not_saved_over_good_ones(
    tiny_movienet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, calls = LARS.step, [0]

    def breaks_in_the_fourth_step(self: LARS, *arguments: object, **options: object) -> object:
        done = whole(self, *arguments, **options)  # type: ignore[arg-type]
        calls[0] += 1
        if calls[0] == 4:
            with torch.no_grad():
                self.param_groups[0]["params"][0].fill_(float("nan"))
        return done

    monkeypatch.setattr(LARS, "step", breaks_in_the_fourth_step)
    assert pretrain(tiny_movienet, tmp_path) == 1
    sentence = capsys.readouterr().err.strip().splitlines()[-1]
    assert "weights are not finite after step 4" in sentence
    assert read_checkpoint(tmp_path / "pretrain" / "ckpt" / "devel").global_step == 2


@pytest.mark.parametrize("knn", ["true", "false"])
def test_what_a_slow_device_says_of_an_epochs_last_step_is_waited_for_before_validating_and_saving(
    knn: str,
    tiny_movienet: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    breaks(monkeypatch, 2, Overflow.apply)
    monkeypatch.setattr(_Watched, "has_arrived", lambda watched: False)
    assert pretrain(tiny_movienet, tmp_path, f"config.TEST.KNN_VALIDATION={knn}") == 1
    sentence = capsys.readouterr().err.strip().splitlines()[-1]
    assert sentence.startswith("error: the gradient is not finite at step 1 (batch 1 of its epoch, learning rate ")
    assert not (tmp_path / "pretrain" / "ckpt" / "devel" / "last.ckpt").exists()


def test_flushing_waits_for_the_device_and_looks_at_everything_once() -> None:
    waited: list[str] = []

    class Copied:
        def query(self) -> bool:
            return False

        def synchronize(self) -> None:
            waited.append("waited")

    guard = FiniteGuard()
    guard._pending = [
        _Watched(torch.tensor([value]), (f"loss term {name}",), f"step {step}", Copied())  # type: ignore[arg-type]
        for step, (name, value) in enumerate([("ssm", 1.0), ("pp", torch.nan)])
    ]
    with pytest.raises(RunError, match="loss term pp is not finite at step 1;"):
        guard.flush()
    assert waited == ["waited"] * 2
    guard.flush()


@pytest.mark.slow
@pytest.mark.parametrize("job", ["pretrain", "finetune"])
def test_weights_that_overflow_in_an_epochs_last_step_are_no_mistake_of_the_users(
    job: str,
    features: Path,
    tiny_movienet: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    kind = LARS if job == "pretrain" else torch.optim.Adam
    whole, calls = kind.step, [0]

    def overflows(self: torch.optim.Optimizer, *arguments: Any, **options: Any) -> Any:
        done = whole(self, *arguments, **options)
        calls[0] += 1
        if calls[0] == 2:
            with torch.no_grad():
                self.param_groups[0]["params"][0].fill_(torch.inf)
        return done

    monkeypatch.setattr(kind, "step", overflows)
    more = ["config.TRAINER.limit_train_batches=2", f"config.FEATURE_PATH={features}"]
    tune = [*finetune_overrides(tiny_movienet, tmp_path), *more]
    status = (
        pretrain(tiny_movienet, tmp_path, "config.TEST.KNN_VALIDATION=true")
        if job == "pretrain"
        else finetune_main.main(tune)
    )
    sentence = capsys.readouterr().err.strip().splitlines()[-1]
    assert (status, calls[0]) == (1, 2)
    assert "weights are not finite after step 2" in sentence


def test_probabilities_that_are_no_numbers_end_an_evaluation_with_a_sentence(
    features: Path,
    tiny_movienet: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = FinetuneModule.forward
    monkeypatch.setattr(
        FinetuneModule, "forward", lambda self, shots: whole(self, shots) * (1 if self.training else torch.nan)
    )
    assert finetune_main.main([*finetune_overrides(tiny_movienet, tmp_path), f"config.FEATURE_PATH={features}"]) == 1
    sentence = capsys.readouterr().err.strip().splitlines()[-1]
    assert sentence.startswith("error: 23 of 23 probabilities of test are no numbers; ")


class ScaledOnly(MixedPrecision):
    """The gradient scaler of 16-bit training over 32-bit arithmetic, so that a CPU can do it."""

    @contextmanager
    def forward_context(self) -> Iterator[None]:
        yield


@pytest.fixture
def scaler(monkeypatch: pytest.MonkeyPatch) -> torch.amp.GradScaler:
    """Training with a gradient scaler, which starts at 1024."""
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)

    class ScaledTrainer(pl.Trainer):
        def __init__(self, **options: Any) -> None:
            del options["precision"]
            options["plugins"] = [*options["plugins"], ScaledOnly("16-mixed", "cpu", scaler)]
            super().__init__(**options)

    monkeypatch.setattr(pl, "Trainer", ScaledTrainer)
    return scaler


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


@pytest.mark.slow
def test_an_overflow_that_the_scaler_handles_is_no_error_and_survives_a_restart(
    scaler: torch.amp.GradScaler, tiny_movienet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step is left out, the scale halved; both are in the checkpoint that a resumed run goes on from."""
    whole, steps = LARS.step, [0]

    def counted(self: LARS, *arguments: Any, **options: Any) -> Any:
        steps[0] += 1
        return whole(self, *arguments, **options)

    monkeypatch.setattr(LARS, "step", counted)
    with monkeypatch.context() as patch:
        breaks(patch, 2, Overflow.apply)
        assert pretrain(tiny_movienet, tmp_path / "alone") == 0
    assert (steps[0], scaler.get_scale()) == (3, 512.0)

    scaler.update(1024.0)
    with monkeypatch.context() as patch:
        breaks(patch, 2, Overflow.apply)
        breaks(patch, 3, lambda term: term * torch.nan)
        assert pretrain(tiny_movienet, tmp_path / "stopped") == 1
    scaler.update(1024.0)
    assert pretrain(tiny_movienet, tmp_path / "stopped", "config.RESUME=true") == 0
    assert scaler.get_scale() == 512.0
    same_weights(*(tmp_path / name / "pretrain" / "ckpt" / "devel" for name in ("alone", "stopped")))


def test_a_loss_that_is_no_number_is_an_error_under_a_scaler_too(
    scaler: torch.amp.GradScaler, tiny_movienet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks(monkeypatch, 3, lambda term: term * torch.inf)
    assert pretrain(tiny_movienet, tmp_path) == 1


@pytest.mark.parametrize("clip", ["null", "1.0"])
def test_fine_tuning_survives_an_overflow_under_a_scaler_with_and_without_clipping(
    clip: str,
    scaler: torch.amp.GradScaler,
    features: Path,
    tiny_movienet: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole, calls = losses.balanced_cross_entropy, [0]

    def overflows_in_the_second_step(*arguments: Any) -> torch.Tensor:
        calls[0] += 1
        loss = whole(*arguments)
        return Overflow.apply(loss) if calls[0] == 2 else loss

    monkeypatch.setattr("bassl.finetune.module.balanced_cross_entropy", overflows_in_the_second_step)
    overrides = [*finetune_overrides(tiny_movienet, tmp_path), f"config.FEATURE_PATH={features}"]
    more = ["config.TRAINER.limit_train_batches=2", f"config.TRAINER.gradient_clip_val={clip}"]
    assert finetune_main.main([*overrides, *more]) == 0
    assert (calls[0], scaler.get_scale()) == (4, 512.0)
    weights = read_checkpoint(tmp_path / "finetune" / "ckpt" / "devel").state_dict
    assert all(torch.isfinite(value).all() for value in weights.values())


def test_the_norm_of_the_gradient_is_over_all_parameters_that_have_one() -> None:
    parameters = [torch.nn.Parameter(torch.zeros(2)) for _ in range(3)]
    parameters[0].grad, parameters[2].grad = torch.tensor([3.0, 0.0]), torch.tensor([0.0, 4.0])
    assert gradient_norm(parameters).item() == 5.0
    parameters[2].grad[1] = torch.nan
    assert not torch.isfinite(gradient_norm(parameters))

"""What the module adds to losses and objective: random draws, device placement, ranks, optimiser, model parts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._mode_utils import no_dispatch

from bassl.config.load import load
from bassl.config.methods import method_of
from bassl.dataset.augmentation import AugmentationSettings, concatenate_params, draw_params, stack_params
from bassl.dataset.movienet import FilmChunk, PretrainBatch
from bassl.distributed import rank
from bassl.pretrain.module import PretrainModule
from bassl.pretrain.train import build_module
from bassl.training.optim import LARS
from tests.distributed import run_in_processes
from tests.knn import same_scene_precision
from tests.reference import data, load_json

TRN = "config.MODEL.contextual_relation_network.params.trn"
RESNET18 = "config.MODEL.shot_encoder.resnet.depth=18"
SMALL = [RESNET18, f"{TRN}.hidden_size=16", f"{TRN}.intermediate_size=16"]
SIMCLR = "config.LOSS.sampling_method.name=instance"


class TinyEncoder(nn.Module):
    """Mean colour of an image, through one linear layer."""

    feature_dim = 4

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 4)
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images)
        return self.linear(images.float().mean((2, 3)))


def trainer(**values: Any) -> Any:
    defaults = {"optimizers": [SimpleNamespace(param_groups=[{"lr": 0.1}])], "current_epoch": 0, "global_rank": 0}
    return SimpleNamespace(
        **(defaults | {"global_step": 0, "estimated_stepping_batches": 40, "testing": False} | values)
    )


def module_of(*overrides: str, encoder: Any = TinyEncoder, logged: dict[str, Any] | None = None) -> PretrainModule:
    torch.manual_seed(0)
    module = build_module(load("pretrain", overrides), seed=0, encoder=encoder).train()
    module._trainer = trainer(lightning_module=module)
    kept: dict[str, Any] = {} if logged is None else logged
    module.log = lambda name, value, **_options: kept.update({name: value})  # type: ignore[method-assign,assignment]
    module.log_dict = kept.update  # type: ignore[method-assign,assignment]
    return module


def small_batch(num_views: int = 2, num_shots: int = 1) -> PretrainBatch:
    rng = np.random.default_rng(0)
    settings = AugmentationSettings(size=32)
    draws = [concatenate_params([draw_params(1, 40, 40, settings, rng) for _ in range(num_views)]) for _ in range(4)]
    for coin in (draws[0].flip, draws[0].jitter, draws[0].blur):
        coin[:] = True  # one sample takes all of the augmentation
    pixels = torch.from_numpy(rng.integers(256, size=(4, num_views, 3, 32, 32), dtype=np.uint8))
    return PretrainBatch(pixels, stack_params(draws), torch.ones(4, num_shots))


def test_draws_are_alike_on_all_ranks_and_differ_between_steps_and_epochs_and_dropout_between_ranks() -> None:
    class Recorder(nn.Module):
        def forward(self, features: Tensor, mask: Tensor, crn: Any, generator: torch.Generator) -> dict[str, Tensor]:
            self.found = torch.rand(4, generator=generator).tolist(), torch.rand(4).tolist()
            return {"simclr": features.sum()}

    module, recorder = module_of(SIMCLR), Recorder()
    module.loss = recorder  # type: ignore[assignment]

    def step(epoch: int, batch_idx: int, global_rank: int) -> tuple[list[float], list[float]]:
        module._trainer = trainer(current_epoch=epoch, global_rank=global_rank)
        module.training_step(small_batch(), batch_idx)
        return recorder.found

    draws, dropout = step(0, 0, 0)
    assert step(0, 0, 0) == (draws, dropout), "a resumed run draws the same"
    assert step(0, 0, 1)[0] == draws
    others = [step(0, 0, 1), step(1, 0, 0), step(0, 1, 0), step(1, 1, 1)]
    assert len({tuple(other[0]) for other in others[1:]} | {tuple(draws)}) == 4
    assert len({tuple(other[1]) for other in others} | {tuple(dropout), tuple(draws)}) == 6


@pytest.mark.parametrize("method", ["bassl+shotcol", "instance"])
def test_a_step_stays_on_the_device_and_reads_nothing_back(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On fake CUDA tensors, which refuse to meet the CPU and to be read."""
    logged: dict[str, Any] = {}
    module = module_of(f"config.LOSS.sampling_method.name={method}", *SMALL[1:], logged=logged)
    batch = small_batch(*((20, 17) if method == "bassl+shotcol" else (2, 1)))
    monkeypatch.setattr(torch.cuda, "Event", lambda: SimpleNamespace(record=lambda: None, query=lambda: False))
    module._draws = SimpleNamespace(manual_seed=lambda seed: None)  # type: ignore[assignment]  # no such device here
    module._device = torch.device("cuda:0")
    with FakeTensorMode() as mode:
        for part in module.modules():
            for tensors in (part._parameters, part._buffers):
                tensors.update({name: on_gpu(mode, value) for name, value in tensors.items() if value is not None})
        moved = PretrainBatch(on_gpu(mode, batch.keyframes), batch.draws, on_gpu(mode, batch.mask))
        loss = module.training_step(moved, 0)
    assert loss.device == torch.device("cuda:0")
    assert logged.keys() == {"train/loss", "train/lr", *(f"train/{term}" for term in module.loss.terms)}
    assert all(isinstance(value, Tensor) for value in logged.values()), "a number would be copied to the device"


def on_gpu(mode: FakeTensorMode, tensor: Tensor) -> Any:
    """A stand-in on a GPU that need not be there."""
    with no_dispatch():
        fake = FakeTensor(mode, torch.empty_like(tensor.detach(), device="meta"), torch.device("cuda:0"))
    return nn.Parameter(fake, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else fake


def test_images_are_written_in_the_precision_of_the_step() -> None:
    module = module_of(SIMCLR)
    with torch.autocast("cpu", torch.bfloat16):
        module.training_step(small_batch(), 0)
    (images,) = module.shot_encoder.seen  # type: ignore[attr-defined]
    assert images.dtype == torch.bfloat16
    assert images.is_contiguous(memory_format=torch.channels_last)


def validated_rank() -> dict[str, Any]:
    """Validate one film per rank, with other running statistics on each when the validation begins."""
    logged: dict[str, Any] = {}
    module = module_of(SIMCLR, logged=logged)
    module.register_buffer("statistics", torch.tensor([float(rank())]))
    module.on_validation_epoch_start()
    for chunk in film_chunks(rank()):
        module.eval().validation_step(chunk, 0)
    module.on_validation_epoch_end()
    return {name: float(value) for name, value in logged.items()} | {"statistics": module.statistics.item()}


def film_chunks(film: int) -> list[FilmChunk]:
    keyframes = data(film, (12, 3, 3, 8, 8)).mul(40).add(128).clamp(0, 255).to(torch.uint8)
    scenes = torch.arange(12) // (4 + film)
    return [FilmChunk(film, torch.arange(12)[part], scenes[part], keyframes[part], part.stop == 12)
            for part in (slice(0, 7), slice(7, 12))]  # fmt: skip


@pytest.mark.slow
def test_ranks_validate_their_films_with_the_statistics_of_rank_zero_into_one_number() -> None:
    first, second = run_in_processes(validated_rank, 2)
    assert first == second
    assert first["statistics"] == 0
    features, scenes = [], []
    module = module_of(SIMCLR).eval()
    for film in range(2):
        module.on_validation_epoch_start()
        for chunk in film_chunks(film):
            module.validation_step(chunk._replace(is_last=False), 0)
        features += [part for part, _ in module._film]
        scenes += [part for _, part in module._film]
    together = same_scene_precision(torch.cat(features), torch.arange(24) // 12, torch.cat(scenes))
    assert first["knn/precision@1"] == pytest.approx(together[0].item())
    assert first["knn/precision@5"] == pytest.approx(together[1].item())
    assert "knn/precision@10" not in first, "no scene has so many shots"
    assert first["val/pseudo_boundary_distance_random"] > 0


def test_lars_and_its_schedule_have_the_published_settings() -> None:
    module = module_of(SIMCLR, RESNET18, "config.TRAIN.BATCH_SIZE.effective_batch_size=512", encoder=None)
    found: Any = module.configure_optimizers()
    optimizer, schedule = found["optimizer"], found["lr_scheduler"]
    assert (type(optimizer), schedule["interval"]) == (LARS, "step")
    names = {id(parameter): name for name, parameter in module.named_parameters()}
    decay = {names[id(p)]: group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert decay == {name: 0.0 if "bn" in name or "bias" in name else 1e-6 for name in names.values()}
    for group in optimizer.param_groups:
        assert (group["momentum"], group["trust_coefficient"], group["eps"]) == (0.9, 0.001, 1e-8)
    rates = []
    for _ in range(41):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule["scheduler"].step()
    assert rates[:5] == pytest.approx([0.0, 0.15, 0.3, 0.45, 0.6])  # a tenth of 40 steps, up to 0.3 * 512 / 256
    assert (rates[22], rates[40]) == (pytest.approx(0.3), pytest.approx(0, abs=1e-12))


def test_warm_up_rounds_its_steps_down_as_the_reference() -> None:
    module = module_of(SIMCLR)
    module._trainer = trainer(estimated_stepping_batches=48)
    found: Any = module.configure_optimizers()
    rates = []
    for _ in range(6):
        rates.append(found["optimizer"].param_groups[0]["lr"])
        found["optimizer"].step()
        found["lr_scheduler"]["scheduler"].step()
    assert rates[:5] == pytest.approx([0, 0.075, 0.15, 0.225, 0.3])  # 4 of 4.8 steps
    assert rates[5] < 0.3


def test_sgd_is_the_other_choice() -> None:
    keys = ["name=sgd", "momentum=0.8", "lr.base_lr=0.2", "weight_decay=0.01"]
    found: Any = module_of(SIMCLR, *(f"config.TRAIN.OPTIMIZER.{key}" for key in keys)).configure_optimizers()
    groups = found["optimizer"].param_groups
    assert type(found["optimizer"]) is torch.optim.SGD
    assert [(group["momentum"], group["weight_decay"], group["initial_lr"]) for group in groups] == [
        (0.8, 0.01, 0.2), (0.8, 0.0, 0.2),
    ]  # fmt: skip


@pytest.mark.parametrize(("overrides", "trains_mask"), [
    (["+method=bassl_shotcol"], True),
    (["+method=bassl", "config.LOSS.masked_shot_modeling.enabled=false"], False),
    (["+method=shotcol"], None),
    (["+method=temporal"], None),
])  # fmt: skip
def test_every_trained_parameter_gets_a_gradient(overrides: list[str], trains_mask: bool | None) -> None:
    """DDP waits for each of them."""
    name = overrides[0].removeprefix("+method=").replace("_", "+")
    overrides = [*overrides, *SMALL[1:], f"config.LOSS.sampling_method.params.{name}.neighbor_size=2"]
    module, method = module_of(*overrides), method_of(load("pretrain", overrides))
    num_views = len(method.sparse) + 5 if method.sampling == "window" else 2
    module.training_step(small_batch(num_views, 5), 0).backward()
    trained = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
    assert [name for name, parameter in trained.items() if parameter.grad is None] == []
    assert (module.crn is None) is (trains_mask is None)
    if module.crn is not None:
        assert module.crn.shot_embedding.mask_embedding.weight.requires_grad is trains_mask


@pytest.mark.parametrize("method", ["bassl", "bassl_shotcol", "shotcol", "temporal", "instance"])
def test_the_default_model_of_a_method_has_the_published_names_and_shapes(method: str) -> None:
    ignored = ("num_batches_tracked", "pos_ids", "attention_mask")
    recorded = load_json("state_dict_keys.json")[f"pretrain/{method}"]
    with torch.device("meta"):
        ours = {
            name: list(value.shape) for name, value in module_of(f"+method={method}", encoder=None).state_dict().items()
        }
    assert len(recorded) > 300
    assert {name: shape for name, shape in ours.items() if name.rsplit(".", 1)[-1] not in ignored} == {
        name: shape for name, shape in recorded.items() if name.rsplit(".", 1)[-1] not in ignored
    }


def test_the_model_follows_the_configuration() -> None:
    trn = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4, "hidden_dropout_prob": 0.3}
    keys = ["shot_scene_matching.temperature=0.2", "pseudo_boundary_prediction.num_neg_sample=3"]
    keys.append("sampling_method.params.bassl.neighbor_size=3")
    module = module_of(*(f"{TRN}.{key}={value}" for key, value in trn.items()), *(f"config.LOSS.{key}" for key in keys))
    assert module.crn is not None
    assert (module.crn.input_dim, module.crn.hidden_dim, module.crn.num_shots) == (4, 24, 7)
    assert (len(module.crn.encoder.layer), module.crn.num_heads) == (3, 4)
    assert {part.p for part in module.crn.modules() if isinstance(part, nn.Dropout)} == {0.3}
    assert (module.loss.center, module.loss.num_sparse) == (3, 2)
    assert (module.loss.temperature, module.loss.num_negatives) == (0.2, 3)

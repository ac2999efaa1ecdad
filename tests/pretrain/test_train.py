from __future__ import annotations

from pathlib import Path

import pytest
import torch
from bassl.config.plan import PretrainPlan
from bassl.config.resolve import resolve_pretrain
from torch import nn

from bassl.config.load import load
from bassl.model.checkpoint import read_checkpoint
from bassl.pretrain import main as pretrain_main
from bassl.pretrain.module import PretrainModule
from bassl.pretrain.train import build_module
from bassl.training.sync_batch_norm import synchronize
from tests.reference import data, load_json
from tests.runs import pretrain_overrides

TRN = "config.MODEL.contextual_relation_network.params.trn"
SMALL = ["config.MODEL.shot_encoder.resnet.depth=18", f"{TRN}.hidden_size=16", f"{TRN}.intermediate_size=16"]
CASES = [
    # what is typed, whether the mask embedding is trained (None: no CRN)
    (["+method=bassl"], True),
    (["+method=bassl_shotcol"], True),
    (["+method=bassl", "config.LOSS.masked_shot_modeling.enabled=false"], False),
    (["+method=bassl", "config.LOSS.shot_scene_matching.enabled=false"], True),
    (["+method=shotcol"], None),
    (["+method=temporal"], None),
    (["+method=instance"], None),
]


def plan_of(*overrides: str) -> PretrainPlan:
    return resolve_pretrain(load("pretrain", overrides))


def module_of(plan: PretrainPlan) -> PretrainModule:
    torch.manual_seed(0)
    return build_module(plan, seed=0, config={"EXPR_NAME": plan.run.name})


@pytest.mark.parametrize(("typed", "trains_mask"), CASES)
def test_every_trained_parameter_of_the_whole_model_gets_a_gradient(typed: list[str], trains_mask: bool | None) -> None:
    method = typed[0].removeprefix("+method=").replace("_", "+")
    plan = plan_of(*typed, *SMALL, f"config.LOSS.sampling_method.params.{method}.neighbor_size=2")
    module = module_of(plan)
    num_views = len(plan.method.sparse) + 5 if plan.method.sampling == "window" else 2
    flat = module.shot_encoder(data(1, (2 * num_views, 3, 32, 32)))
    mask = torch.zeros(2, 5)
    mask[:, 4] = 1
    terms = module.loss(flat.unflatten(0, (2, num_views)), mask, module.crn, torch.Generator().manual_seed(0))
    sum(terms.values()).backward()
    without = [
        name for name, parameter in module.named_parameters() if parameter.requires_grad and parameter.grad is None
    ]
    assert without == []
    if trains_mask is None:
        assert module.crn is None
    else:
        assert module.crn is not None
        assert module.crn.shot_embedding.mask_embedding.weight.requires_grad is trains_mask


@pytest.mark.parametrize("method", ["bassl", "bassl_shotcol", "shotcol", "temporal", "instance"])
def test_the_default_model_of_a_method_has_the_published_names_and_shapes(method: str) -> None:
    recorded = load_json("state_dict_keys.json")[f"pretrain/{method}"]
    tolerated = ("num_batches_tracked", "pos_ids", "attention_mask")
    with torch.device("meta"):
        ours = {name: list(value.shape) for name, value in module_of(plan_of(f"+method={method}")).state_dict().items()}
    assert {name: shape for name, shape in ours.items() if name.rsplit(".", 1)[-1] not in tolerated} == {
        name: shape for name, shape in recorded.items() if name.rsplit(".", 1)[-1] not in tolerated
    }
    assert len(recorded) > 300


def test_the_model_follows_the_plan() -> None:
    trn = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 40}
    typed = [f"{TRN}.{key}={value}" for key, value in trn.items()]
    neighbors = "config.LOSS.sampling_method.params.bassl.neighbor_size=3"
    module = module_of(plan_of(*SMALL[:1], *typed, neighbors, f"{TRN}.hidden_dropout_prob=0.3"))
    assert module.crn is not None
    assert (module.crn.input_dim, module.crn.hidden_dim, module.crn.num_shots) == (512, 24, 7)
    assert len(module.crn.encoder.layer) == 3
    assert {part.p for part in module.crn.modules() if isinstance(part, nn.Dropout)} == {0.3}
    assert (module.loss.center, module.loss.num_sparse) == (3, 2)


def test_synchronised_statistics_change_no_name_and_no_weight() -> None:
    module = module_of(plan_of("+method=instance", *SMALL))
    before = {name: value.clone() for name, value in module.state_dict().items()}
    module.shot_encoder = synchronize(module.shot_encoder, "cpu")
    assert list(module.state_dict()) == list(before)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


@pytest.mark.slow
def test_no_epochs_save_the_encoder_that_every_method_starts_from(tiny_movienet: Path, tmp_path: Path) -> None:
    """With one seed, so the untrained row of a sweep is what the others were before training; resumed, too."""
    typed = pretrain_overrides(tiny_movienet, tmp_path)
    untrained = [*typed, "+method=instance", "config.TRAINER.max_epochs=0", "config.RESUME=true"]
    for _ in range(2):
        assert pretrain_main.main(untrained) == 0
        saved = read_checkpoint(tmp_path / "pretrain" / "ckpt" / "devel")
        assert saved.global_step == 0
    slow = "config.TRAIN.OPTIMIZER.lr.base_lr=1e-30"  # an optimiser whose steps change nothing
    assert pretrain_main.main([*typed, "+method=bassl", slow, "config.EXPR_NAME=still"]) == 0
    still = read_checkpoint(tmp_path / "pretrain" / "ckpt" / "still")
    assert still.global_step == 2
    weights = [name for name in saved.state_dict if name.startswith("shot_encoder.") and "running" not in name]
    weights = [name for name in weights if "num_batches" not in name]
    assert len(weights) > 50
    for name in weights:
        torch.testing.assert_close(saved.state_dict[name], still.state_dict[name], rtol=0, atol=1e-20)

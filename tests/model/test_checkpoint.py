"""Find, read and load checkpoints; refuse damaged files, foreign code and weights of another model."""

from __future__ import annotations

import argparse
import builtins
import hashlib
import logging
import os
import sys
import types
from collections import OrderedDict, defaultdict
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.utilities.parsing import AttributeDict
from torch import Tensor, nn

from bassl.errors import InputError
from bassl.model.checkpoint import (
    Checkpoint,
    check_compatible,
    find_checkpoint,
    load_weights,
    log_unused_keys,
    read_checkpoint,
)
from bassl.model.heads import MSMHead


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def save(folder: Path, content: Any, name: str = "last.ckpt", **options: Any) -> Path:
    torch.save(content, folder / name, **options)
    return folder / name


def stored(module: nn.Module, prefix: str = "") -> dict[str, Tensor]:
    return {prefix + name: tensor.clone() for name, tensor in module.state_dict().items()}


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["last.ckpt", "model-v1.ckpt", "epoch=9.ckpt"], "last.ckpt"),
        (["last.ckpt", "best.ckpt"], "best.ckpt"),
        (["model-v1.ckpt", "epoch=9.ckpt"], "model-v1.ckpt"),
        (["epoch=9.ckpt", ".12-ab.epoch=10.ckpt", "config.json"], "epoch=9.ckpt"),
    ],
)
def test_a_folders_checkpoint_is_found_by_its_name(tmp_path: Path, names: list[str], expected: str) -> None:
    assert find_checkpoint(touch(tmp_path, *names)) == tmp_path / expected
    assert find_checkpoint(tmp_path / names[0]) == tmp_path / names[0]


def test_a_folder_without_a_clear_checkpoint_is_refused(tmp_path: Path) -> None:
    touch(tmp_path / "many", *(f"epoch={epoch}.ckpt" for epoch in range(6)))
    with pytest.raises(InputError, match=r"holds 6 checkpoints.*epoch=3\.ckpt and 2 more"):
        find_checkpoint(tmp_path / "many")
    touch(tmp_path / "pretrain" / "bassl", "bassl.tar.gz")
    with pytest.raises(InputError, match=r"holds bassl\.tar\.gz; run bassl pretrain with config\.EXPR_NAME=bassl"):
        find_checkpoint(tmp_path / "pretrain" / "bassl")
    with pytest.raises(InputError, match=r"no such file; run bassl finetune with config\.EXPR_NAME=run"):
        find_checkpoint(tmp_path / "finetune" / "run" / "last.ckpt")


@pytest.mark.parametrize("zipped", [True, False])
def test_a_checkpoint_comes_with_its_config_and_progress(tmp_path: Path, zipped: bool) -> None:
    content = {
        "state_dict": {"weight": torch.eye(2)},
        "epoch": 3,
        "global_step": 40,
        "hyper_parameters": {"lr": 0.3},
        "loops": {"fit": [1, 2]},
    }
    file = save(tmp_path, content, _use_new_zipfile_serialization=zipped)
    (tmp_path / "config.json").write_text('{"EXPR_NAME": "bassl"}')
    checkpoint = read_checkpoint(tmp_path)
    assert torch.equal(checkpoint.state_dict["weight"], torch.eye(2))
    assert (checkpoint.path, checkpoint.epoch, checkpoint.global_step) == (file, 3, 40)
    assert (checkpoint.hyper_parameters, checkpoint.config) == ({"lr": 0.3}, {"EXPR_NAME": "bassl"})
    assert checkpoint.metadata == {"loops": {"fit": [1, 2]}}
    assert checkpoint.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "model.module."])
def test_wrapper_prefixes_of_a_bare_state_dict_are_removed(
    tmp_path: Path, prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        checkpoint = read_checkpoint(save(tmp_path, stored(nn.Linear(2, 2), prefix), "weights.pt"))
    assert list(checkpoint.state_dict) == ["weight", "bias"]
    assert len(caplog.messages) == prefix.count(".")
    assert (checkpoint.epoch, checkpoint.config, checkpoint.metadata) == (None, None, {})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.eye(2)], "it holds a list"),
        ({"state_dict": {}}, "it holds no tensors"),
        ({"epoch": 3, "lr": 0.1}, "epoch, lr are not tensors"),
        ({"state_dict": torch.eye(2)}, "the state_dict in .* is a Tensor"),
    ],
)
def test_a_file_without_weights_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_checkpoint(save(tmp_path, content))


@pytest.mark.parametrize("kept", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_or_foreign_file_is_one_clear_error(tmp_path: Path, kept: float, zipped: bool) -> None:
    file = save(tmp_path, {"state_dict": {"w": torch.rand(500)}}, _use_new_zipfile_serialization=zipped)
    whole = file.read_bytes()
    for content in (whole[: int(kept * len(whole))], b"<html>404</html>"):
        file.write_bytes(content)
        with pytest.raises(InputError, match=r"last\.ckpt cannot be read as a checkpoint .*incomplete"):
            read_checkpoint(file)


# --- classes of other libraries ---


def lightning_1_3(**hyper_parameters: Any) -> dict[str, Any]:
    """A checkpoint as Lightning 1.3 wrote it: callback states under the callback classes."""
    return {
        "epoch": 9,
        "global_step": 1230,
        "pytorch-lightning_version": "1.3.8",
        "state_dict": OrderedDict(weight=torch.arange(6.0).reshape(2, 3), count=torch.tensor(7)),
        "callbacks": {
            ModelCheckpoint: {"best_model_score": torch.tensor(0.5), "dirpath": "ckpt", "current_score": None},
            EarlyStopping: {"wait_count": 3, "patience": 2**40},
        },
        "optimizer_states": [{"state": {0: {"momentum_buffer": torch.ones(2)}}, "param_groups": [{"lr": 0.3}]}],
        "hyper_parameters": hyper_parameters,
    }


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_of_lightning_1_3_is_read_in_plain_containers(tmp_path: Path, zipped: bool) -> None:
    checkpoint = read_checkpoint(save(tmp_path, lightning_1_3(), _use_new_zipfile_serialization=zipped))
    assert torch.equal(checkpoint.state_dict["weight"], torch.arange(6.0).reshape(2, 3))
    assert (checkpoint.epoch, checkpoint.global_step) == (9, 1230)
    callbacks = checkpoint.metadata["callbacks"]
    assert callbacks["pytorch_lightning.callbacks.early_stopping.EarlyStopping"] == {"wait_count": 3, "patience": 2**40}
    assert "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint" in callbacks
    momentum = checkpoint.metadata["optimizer_states"][0]["state"][0]["momentum_buffer"]
    assert torch.equal(momentum, torch.ones(2))


class EasyDict(dict[str, Any]):
    """As the library of that name: items are attributes as well."""

    def __init__(self, **items: Any) -> None:
        super().__init__(**items)
        self.__dict__.update(items)


TREE = {"MODEL": {"depth": 50, "names": ["a", "b"], "none": None}, "lr": 0.3, "on": True}


@pytest.mark.parametrize("kind", ["omegaconf", "attribute dict", "namespace", "defaultdict", "easydict", "nested"])
def test_hyper_parameters_in_classes_of_their_own_become_plain(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = types.ModuleType("easydict")
    library.EasyDict = EasyDict  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "easydict", library)
    monkeypatch.setattr(EasyDict, "__module__", "easydict")
    config = {
        "omegaconf": OmegaConf.create(TREE),
        "attribute dict": AttributeDict(TREE),
        "namespace": argparse.Namespace(**TREE),
        "defaultdict": defaultdict(dict, TREE),
        "easydict": EasyDict(**TREE),
        "nested": AttributeDict(MODEL=OmegaConf.create(TREE["MODEL"]), lr=0.3, on=True),
    }[kind]
    read = read_checkpoint(save(tmp_path, lightning_1_3(config=config))).hyper_parameters["config"]
    assert read == TREE
    assert (type(read), type(read["MODEL"]), type(read["MODEL"]["names"])) == (dict, dict, list)


def test_other_values_of_hyper_parameters_come_through(tmp_path: Path) -> None:
    given = {
        "folder": Path("/data/movienet"),
        "numbers": {1, 2},
        "frozen": frozenset([3]),
        "raw": b"\xff\x00",
        "score": np.float64(0.5),
        "count": np.int32(7),
        "date": datetime(2022, 1, 12),
        "size": torch.Size([2, 3]),
        "dtype": torch.float16,
        "empty": AttributeDict(),
    }
    read = read_checkpoint(save(tmp_path, lightning_1_3(**given))).hyper_parameters
    assert read == {**given, "folder": "/data/movienet"}
    assert (type(read["score"]), type(read["count"])) == (float, int)


class Call:
    """Pickles as a call of a function."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize(
    ("function", "name"),
    [(os.system, "posix.system"), (builtins.eval, "eval"), (open, "io.open"), (getattr, "getattr"), (nn.Linear, "")],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_names_another_class_or_function_is_refused_and_runs_nothing(
    tmp_path: Path, function: Any, name: str, zipped: bool
) -> None:
    victim = tmp_path / "victim"
    call = Call(
        function, {os.system: f"touch {victim}", open: str(victim)}.get(function, f"open({str(victim)!r}, 'w')")
    )
    file = save(tmp_path, lightning_1_3(x=call), _use_new_zipfile_serialization=zipped)
    name = name or "torch.nn.modules.linear.Linear"
    remedy = rf"class {name} is not on the list .* torch\.serialization\.add_safe_globals\(\[{name}\]\)"
    with pytest.raises(InputError, match=remedy):
        read_checkpoint(file)
    assert not victim.exists()


def test_a_class_that_the_user_allows_is_read(tmp_path: Path) -> None:
    file, before = save(tmp_path, lightning_1_3(y=[Checkpoint])), set(torch.serialization.get_safe_globals())
    with pytest.raises(InputError, match=r"class bassl\.model\.checkpoint\.Checkpoint is not on the list"):
        read_checkpoint(file)
    with torch.serialization.safe_globals([Checkpoint]):
        assert read_checkpoint(file).hyper_parameters["y"] == [Checkpoint]
    assert set(torch.serialization.get_safe_globals()) == before, "reading leaves no class allowed"


# --- weights ---


def test_weights_behind_a_prefix_are_loaded_and_the_rest_is_returned() -> None:
    source, target = nn.Linear(2, 3), nn.Linear(2, 3)
    others = {"loss.weight": torch.zeros(2), "crn.x": torch.zeros(1)}
    unused = load_weights(target, {**stored(source, "enc."), **others}, prefix="enc.")
    assert unused == ["loss.weight", "crn.x"]
    assert torch.equal(target.weight, source.weight)
    assert load_weights(target, {**stored(source), "loss.a": torch.zeros(1)}, ignore=["loss."]) == ["loss.a"]


def tree(resize: int) -> dict[str, Any]:
    return {"TRANSFORM": {"test": {"resize": resize, "crop": 80}}}


@pytest.mark.parametrize(("about", "beside", "expected"), [
    ({"transform": {"resize": 1, "crop": 2}, "config": tree(96)}, tree(128), (1, 2)),
    ({"transform": None, "config": tree(96)}, tree(128), (96, 80)),
    (None, tree(128), (128, 80)),
    ({}, {"TRANSFORM": {"test": [{"name": "VideoResize", "size": 256}]}}, None),  # the reference's own
])  # fmt: skip
def test_the_test_transform_is_that_of_the_features_or_else_of_the_run(
    about: Any, beside: Any, expected: tuple[int, int] | None
) -> None:
    assert Checkpoint(Path("a.ckpt"), {}, config=beside, metadata={"bassl": about}).test_transform == expected


def test_every_mismatch_is_listed_and_nothing_is_loaded() -> None:
    target = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4))
    before = stored(target)
    given = stored(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 5)), "net.")
    del given["net.0.bias"]
    given["net.2.weight"] = torch.zeros(1)
    mismatches = (
        r"than net\.: 1 missing: 0\.bias; 1 left over: 2\.weight; 2 of another shape: "
        r"1\.weight \(\(5, 3\) in the file, \(4, 3\) in the model\), 1\.bias \(\(5,\)"
    )
    with pytest.raises(InputError, match=mismatches):
        load_weights(target, given, prefix="net.", source="last.ckpt")
    assert all(torch.equal(tensor, before[name]) for name, tensor in target.state_dict().items())
    with pytest.raises(InputError, match=r"holds nothing called crn\.\*, only net\.0"):
        load_weights(target, given, prefix="crn.")


def test_a_run_resumes_only_from_its_own_model() -> None:
    module = nn.ModuleDict({"crn": nn.Linear(2, 3)})
    same = Checkpoint(Path("last.ckpt"), {**stored(module), "shot_encoder.x": torch.zeros(1)})
    check_compatible(module, same, ignore=("shot_encoder.",))
    with pytest.raises(InputError, match=r"cannot resume from last\.ckpt.*1 left over: shot_encoder\.x"):
        check_compatible(module, same)


def test_buffers_without_a_learned_value_may_be_there_or_not() -> None:
    given = stored(nn.BatchNorm2d(2)) | {"pos_ids": torch.arange(18), "num_batches_tracked": torch.tensor(7)}
    target = nn.BatchNorm2d(2)
    assert load_weights(target, given) == []
    assert target.num_batches_tracked == 7
    del given["num_batches_tracked"]
    assert load_weights(nn.BatchNorm2d(2), given) == []


@pytest.mark.parametrize("absent", ["predictions.bias", "predictions.decoder.bias"])
def test_a_parameter_with_two_names_is_loaded_by_either(absent: str) -> None:
    source, target = MSMHead(4, 3), MSMHead(4, 3)
    nn.init.normal_(source.predictions.bias)
    given = {name: tensor for name, tensor in stored(source, "msm.").items() if not name.endswith(absent)}
    load_weights(target, given, prefix="msm.")
    assert torch.equal(target.predictions.decoder.bias, source.predictions.bias)
    without_both = {name: tensor for name, tensor in given.items() if not name.endswith(("s.bias", "r.bias"))}
    with pytest.raises(InputError, match=r"2 missing: predictions\.bias, predictions\.decoder\.bias"):
        load_weights(target, without_both, prefix="msm.")


def test_tensors_that_no_part_has_loaded_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    checkpoint = Checkpoint(Path("last.ckpt"), stored(nn.Linear(2, 3), "crn.") | stored(nn.Linear(2, 2), "loss.head."))
    checkpoint.unused.intersection_update(load_weights(nn.Linear(2, 3), checkpoint.state_dict, prefix="crn."))
    with caplog.at_level(logging.INFO):
        log_unused_keys(checkpoint, None, checkpoint)
    assert caplog.messages == ["last.ckpt: 2 tensors not used: loss.head"]

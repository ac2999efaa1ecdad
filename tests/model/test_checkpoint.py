"""Finding, reading and loading checkpoints: what is wrong is said once, with what to do."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bassl.errors import InputError
from bassl.model import loading as builders
from bassl.model.checkpoint import Checkpoint, find_checkpoint, load_weights, read_checkpoint, tell_unused
from bassl.model.heads import MSMHead


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def touch(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("names", "found"),
    [
        (["last.ckpt", "model-v1.ckpt", "epoch=9.ckpt"], "last.ckpt"),
        (["model-v1.ckpt", "epoch=9.ckpt"], "model-v1.ckpt"),
        (["epoch=9.ckpt", "config.json"], "epoch=9.ckpt"),
        (["epoch=9.ckpt", ".12-ab.epoch=10.ckpt"], "epoch=9.ckpt"),
    ],
)
def test_a_folders_checkpoint_is_found_by_its_name(tmp_path: Path, names: list[str], found: str) -> None:
    assert find_checkpoint(touch(tmp_path, *names)) == tmp_path / found


def test_a_file_is_its_own_checkpoint_whatever_its_name(tmp_path: Path) -> None:
    touch(tmp_path, "weights.pt", "last.ckpt")
    assert find_checkpoint(tmp_path / "weights.pt") == tmp_path / "weights.pt"


def test_several_checkpoints_without_a_known_name_are_listed(tmp_path: Path) -> None:
    touch(tmp_path, *(f"epoch={epoch}.ckpt" for epoch in range(6)))
    with pytest.raises(InputError, match=r"holds 6 checkpoints.*epoch=3\.ckpt and 2 more; name the file"):
        find_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("stage", "lying_there", "expected"),
    [
        (
            "pretrain",
            None,
            ["there is no such folder", "run pretrain/main.py with config.EXPR_NAME=bassl", "model zoo"],
        ),
        ("pretrain", [], ["the folder is empty", "model-v1.ckpt and config.json lie there"]),
        ("pretrain", ["bassl.tar.gz"], ["the folder holds bassl.tar.gz", "unpack"]),
        ("finetune", None, ["there is no such folder", "run finetune/main.py with config.EXPR_NAME=bassl"]),
    ],
)
def test_a_missing_checkpoint_says_where_and_how_to_get_one(
    tmp_path: Path, stage: str, lying_there: list[str] | None, expected: list[str]
) -> None:
    folder = tmp_path / stage / "ckpt" / "bassl"
    if lying_there is not None:
        touch(folder, *lying_there)
    with pytest.raises(InputError) as refused:
        find_checkpoint(folder)
    for part in [f"no checkpoint at {folder}", *expected]:
        assert part in str(refused.value)


def test_a_missing_file_is_told_from_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no such file; run pretrain/main\.py with config.EXPR_NAME=run"):
        read_checkpoint(tmp_path / "run" / "last.ckpt")


def save(folder: Path, content: Any, name: str = "last.ckpt", **options: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(content, folder / name, **options)
    return folder / name


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
    assert checkpoint.path == file
    assert torch.equal(checkpoint.state_dict["weight"], torch.eye(2))
    assert (checkpoint.epoch, checkpoint.global_step) == (3, 40)
    assert checkpoint.hyper_parameters == {"lr": 0.3}
    assert checkpoint.config == {"EXPR_NAME": "bassl"}
    assert checkpoint.metadata == {"loops": {"fit": [1, 2]}}
    assert checkpoint.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_bare_state_dict_is_a_checkpoint_too(tmp_path: Path) -> None:
    checkpoint = read_checkpoint(save(tmp_path, {"weight": torch.eye(2)}, "weights.pt"))
    assert list(checkpoint.state_dict) == ["weight"]
    assert (checkpoint.epoch, checkpoint.config, checkpoint.metadata) == (None, None, {})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.eye(2)], "is no checkpoint: it holds a list"),
        ({"state_dict": {}}, "it holds no tensors"),
        ({"epoch": 3, "lr": 0.1}, "epoch, lr in it are no tensors"),
        ({"state_dict": {"weight": [1.0]}}, "weight in it are no tensors"),
        ({"state_dict": torch.eye(2)}, "the state_dict in .* is a Tensor"),
    ],
)
def test_a_file_without_weights_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    file = save(tmp_path, content)
    with pytest.raises(InputError, match=message) as refused:
        read_checkpoint(file)
    assert str(file) in str(refused.value)


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.99])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_file_is_one_clear_error(tmp_path: Path, keep: float, zipped: bool) -> None:
    file = save(tmp_path, {"state_dict": {"w": torch.rand(500)}}, _use_new_zipfile_serialization=zipped)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(keep * len(whole)) if 0 < keep < 1 else int(keep)])
    with pytest.raises(InputError, match=r"cannot be read as a checkpoint .*incomplete") as refused:
        read_checkpoint(file)
    assert str(file) in str(refused.value)


@pytest.mark.parametrize("content", [b"<html>404</html>", b"\x1f\x8b\x08 a tar.gz", b"\x89HDF\r\n", bytes(2000)])
def test_a_file_of_another_kind_is_one_clear_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "last.ckpt").write_bytes(content)
    with pytest.raises(InputError, match="cannot be read as a checkpoint"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize(("text", "message"), [("{", "is not valid JSON"), ("[1]", "holds a list, not a config")])
def test_a_broken_config_beside_it_is_one_clear_error(tmp_path: Path, text: str, message: str) -> None:
    save(tmp_path, {"w": torch.eye(2)})
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InputError, match=message):
        read_checkpoint(tmp_path)


def stored(module: nn.Module, prefix: str = "") -> dict[str, Tensor]:
    return {prefix + name: tensor.clone() for name, tensor in module.state_dict().items()}


def test_weights_behind_a_prefix_are_loaded_and_the_rest_is_returned() -> None:
    source, target = nn.Linear(2, 3), nn.Linear(2, 3)
    others = {
        "loss.head_pp.weight": torch.zeros(2),
        "loss.head_pp.bias": torch.zeros(2),
        "crn.x": torch.zeros(1),
    }
    unused = load_weights(target, {**stored(source, "enc."), **others}, prefix="enc.", source="last.ckpt")
    assert torch.equal(target.weight, source.weight)
    assert torch.equal(target.bias, source.bias)
    assert unused == list(others)


def test_what_no_part_of_a_model_took_is_told_once_a_checkpoint(caplog: pytest.LogCaptureFixture) -> None:
    encoder, crn, head = nn.BatchNorm2d(2), nn.Linear(2, 3), nn.Linear(3, 2)
    weights = {**stored(encoder, "shot_encoder."), **stored(crn, "crn."), **stored(head, "loss.head_nce.")}
    pretrained = Checkpoint(Path("last.ckpt"), weights)
    tuned = Checkpoint(Path("tuned.ckpt"), stored(head, "head_sbd."))
    with caplog.at_level(logging.INFO):
        builders._load(encoder, pretrained, "shot_encoder.")
        builders._load(crn, pretrained, "crn.")
        builders._load(head, tuned, "head_sbd.")
        assert caplog.messages == []
        tell_unused(tuned, None, pretrained, pretrained)
    assert caplog.messages == ["last.ckpt: 2 tensors not used: loss.head_nce"]


def test_what_is_ignored_is_left_out_and_returned() -> None:
    source, target = nn.Linear(2, 3), nn.Linear(2, 3)
    assert load_weights(target, {**stored(source), "loss.a": torch.zeros(1)}, ignore=["loss."]) == ["loss.a"]
    assert torch.equal(target.weight, source.weight)


def test_nothing_is_left_when_everything_is_used() -> None:
    assert load_weights(nn.Linear(2, 3), stored(nn.Linear(2, 3))) == []


def test_every_mismatch_is_listed_and_nothing_is_loaded() -> None:
    target = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 4))
    before = stored(target)
    given = stored(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 5)), "net.")
    del given["net.0.bias"]
    given["net.2.weight"] = torch.zeros(1)
    with pytest.raises(InputError) as refused:
        load_weights(target, given, prefix="net.", source="last.ckpt")
    assert str(refused.value) == (
        "last.ckpt is a checkpoint of another architecture than net.: 1 missing: 0.bias; "
        "1 left over: 2.weight; 2 of another shape: 1.weight ((5, 3) in the file, (4, 3) in the model), "
        "1.bias ((5,) in the file, (4,) in the model); "
        "build the model as the checkpoint was trained, or choose another checkpoint"
    )
    assert all(torch.equal(tensor, before[name]) for name, tensor in target.state_dict().items())


def test_a_long_list_of_mismatches_is_cut_and_counted() -> None:
    target = nn.Sequential(*(nn.Linear(1, 1) for _ in range(6)))
    with pytest.raises(InputError, match=r"12 missing: 0\.weight, 0\.bias, 1\.weight, 1\.bias and 8 more; 1 left"):
        load_weights(target, {"other": torch.zeros(1)})


def test_a_part_that_the_checkpoint_lacks_is_named() -> None:
    given = {"shot_encoder.conv1.weight": torch.zeros(1), "loss.head_nce.model.0.bias": torch.zeros(1)}
    with pytest.raises(InputError, match=r"holds nothing called crn\.\*, only shot_encoder\.conv1, loss\.head_nce"):
        load_weights(nn.Linear(2, 2), given, prefix="crn.")


def test_buffers_without_a_learned_value_may_be_there_or_not() -> None:
    source = nn.BatchNorm2d(2)
    given = {name: tensor for name, tensor in stored(source).items() if name != "num_batches_tracked"}
    given |= {
        "pos_ids": torch.arange(18),
        "attention_mask": torch.ones(1, 1, 1, 18),
        "position_ids": torch.ones(1),
    }
    assert load_weights(nn.BatchNorm2d(2), given) == []
    given["num_batches_tracked"] = torch.tensor(7)
    target = nn.BatchNorm2d(2)
    assert load_weights(target, given) == []
    assert target.num_batches_tracked == 7
    given["num_batches_tracked"] = torch.zeros(3)
    assert load_weights(nn.BatchNorm2d(2), given) == []
    assert len(given) == 8


@pytest.mark.parametrize("absent", ["predictions.bias", "predictions.decoder.bias", "neither"])
def test_a_parameter_with_two_names_is_given_by_either(absent: str) -> None:
    source, target = MSMHead(4, 3), MSMHead(4, 3)
    nn.init.normal_(source.predictions.bias)
    given = {name: tensor for name, tensor in stored(source, "loss.head_msm.").items() if not name.endswith(absent)}
    load_weights(target, given, prefix="loss.head_msm.")
    assert torch.equal(target.predictions.decoder.bias, source.predictions.bias)
    without_both = {name: tensor for name, tensor in given.items() if not name.endswith("r.bias")}
    without_both.pop("loss.head_msm.predictions.bias", None)
    with pytest.raises(InputError, match=r"2 missing: predictions\.bias, predictions\.decoder\.bias"):
        load_weights(target, without_both, prefix="loss.head_msm.")


def test_weights_in_half_precision_load_into_32_bit(tmp_path: Path) -> None:
    source, target = nn.Linear(2, 3), nn.Linear(2, 3)
    load_weights(target, {name: tensor.half() for name, tensor in stored(source).items()})
    assert target.weight.dtype == torch.float32
    torch.testing.assert_close(target.weight, source.weight, rtol=1e-3, atol=1e-3)


def test_reading_and_loading_leave_the_file_as_it_was(tmp_path: Path) -> None:
    file = save(tmp_path, {"state_dict": stored(nn.Linear(2, 3), "enc.")})
    before = file.read_bytes()
    target = nn.Linear(2, 3)
    load_weights(target, read_checkpoint(file).state_dict, prefix="enc.", source=file)
    nn.init.zeros_(target.weight)
    assert file.read_bytes() == before
    assert json.dumps(read_checkpoint(file).metadata) == "{}"

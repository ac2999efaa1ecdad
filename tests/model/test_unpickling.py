"""Files that name other libraries' classes: what they hold comes through, nothing they name is run."""

from __future__ import annotations

import argparse
import builtins
import os
import pickle
import zipfile
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from pytorch_lightning.callbacks import EarlyStopping, ModelCheckpoint
from pytorch_lightning.utilities.parsing import AttributeDict

from bassl.errors import InputError
from bassl.model.checkpoint import read_checkpoint
from bassl.model.unpickling import RefusedGlobal, StandIn, load_restricted, plain


def lightning_1_3(**hyper_parameters: Any) -> dict[str, Any]:
    """A checkpoint as Lightning 1.3 wrote it: callback states under the callback classes."""
    return {
        "epoch": 9,
        "global_step": 1230,
        "pytorch-lightning_version": "1.3.8",
        "state_dict": OrderedDict(weight=torch.arange(6.0).reshape(2, 3), count=torch.tensor(7)),
        "callbacks": {
            ModelCheckpoint: {
                "best_model_score": torch.tensor(0.5),
                "dirpath": "ckpt",
                "current_score": None,
            },
            EarlyStopping: {"wait_count": 3, "patience": 2**40},
        },
        "optimizer_states": [{"state": {0: {"momentum_buffer": torch.ones(2)}}, "param_groups": [{"lr": 0.3}]}],
        "hyper_parameters": hyper_parameters,
    }


def with_pickle(path: Path, stream: bytes) -> Path:
    """A file of `torch.save` at path whose pickle is the given stream."""
    torch.save({}, path)
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in records.items():
            archive.writestr(name, stream if name.endswith("/data.pkl") else content)
    return path


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_of_lightning_1_3_is_read_in_plain_containers(tmp_path: Path, zipped: bool) -> None:
    file = tmp_path / "model-v1.ckpt"
    torch.save(lightning_1_3(), file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(file, weights_only=True)
    checkpoint = read_checkpoint(file)
    assert torch.equal(checkpoint.state_dict["weight"], torch.arange(6.0).reshape(2, 3))
    assert torch.equal(checkpoint.state_dict["count"], torch.tensor(7))
    assert (checkpoint.epoch, checkpoint.global_step) == (9, 1230)
    callbacks = checkpoint.metadata["callbacks"]
    assert list(callbacks) == [
        "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
        "pytorch_lightning.callbacks.early_stopping.EarlyStopping",
    ]
    assert list(callbacks.values())[1] == {"wait_count": 3, "patience": 2**40}
    momentum = checkpoint.metadata["optimizer_states"][0]["state"][0]["momentum_buffer"]
    assert torch.equal(momentum, torch.ones(2))


TREE = {"MODEL": {"depth": 50, "names": ["a", "b"], "none": None}, "lr": 0.3, "on": True}


@pytest.mark.parametrize(
    "wrapped",
    [
        OmegaConf.create(TREE),
        AttributeDict(TREE),
        argparse.Namespace(**TREE),
        defaultdict(dict, TREE),
        AttributeDict(MODEL=OmegaConf.create(TREE["MODEL"]), lr=0.3, on=True),
    ],
    ids=lambda value: type(value).__name__,
)
def test_hyper_parameters_in_classes_of_their_own_become_plain(tmp_path: Path, wrapped: Any) -> None:
    file = tmp_path / "model.ckpt"
    torch.save(lightning_1_3(config=wrapped), file)
    read = read_checkpoint(file).hyper_parameters["config"]
    assert read == TREE
    assert type(read) is dict
    assert type(read["MODEL"]) is dict


def test_other_values_of_hyper_parameters_come_through(tmp_path: Path) -> None:
    given = {
        "folder": Path("/data/movienet"),
        "numbers": {1, 2},
        "frozen": frozenset([3]),
        "raw": b"\xff\x00",
        "score": np.float64(0.5),
        "size": torch.Size([2, 3]),
        "dtype": torch.float16,
        "empty": AttributeDict(),
        "parameter": torch.nn.Parameter(torch.ones(1)),
    }
    torch.save(lightning_1_3(**given), tmp_path / "model.ckpt")
    read = read_checkpoint(tmp_path / "model.ckpt").hyper_parameters
    assert list(read) == list(given)
    assert read.pop("folder") == "/data/movienet"
    assert read.pop("score") in ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
    assert read.pop("empty") == {}
    assert read == {name: given[name] for name in read}


class Attack:
    """Pickles as a call of the function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file that every attack below would make."""
    return tmp_path / "victim"


def attacks(victim: Path) -> dict[str, Attack]:
    code = f"open({str(victim)!r}, 'w')"
    return {
        "posix.system": Attack(os.system, f"touch {victim}"),
        "__builtin__.eval": Attack(builtins.eval, code),
        "__builtin__.exec": Attack(builtins.exec, code),
        "io.open": Attack(open, str(victim), "w"),
        "__builtin__.getattr": Attack(getattr, victim, "touch"),
        "torch.serialization.load": Attack(torch.load, str(victim)),
        "pathlib.Path.touch": Attack(Path.touch, victim),
    }


NAMES = (
    "posix.system",
    "__builtin__.eval",
    "__builtin__.exec",
    "io.open",
    "__builtin__.getattr",
    "torch.serialization.load",
)


def test_the_attacks_are_real(victim: Path) -> None:
    torch.save(lightning_1_3(x=attacks(victim)["posix.system"]), victim.with_suffix(".ckpt"))
    assert not victim.exists()
    torch.load(victim.with_suffix(".ckpt"), weights_only=False)
    assert victim.exists()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_calls_code_is_refused_by_name_and_runs_nothing(
    tmp_path: Path, victim: Path, name: str, zipped: bool
) -> None:
    file = tmp_path / "model.ckpt"
    torch.save(lightning_1_3(x=attacks(victim)[name]), file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=f"was not loaded: the file names {name}, .*ask its author") as refused:
        read_checkpoint(file)
    assert str(file) in str(refused.value)
    assert not victim.exists()


def test_a_bound_method_is_refused_by_the_call_it_needs(tmp_path: Path, victim: Path) -> None:
    torch.save(lightning_1_3(x=attacks(victim)["pathlib.Path.touch"]), tmp_path / "model.ckpt")
    with pytest.raises(InputError, match=r"names __builtin__\.getattr"):
        read_checkpoint(tmp_path / "model.ckpt")
    assert not victim.exists()


def call(module: str, name: str, argument: str, protocol: int = 2) -> bytes:
    """A pickle that calls module.name(argument), also for names that Python's own pickler never writes."""

    def text(value: str) -> bytes:
        return b"X" + len(value).to_bytes(4, "little") + value.encode()

    looked_up = text(module) + text(name) + b"\x93" if protocol == 4 else f"c{module}\n{name}\n".encode()
    return b"\x80" + bytes([protocol]) + looked_up + text(argument) + b"\x85R."


@pytest.mark.parametrize(
    ("module", "name", "protocol"),
    [
        ("pytorch_lightning", "os.system", 4),
        ("pytorch_lightning.os", "system", 2),
        ("pytorch_lightning.trainer.trainer.os", "system", 4),
        ("omegaconf", "OmegaConf.register_new_resolver", 4),
        ("posix", "system", 2),
        ("nt", "system", 2),
        ("subprocess", "getoutput", 4),
        ("collections", "namedtuple", 2),
        ("torch", "load", 2),
        ("torch.hub", "load", 2),
        ("bassl.files", "write_atomically", 2),
    ],
)
def test_no_chain_of_names_reaches_code(tmp_path: Path, victim: Path, module: str, name: str, protocol: int) -> None:
    file = with_pickle(tmp_path / "model.ckpt", call(module, name, f"touch {victim}", protocol))
    with pytest.raises(InputError, match=f"the file names {module}.{name}"):
        read_checkpoint(file)
    assert not victim.exists()


def test_a_name_of_a_known_library_is_never_the_thing_itself(tmp_path: Path, victim: Path) -> None:
    stream = call("pytorch_lightning.utilities.cloud_io", "load", str(victim))
    made = load_restricted(with_pickle(tmp_path / "model.ckpt", stream))
    assert isinstance(made, StandIn)
    assert made.arguments == (str(victim),)
    assert plain(made) == "pytorch_lightning.utilities.cloud_io.load"


def test_no_file_can_change_a_function_of_torch(tmp_path: Path) -> None:
    build = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nN}X\x01\x00\x00\x00aK\x01s\x86b."
    file = with_pickle(tmp_path / "model.ckpt", build)
    with pytest.raises(pickle.UnpicklingError, match="change a function"):
        load_restricted(file)
    with pytest.raises(InputError, match="cannot be read"):
        read_checkpoint(file)


def test_no_file_can_change_a_stand_in_class(tmp_path: Path) -> None:
    build = b"\x80\x02cpytorch_lightning\nTrainer\nN}X\x01\x00\x00\x00aK\x01s\x86b."
    with pytest.raises(InputError, match="cannot be read"):
        read_checkpoint(with_pickle(tmp_path / "model.ckpt", build))
    assert not hasattr(StandIn, "a")


def test_bytes_can_only_be_made_of_latin_1(tmp_path: Path) -> None:
    stream = b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R."
    with pytest.raises(RefusedGlobal, match="rot13"):
        load_restricted(with_pickle(tmp_path / "model.ckpt", stream))


def test_a_torchscript_archive_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.ckpt"
    torch.save(lightning_1_3(), file)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("model/constants.pkl", b"\x80\x02).")
    with pytest.raises(InputError, match=r"cannot be read as a checkpoint .*TorchScript"):
        read_checkpoint(file)

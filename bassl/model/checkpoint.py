"""Checkpoints: find one, read it safely, say what model it holds, load its weights strictly.

Reads our own files, the published ones of the reference (Lightning 1.3, `model-v1.ckpt` beside a
`config.json`) and bare state dicts.
"""

from __future__ import annotations

import json
import logging
import pickle
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bassl.errors import InputError
from bassl.files import sha256_of
from bassl.model.checkpoint_names import NAMES
from bassl.model.unpickling import RefusedGlobal, load_restricted, plain

logger = logging.getLogger(__name__)

TOLERATED = frozenset({"num_batches_tracked", "pos_ids", "attention_mask", "position_ids"})
"""Buffers without a learned value: a checkpoint may hold or lack them, whatever the model does."""


@dataclass(frozen=True)
class Checkpoint:
    """What a checkpoint file holds.

    Attributes:
        path: the file.
        state_dict: name -> tensor on the CPU, mapped from the file where its format allows: copy, don't edit.
        hyper_parameters: what Lightning saved of the module's arguments; empty if nothing.
        config: the tree of `config.json` beside the file, None without one.
        epoch, global_step: of the training, None where the file does not say.
        metadata: everything else in the file (optimiser states, callbacks, ...) in plain containers.
    """

    path: Path
    state_dict: dict[str, Tensor] = field(repr=False)
    hyper_parameters: dict[str, Any] = field(default_factory=dict, repr=False)
    config: dict[str, Any] | None = field(default=None, repr=False)
    epoch: int | None = None
    global_step: int | None = None
    metadata: dict[str, Any] = field(default_factory=dict, repr=False)

    @cached_property
    def sha256(self) -> str:
        """Hash of the whole file, 64 hex digits; read once."""
        return sha256_of(self.path)

    @cached_property
    def unused(self) -> set[str]:
        """Names of the tensors that no part of a model was loaded from so far; whoever loads one takes them out."""
        return {name for name in self.state_dict if not _tolerated(name)}


def find_checkpoint(folder_or_file: Path) -> Path:
    """The checkpoint file itself, or the one that a folder holds: by NAMES, else its only `*.ckpt`.

    Raises:
        InputError: none there, or several of which none has a known name.
    """
    where = Path(folder_or_file)
    if where.is_file():
        return where
    for name in NAMES:
        if (where / name).is_file():
            return where / name
    found = sorted(path for path in where.glob("*.ckpt") if not path.name.startswith("."))
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(
            f"{where} holds {len(found)} checkpoints, none of them called {' or '.join(NAMES)}: "
            f"{_some([path.name for path in found])}; name the file instead of the folder"
        )
    raise InputError(f"no checkpoint at {where}: {_what_lies_there(where)}; {_how_to_get(where)}")


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint file, or the one that a folder holds, and run nothing that it names.

    Raises:
        InputError: no such file, a damaged one, one without tensors, or one that names code to run.
    """
    path = find_checkpoint(path)
    content = _read(path)
    if not isinstance(content, Mapping):
        raise InputError(f"{path} is no checkpoint: it holds a {type(content).__name__}; choose another file")
    content = dict(content)
    state_dict = content.pop("state_dict", None)
    if state_dict is None:
        state_dict, content = content, {}
    if not isinstance(state_dict, Mapping):
        raise InputError(f"the state_dict in {path} is a {type(state_dict).__name__}; choose a file with named tensors")
    wrong = [str(name) for name, value in state_dict.items() if not isinstance(value, Tensor)]
    if wrong or not state_dict:
        raise InputError(
            f"{path} is no checkpoint of a model: "
            + (f"{_some(wrong)} in it are no tensors" if wrong else "it holds no tensors")
            + "; choose a file with a state_dict"
        )
    hyper_parameters = content.pop("hyper_parameters", None)
    return Checkpoint(
        path=path,
        state_dict=dict(state_dict),
        hyper_parameters=hyper_parameters if isinstance(hyper_parameters, dict) else {},
        config=_config_beside(path),
        epoch=content.pop("epoch", None),
        global_step=content.pop("global_step", None),
        metadata=content,
    )


def load_weights(
    module: nn.Module,
    state_dict: Mapping[str, Tensor],
    *,
    prefix: str = "",
    ignore: Sequence[str] = (),
    source: Path | str = "the checkpoint",
) -> list[str]:
    """Copy the tensors whose names start with prefix into module, all of them or none.

    Args:
        module: gets the weights; its own names are those of the state dict without prefix.
        state_dict: full names -> tensors.
        prefix: such as `crn.`; names without it are not for this module.
        ignore: beginnings of full names that are deliberately left out, such as `loss.`.
        source: what error and log lines call the state dict.

    Returns:
        The full names that were not used.

    Raises:
        InputError: names that are missing, left over, or of another shape; nothing has been copied then.
    """
    kept = {
        name[len(prefix) :]: tensor
        for name, tensor in state_dict.items()
        if name.startswith(prefix) and not name.startswith(tuple(ignore))
    }
    if all(_tolerated(name) for name in kept):
        raise InputError(
            f"{source} holds nothing called {prefix}*, only {_some(_groups(list(state_dict)))}; "
            "choose a checkpoint of a model that has it"
        )
    problems = _problems(module, kept)
    if problems:
        raise InputError(
            f"{source} is a checkpoint of another architecture than {prefix or 'the model'}: {_told(problems)}"
            "; build the model as the checkpoint was trained, or choose another checkpoint"
        )
    own = module.state_dict()
    fitting = {name: given for name, given in kept.items() if name in own and given.shape == own[name].shape}
    module.load_state_dict(fitting, strict=False)
    used = {prefix + name for name in fitting}
    return [name for name in state_dict if name not in used and not _tolerated(name)]


def tell_unused(*checkpoints: Checkpoint | None) -> None:
    """Log, once a checkpoint, what it holds and no part of the model that was built of it has taken."""
    for checkpoint in {id(given): given for given in checkpoints if given is not None}.values():
        if checkpoint.unused:
            names = [name for name in checkpoint.state_dict if name in checkpoint.unused]
            logger.info("%s: %d tensors not used: %s", checkpoint.path, len(names), _some(_groups(names)))


def refuse_other_model(module: nn.Module, stored: Checkpoint, ignore: tuple[str, ...] = ()) -> None:
    """Raise InputError unless a training run of module can go on from a checkpoint; nothing is copied.

    ignore: beginnings of names in the file that the module does not hold.
    """
    problems = _problems(
        module, {name: tensor for name, tensor in stored.state_dict.items() if not name.startswith(ignore)}
    )
    if problems:
        raise InputError(
            f"config.RESUME cannot go on from {stored.path}, which holds another model than this run's: "
            f"{_told(problems)}; set config.MODEL and config.LOSS as it was trained, or leave config.RESUME out"
        )


def _told(problems: Mapping[str, Sequence[str]]) -> str:
    return "; ".join(f"{len(names)} {kind}: {_some(names)}" for kind, names in problems.items())


def _problems(module: nn.Module, given: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """Kind of mismatch -> names, without the kinds that there are none of."""
    given = {name: tensor for name, tensor in given.items() if not _tolerated(name)}
    wanted = {name: tensor for name, tensor in module.state_dict().items() if not _tolerated(name)}
    aliases = _aliases(module)
    problems = {
        "missing": [name for name in wanted if not aliases.get(name, {name}) & given.keys()],
        "left over": [name for name in given if name not in wanted],
        "of another shape": [
            f"{name} ({tuple(tensor.shape)} in the file, {tuple(wanted[name].shape)} in the model)"
            for name, tensor in given.items()
            if name in wanted and tensor.shape != wanted[name].shape
        ],
    }
    return {kind: names for kind, names in problems.items() if names}


def _read(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is wrong becomes one error below
            return _unpickle(path)
    except RefusedGlobal as error:
        raise InputError(
            f"{path} was not loaded: {error}, which a checkpoint has no need of and which may be an attack; "
            "do not load this file elsewhere, ask its author for one that holds tensors only"
        ) from error
    except Exception as error:  # whatever a damaged file provokes in torch's reader
        raise InputError(
            f"{path} cannot be read as a checkpoint ({type(error).__name__}: {_first_line(error)}); "
            "it may be incomplete: copy or download it again"
        ) from error


def _unpickle(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError:
        return plain(load_restricted(path))


def _config_beside(path: Path) -> dict[str, Any] | None:
    file = path.with_name("config.json")
    if not file.is_file():
        return None
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{file} is not valid JSON ({error}); repair it or move it away") from error
    if not isinstance(config, dict):
        raise InputError(f"{file} holds a {type(config).__name__}, not a config tree; repair it or move it away")
    return config


def _tolerated(name: str) -> bool:
    return name.rsplit(".", 1)[-1] in TOLERATED


def _aliases(module: nn.Module) -> dict[str, set[str]]:
    """Parameter name -> all names of the same parameter (the MSM head's bias has two)."""
    names: dict[int, set[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), set()).add(name)
    return {name: group for group in names.values() for name in group}


def _groups(names: Sequence[str]) -> list[str]:
    """The names' first two levels, each once: `loss.head_nce`, `crn.encoder`."""
    return list(dict.fromkeys(".".join(name.split(".")[:2]) for name in names))


def _what_lies_there(where: Path) -> str:
    if not where.is_dir():
        return "there is no such folder" if where.suffix != ".ckpt" else "there is no such file"
    names = sorted(path.name for path in where.iterdir())
    return f"the folder holds {_some(names)}" if names else "the folder is empty"


def _how_to_get(where: Path) -> str:
    folder = where.parent if where.suffix == ".ckpt" else where
    if "finetune" in folder.parts:
        return f"run finetune/main.py with config.EXPR_NAME={folder.name} first, or give another name"
    return (
        f"run pretrain/main.py with config.EXPR_NAME={folder.name} first, or unpack an archive of the model "
        f"zoo so that {folder / 'model-v1.ckpt'} and config.json lie there"
    )


def _some(names: Sequence[str], limit: int = 4) -> str:
    shown = ", ".join(names[:limit])
    return f"{shown} and {len(names) - limit} more" if len(names) > limit else shown


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0]

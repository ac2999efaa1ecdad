"""Checkpoints: find one, read it safely, load its weights strictly.

Reads our own files, the published ones of the reference (Lightning 1.3, `model-v1.ckpt` beside a `config.json`) and
bare state dicts.
"""

from __future__ import annotations

import json
import logging
import pickle
import re
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
from bassl.model import CHECKPOINT_NAMES
from bassl.model.allowed_classes import allowed_classes, plain

log = logging.getLogger(__name__)

TOLERATED = frozenset({"num_batches_tracked", "pos_ids", "attention_mask", "position_ids"})
"""Buffers without a learned value: a checkpoint may hold or lack them, whatever the model does."""

WRAPPER_PREFIXES = ("module.", "model.")
"""Prefixes that DDP and other wrappers give to all names."""

NOT_ALLOWED = re.compile(r"GLOBAL (\S+) (?:was not an allowed|whose module)")


@dataclass(frozen=True)
class Checkpoint:
    """Content of a checkpoint file.

    Attributes:
        path: the file.
        state_dict: name -> tensor on the CPU, mapped from the file where its format allows: copy, do not edit.
        hyper_parameters: the module's arguments that Lightning saved; empty if none.
        config: the tree of `config.json` beside the file, None without one.
        epoch, global_step: of the training, None if the file does not say.
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
        """SHA-256 of the whole file, 64 hex digits; computed once."""
        return sha256_of(self.path)

    @property
    def test_transform(self) -> tuple[int, int] | None:
        """Resize and crop of key-frames in pixels, as its training recorded them; None if it did not.

        Those of the features that a fine-tuned model was trained on, else `TRANSFORM.test` of the run.
        """
        about = self.metadata.get("bassl")
        about = about if isinstance(about, Mapping) else {}
        recorded = [about.get("transform")]
        for config in (about.get("config"), self.config):
            transform = config.get("TRANSFORM") if isinstance(config, Mapping) else None
            recorded.append(transform.get("test") if isinstance(transform, Mapping) else None)  # the reference: lists
        for size in recorded:
            if isinstance(size, Mapping) and all(isinstance(size.get(name), int) for name in ("resize", "crop")):
                return size["resize"], size["crop"]
        return None

    @cached_property
    def unused(self) -> set[str]:
        """Names of the tensors that no part of a model has loaded so far."""
        return {name for name in self.state_dict if not _is_tolerated(name)}


def find_checkpoint(folder_or_file: Path) -> Path:
    """Return a checkpoint file itself, or the one in a folder: by CHECKPOINT_NAMES, else its only `*.ckpt`.

    Raises InputError if there is none, or if there are several without a known name.
    """
    path = Path(folder_or_file)
    if path.is_file():
        return path
    for name in CHECKPOINT_NAMES:
        if (path / name).is_file():
            return path / name
    candidates = sorted(file for file in path.glob("*.ckpt") if not file.name.startswith("."))
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        raise InputError(
            f"{path} holds {len(candidates)} checkpoints, none of them called {' or '.join(CHECKPOINT_NAMES)}: "
            f"{_some([file.name for file in candidates])}; name the file instead of the folder"
        )
    content = "there is no such file" if path.suffix == ".ckpt" else "there is no such folder"
    if path.is_dir():
        names = sorted(file.name for file in path.iterdir())
        content = f"the folder holds {_some(names)}" if names else "the folder is empty"
    folder = path.parent if path.suffix == ".ckpt" else path
    if "finetune" in folder.parts:
        remedy = f"run bassl finetune with config.EXPR_NAME={folder.name} first, or give another name"
    else:
        remedy = (
            f"run bassl pretrain with config.EXPR_NAME={folder.name} first, or unpack an archive of the model zoo "
            f"so that {folder / 'model-v1.ckpt'} and config.json lie there"
        )
    raise InputError(f"no checkpoint at {path}: {content}; {remedy}")


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint file, or the one in a folder, without running code that it names.

    Prefixes that a wrapper gave to all names are removed. Raises InputError if there is no such file, if it is damaged,
    if it holds no tensors or if it names a class that is not allowed.
    """
    path = find_checkpoint(path)
    content = _read(path)
    if not isinstance(content, dict):
        raise InputError(f"{path} is not a checkpoint: it holds a {type(content).__name__}; choose another file")
    state_dict = content.pop("state_dict", None)
    if state_dict is None:
        state_dict, content = content, {}
    if not isinstance(state_dict, dict):
        raise InputError(f"the state_dict in {path} is a {type(state_dict).__name__}; choose a file with named tensors")
    wrong = [str(name) for name, value in state_dict.items() if not isinstance(value, Tensor)]
    if wrong or not state_dict:
        raise InputError(
            f"{path} is not a checkpoint of a model: "
            + (f"{_some(wrong)} are not tensors" if wrong else "it holds no tensors")
            + "; choose a file with a state_dict"
        )
    hyper_parameters = content.pop("hyper_parameters", None)
    return Checkpoint(
        path=path,
        state_dict=_without_wrappers(state_dict, path),
        hyper_parameters=hyper_parameters if isinstance(hyper_parameters, dict) else {},
        config=_config_beside(path),
        epoch=content.pop("epoch", None),
        global_step=content.pop("global_step", None),
        metadata=content,
    )


def _read(path: Path) -> Any:
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(allowed_classes()):
            warnings.simplefilter("ignore")  # whatever is wrong becomes one error below
            return plain(torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path)))
    except Exception as error:  # a damaged file provokes anything in torch's reader
        if isinstance(error, pickle.UnpicklingError) and (match := NOT_ALLOWED.search(str(error))):
            raise InputError(
                f"{path} was not loaded: class {match[1]} is not on the list of allowed classes; if you trust the "
                f"file, add it with torch.serialization.add_safe_globals([{match[1]}])"
            ) from error
        reason = (str(error).strip().splitlines() or ["no message"])[0]
        raise InputError(
            f"{path} cannot be read as a checkpoint ({type(error).__name__}: {reason}); "
            "it may be incomplete: copy or download it again"
        ) from error


def _without_wrappers(state_dict: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    for prefix in WRAPPER_PREFIXES:
        if all(name.startswith(prefix) for name in state_dict):
            log.info("%s: the prefix %s of all tensors is removed", path, prefix)
            return _without_wrappers({name[len(prefix) :]: value for name, value in state_dict.items()}, path)
    return state_dict


def _config_beside(path: Path) -> dict[str, Any] | None:
    file = path.with_name("config.json")
    if not file.is_file():
        return None
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
        if not isinstance(config, dict):
            raise ValueError(f"it holds a {type(config).__name__}")
    except ValueError as error:
        raise InputError(f"{file} is not a config tree in JSON ({error}); repair it or move it away") from error
    return config


def load_weights(
    module: nn.Module,
    state_dict: Mapping[str, Tensor],
    *,
    prefix: str = "",
    ignore: Sequence[str] = (),
    source: Path | str = "the checkpoint",
) -> list[str]:
    """Copy the tensors whose names start with a prefix into a module, all of them or none.

    Args:
        module: gets the weights; its own names are those of the state dict without the prefix.
        state_dict: full names -> tensors.
        prefix: such as `crn.`; other names are not for this module.
        ignore: prefixes of full names that are deliberately left out, such as `loss.`.
        source: the state dict in error messages.

    Returns the full names that were not used. Raises InputError for names that are missing, left over or of another
    shape; nothing has been copied then.
    """
    given = {
        name[len(prefix) :]: tensor
        for name, tensor in state_dict.items()
        if name.startswith(prefix) and not name.startswith(tuple(ignore))
    }
    if all(_is_tolerated(name) for name in given):
        raise InputError(
            f"{source} holds nothing called {prefix}*, only {_some(_groups(list(state_dict)))}; "
            "choose a checkpoint of a model that has it"
        )
    if mismatches := _mismatches(module, given):
        raise InputError(
            f"{source} is a checkpoint of another architecture than {prefix or 'the model'}: {mismatches}"
            "; build the model as the checkpoint was trained, or choose another checkpoint"
        )
    own = module.state_dict()
    fitting = {name: tensor for name, tensor in given.items() if name in own and tensor.shape == own[name].shape}
    module.load_state_dict(fitting, strict=False)
    used = {prefix + name for name in fitting}
    return [name for name in state_dict if name not in used and not _is_tolerated(name)]


def log_unused_keys(*checkpoints: Checkpoint | None) -> None:
    """Log, once per checkpoint, the tensors that no part of the model has loaded."""
    for checkpoint in {id(given): given for given in checkpoints if given is not None}.values():
        if checkpoint.unused:
            names = [name for name in checkpoint.state_dict if name in checkpoint.unused]
            log.info("%s: %d tensors not used: %s", checkpoint.path, len(names), _some(_groups(names)))


def check_compatible(module: nn.Module, checkpoint: Checkpoint, ignore: tuple[str, ...] = ()) -> None:
    """Raise InputError unless a training run of a module can resume from a checkpoint; nothing is copied.

    ignore: prefixes of names in the file that the module does not hold.
    """
    given = {name: tensor for name, tensor in checkpoint.state_dict.items() if not name.startswith(ignore)}
    if mismatches := _mismatches(module, given):
        raise InputError(
            f"config.RESUME cannot resume from {checkpoint.path}, which holds another model than this run's: "
            f"{mismatches}; set config.MODEL and config.LOSS as it was trained, or leave config.RESUME out"
        )


def _mismatches(module: nn.Module, given: Mapping[str, Tensor]) -> str:
    """List the names that are missing, left over or of another shape; empty if there are none."""
    given = {name: tensor for name, tensor in given.items() if not _is_tolerated(name)}
    wanted = {name: tensor for name, tensor in module.state_dict().items() if not _is_tolerated(name)}
    aliases = _aliases(module)
    mismatches = {
        "missing": [name for name in wanted if not aliases.get(name, {name}) & given.keys()],
        "left over": [name for name in given if name not in wanted],
        "of another shape": [
            f"{name} ({tuple(tensor.shape)} in the file, {tuple(wanted[name].shape)} in the model)"
            for name, tensor in given.items()
            if name in wanted and tensor.shape != wanted[name].shape
        ],
    }
    return "; ".join(f"{len(names)} {kind}: {_some(names)}" for kind, names in mismatches.items() if names)


def _is_tolerated(name: str) -> bool:
    return name.rsplit(".", 1)[-1] in TOLERATED


def _aliases(module: nn.Module) -> dict[str, set[str]]:
    """Map the name of each parameter to all names of the same parameter (the MSM head's bias has two)."""
    names: dict[int, set[str]] = {}
    for name, parameter in module.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), set()).add(name)
    return {name: group for group in names.values() for name in group}


def _groups(names: Sequence[str]) -> list[str]:
    """Return the distinct first two levels of the names, such as `loss.head_nce` and `crn.encoder`."""
    return list(dict.fromkeys(".".join(name.split(".")[:2]) for name in names))


def _some(names: Sequence[str], limit: int = 4) -> str:
    shown = ", ".join(names[:limit])
    return f"{shown} and {len(names) - limit} more" if len(names) > limit else shown

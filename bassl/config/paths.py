"""Folders of a job: defaults, names of runs, and paths as users type them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

from bassl.config.schema import Config, Extract, Finetune, Pretrain, Run
from bassl.errors import InputError
from bassl.files import LONGEST_NAME

PACKAGE = Path(__file__).resolve().parents[1]
IS_CHECKOUT = (PACKAGE.parent / "pyproject.toml").is_file()
HOME = PACKAGE if IS_CHECKOUT else Path.cwd()
"""Where `data`, `pretrain` and `finetune` outputs go by default: the package of a checkout, else the working
directory."""
DATA = HOME / "data" / "movienet"
PRETRAINED = HOME / "pretrain" / "ckpt"


@dataclass(frozen=True)
class DataPaths:
    """Folders of a data set in MovieNet's layout."""

    root: Path
    annotations: Path
    keyframes: Path
    shots: Path


def data_paths(config: Config) -> DataPaths:
    """Return the folders of a job's data set."""
    root = expand(config.DATA_PATH, DATA)
    return DataPaths(
        root=root,
        annotations=expand(config.ANNO_PATH, root / "anno"),
        keyframes=expand(config.IMG_PATH, root / "240P_frames"),
        shots=expand(getattr(config, "SHOT_PATH", None), root / "scene318" / "shot_movie318"),
    )


def fault_options(config: Config, list_folder: Path | None) -> dict[str, Any]:
    """Return the options of `open_keyframes` for corrupt key-frames; `list_folder` gets the list of them."""
    return {
        "strict": config.DATA_FAULTS.strict,
        "max_fraction": config.DATA_FAULTS.max_share,
        "list_file": list_folder / "broken_keyframes.txt" if list_folder else None,
    }


def output_folders(config: Run, job: str, name: str) -> tuple[Path, Path]:
    """Return the folders of checkpoints and logs of a training run ("pretrain" or "finetune")."""
    name = check_name("config.EXPR_NAME", name)
    checkpoints = expand(config.CKPT_PATH, HOME / job / "ckpt")
    logs = expand(config.LOG_PATH, HOME / job / "logs")
    return checkpoints / name, logs / name


def pretrained_checkpoint(config: Extract | Finetune) -> Path | None:
    """Return the checkpoint (file or run folder) of the pre-trained model that a job reads, if any."""
    if isinstance(config, Finetune):
        key, name, root = "PRETRAINED_LOAD_FROM", config.PRETRAINED_LOAD_FROM, config.PRETRAINED_CKPT_PATH
    else:
        key, name, root = "LOAD_FROM", config.LOAD_FROM, config.CKPT_PATH
    return locate(f"config.{key}", name, expand(root, PRETRAINED)) if name else None


def evaluated_checkpoint(config: Finetune) -> Path | None:
    """Return the fine-tuned checkpoint that is evaluated; None when training, or with ZERO_SHOT."""
    if not config.LOAD_FROM:
        return None
    return locate("config.LOAD_FROM", config.LOAD_FROM, expand(config.CKPT_PATH, HOME / "finetune" / "ckpt"))


def feature_folder(config: Extract | Finetune) -> Path | None:
    """Return the feature store that a job writes or reads; None if it follows from the evaluated checkpoint."""
    checkpoint = pretrained_checkpoint(config)
    default = data_paths(config).root / "features" / store_name(checkpoint) if checkpoint else None
    return expand(config.FEATURE_PATH, default)


def run_name(config: Pretrain | Finetune) -> str:
    """Return EXPR_NAME; an evaluation without one is named after its checkpoint."""
    if isinstance(config, Pretrain):
        return config.EXPR_NAME
    evaluated = evaluated_checkpoint(config)
    if config.ZERO_SHOT:
        evaluated = pretrained_checkpoint(config) or feature_folder(config)
    is_default = config.EXPR_NAME == "devel"
    return f"{store_name(evaluated)}_evaluation" if evaluated and is_default else config.EXPR_NAME


@overload
def expand(given: str | None, default: Path) -> Path: ...
@overload
def expand(given: str | None, default: Path | None) -> Path | None: ...
def expand(given: str | None, default: Path | None) -> Path | None:
    """Return the given path, absolute and with `~` filled in, else the default."""
    return default if given is None else _home_expanded(given).resolve()


def check_name(key: str, name: str) -> str:
    """Return a name that is valid as a folder on every system; raise InputError for any other."""
    if not re.fullmatch(r"[\w][\w.+=@ -]*", name) or ".." in name or len(name.encode()) > LONGEST_NAME:
        raise InputError(
            f"{key}={name!r} cannot name a folder; use letters, digits and . _ + - only, at most {LONGEST_NAME}"
        )
    return name


def locate(key: str, name_or_path: str, root: Path) -> Path:
    """Return a run's folder below `root`, or the path itself if the value looks like one and exists."""
    given = _home_expanded(name_or_path)
    is_path = "/" in name_or_path or os.sep in name_or_path
    if given.is_absolute() or given.suffix == ".ckpt" or (is_path and os.path.exists(given)):
        return given.resolve()  # (Path.exists raises for a name that is too long)
    if is_path:
        raise InputError(f"{key}={name_or_path!r} is neither the name of a run nor an existing path")
    return root / check_name(key, name_or_path)


def store_name(checkpoint: Path) -> str:
    """Return the run's name of a located checkpoint, which names its feature store."""
    return checkpoint.parent.name if checkpoint.suffix == ".ckpt" else checkpoint.name


def _home_expanded(given: str) -> Path:
    try:
        return Path(given).expanduser()
    except RuntimeError as error:  # ~name of nobody
        raise InputError(f"the path {given!r} cannot be read: {error}") from error

"""The folders of a run: one run at a time, records of config and environment, archives of earlier runs."""

from __future__ import annotations

import importlib.metadata
import itertools
import json
import logging
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bassl import __version__
from bassl.config.paths import output_folders, run_name
from bassl.config.schema import Finetune, Pretrain
from bassl.errors import InputError
from bassl.files import lock_folder, remove_leftovers, write_json
from bassl.model import BEST, LAST
from bassl.model.checkpoint import Checkpoint, read_checkpoint

log = logging.getLogger(__name__)
RECORDS = ("config*.json", "environment*.json", "events.out.tfevents.*", "broken_keyframes.txt")
"""Files that a run adds to, and which would mix with those of an earlier run."""
PACKAGES = ("torch", "torchvision", "pytorch-lightning", "hydra-core", "omegaconf", "einops", "numpy", "pillow")
MAY_CHANGE = ("RESUME", "EXPR_NAME", "SEED")  # without a warning; `choose_seed` warns of another seed


@dataclass(frozen=True)
class RunFolder:
    """Name and folders of a run; a dry run writes to neither."""

    name: str
    checkpoints: Path
    logs: Path
    dry_run: bool


def run_folder(config: Pretrain | Finetune, *, job: str, name: str | None = None) -> RunFolder:
    """Return the folders of a training run or evaluation.

    Args:
        job: "pretrain" or "finetune".
        name: the run's name, by default that of the configuration.
    """
    name = run_name(config) if name is None else name
    checkpoints, logs = output_folders(config, job, name)
    return RunFolder(name=name, checkpoints=checkpoints, logs=logs, dry_run=config.DRY_RUN)


@contextmanager
def lock_run(run: RunFolder, *, is_writer: bool) -> Iterator[None]:
    """Hold the checkpoint folder and remove half-written files; do nothing for other ranks and in a dry run.

    Raises:
        InputError: another run is writing there.
    """
    if run.dry_run or not is_writer:
        yield
        return
    with lock_folder(run.checkpoints, f"another run is writing {run.checkpoints}; wait for it or set config.EXPR_NAME"):
        remove_leftovers(run.checkpoints)
        yield


# --- earlier runs of the same name ----------------------------------------------------------------------------------


def is_resume(run: RunFolder, resume: Path | None) -> bool:
    """Return whether a run resumes from its own last checkpoint, and so adds to the files there."""
    last = run.checkpoints / LAST
    return resume is not None and last.is_file() and last.samefile(resume)


def archive_previous_run(run: RunFolder, resume: Path | None = None) -> None:
    """Rename what a run would overwrite, except the checkpoint that it resumes from.

    Checkpoints become `earlier-<time>.ckpt`, records move to a folder `earlier-<time>`.

    Raises:
        InputError: a checkpoint there was not saved by this program; nothing has been renamed.
    """
    if is_resume(run, resume):
        return
    for path in sorted(run.checkpoints.glob("[!.]*.ckpt")):
        if _is_foreign(path):
            raise InputError(
                f"{path} was not saved by a run of this program, and this run would overwrite the config.json that "
                f"describes it; set config.EXPR_NAME to another name than {run.name}"
            )
    for path in (run.checkpoints / LAST, run.checkpoints / BEST):
        if path.is_file() and not (resume is not None and path.samefile(resume)):
            kept = _free_name(run.checkpoints, path, ".ckpt" if path.name == LAST else f"-{path.stem}.ckpt")
            path.rename(kept)
            log.info("%s of an earlier run is kept as %s (config.RESUME=true would have resumed it)", path, kept.name)
    for folder in {run.checkpoints, run.logs}:
        records = [path for pattern in RECORDS for path in sorted(folder.glob(pattern))]
        if records:
            kept = _free_name(folder, max(records, key=lambda path: path.stat().st_mtime), "")
            kept.mkdir()
            for path in records:
                path.rename(kept / path.name)
            log.info("records of an earlier run in %s are kept in %s", folder, kept.name)


def _is_foreign(path: Path) -> bool:
    """Return whether a file is a checkpoint that, unlike ours, does not describe its model."""
    try:
        return "bassl" not in read_checkpoint(path).metadata
    except InputError:
        return False


def _free_name(folder: Path, dated: Path, suffix: str) -> Path:
    """Return an unused `earlier-<time of the dated file><suffix>` below a folder."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(dated.stat().st_mtime))
    numbers = itertools.chain([""], (f"-{number}" for number in itertools.count(2)))
    names = (folder / f"earlier-{stamp}{number}{suffix}" for number in numbers)
    return next(name for name in names if not name.exists())


# --- records --------------------------------------------------------------------------------------------------------


def record_run(folder: Path, config: Mapping[str, Any], seed: int | None, data: Mapping[str, Any]) -> None:
    """Write what it takes to repeat the run: `config.json` (with the seed, if any) and `environment.json`.

    A resumed run leaves the first records and adds `config-2.json`, `environment-2.json`, and so on.
    """
    suffixes = itertools.chain([""], (f"-{part}" for part in itertools.count(2)))
    pairs = ((folder / f"config{suffix}.json", folder / f"environment{suffix}.json") for suffix in suffixes)
    config_path, environment_path = next(pair for pair in pairs if not any(path.exists() for path in pair))
    environment = {
        "bassl": __version__,
        "commit": _commit(),
        "command": sys.argv,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "data": dict(data),
    }
    write_json(config_path, dict(config) if seed is None else {**config, "SEED": seed})
    write_json(environment_path, environment)


def warn_of_changes(resumed: Checkpoint, config: Mapping[str, Any]) -> None:
    """Log, as one warning, the settings in which a run differs from the one that it resumes."""
    stored = resumed.metadata.get("bassl", {}).get("config")
    if stored is None:
        return
    before, now = dict(_flatten(stored)), dict(_flatten(config))
    changed = [
        f"config.{name} {json.dumps(before.get(name))} -> {json.dumps(now.get(name))}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name) and name.split(".")[0] not in MAY_CHANGE
    ]
    if changed:
        log.warning("settings differ from those of %s: %s", resumed.path, ", ".join(changed))


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the dotted name and the value of every leaf."""
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # for example pillow, where pillow-simd replaces it
        return None


def _commit() -> str | None:
    """Return the commit of this source tree; None for a package installed inside another repository."""
    tree = Path(__file__).resolve().parents[2]
    top = _git("rev-parse", "--show-toplevel", folder=tree)
    if top is None or Path(top).resolve() != tree:
        return None
    return _git("describe", "--always", "--dirty", "--abbrev=40", folder=tree)


def _git(*words: str, folder: Path) -> str | None:
    try:
        done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None

"""What a run writes down about itself, and in what a run that goes on differs from what is written."""

from __future__ import annotations

import importlib.metadata
import itertools
import json
import logging
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bassl import __version__
from bassl.files import write_json
from bassl.model.checkpoint import Checkpoint

log = logging.getLogger(__name__)
PACKAGES = ("torch", "torchvision", "pytorch-lightning", "hydra-core", "omegaconf", "einops", "numpy", "pillow")
EXPECTED = ("RESUME", "EXPR_NAME", "SEED")  # these may differ; of another seed `run_seed` warns


def record_run(folder: Path, config: Mapping[str, Any], seed: int | None, data: Mapping[str, Any]) -> None:
    """Write what it takes to repeat the run: `config.json` (resolved, with the seed, if any) and `environment.json`.

    Where they lie there already, of a run that this one goes on with, they stay, and its part is `config-2.json` and
    `environment-2.json`, and so on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    endings = itertools.chain([""], (f"-{part}" for part in itertools.count(2)))
    names = ((folder / f"config{ending}.json", folder / f"environment{ending}.json") for ending in endings)
    settings, surroundings = next(pair for pair in names if not any(path.exists() for path in pair))
    environment = {
        "bassl": __version__,
        "commit": _commit(),
        "command": sys.argv,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "data": dict(data),
    }
    write_json(settings, dict(config) if seed is None else {**config, "SEED": seed})
    write_json(surroundings, environment)


def warn_of_changes(stored: Checkpoint, config: Mapping[str, Any]) -> None:
    """Log, as one warning, the settings in which a run differs from the one that it goes on with."""
    before = stored.metadata.get("bassl", {}).get("config")
    if before is None:
        return
    one, two = dict(_flat(before)), dict(_flat(config))
    changed = [
        f"config.{name} {json.dumps(one.get(name))} -> {json.dumps(two.get(name))}"
        for name in sorted(one.keys() | two.keys())
        if one.get(name) != two.get(name) and name.split(".")[0] not in EXPECTED
    ]
    if changed:
        log.warning("other settings than %s was trained with: %s", stored.path, ", ".join(changed))


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names of the leaves of a tree, and their values."""
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # such as pillow where pillow-simd stands in
        return None


def _commit() -> str | None:
    """The commit of this source tree; None for an installed package, around which another repository may lie."""
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

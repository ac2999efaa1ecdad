"""Compose the configuration of a job from its YAML files and the command line, strictly.

Hydra's compose API does the composing (not `@hydra.main`, which does not get on with Lightning's relaunch of the
script for each process). What Hydra would let through, an unknown key behind `+`, is refused here with the nearest
known key, and a leading `+` in front of a known key is accepted whether or not the key has a default.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_origin, get_type_hints

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from bassl.config.schema import JOBS
from bassl.errors import InputError

FOLDER = Path(__file__).parent
GROUPS: dict[str, tuple[str, ...]] = {"pretrain": ("method",), "extract": (), "finetune": ()}


def load(job: str, overrides: Sequence[str] = ()) -> DictConfig:
    """The tree below `config.` of a job ("pretrain", "extract" or "finetune"), read-only.

    Raises InputError for a malformed override, an unknown key or group choice, and a value of the wrong type.
    """
    arguments = [_normalised(job, override) for override in _parse(overrides)]
    store = ConfigStore.instance()
    for name, kind in JOBS.items():
        store.store(name=f"{name}_keys", node={"config": kind})
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(FOLDER), version_base="1.3"):
            composed = compose(job, overrides=arguments)
        schema = OmegaConf.structured(JOBS[job])
        config = OmegaConf.merge(schema, OmegaConf.to_container(composed.config, resolve=True))
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(_first_sentence(error)) from error
    assert isinstance(config, DictConfig)
    OmegaConf.set_readonly(config, True)
    return config


def known_keys(job: str) -> dict[str, dataclasses.Field[Any]]:
    """Every key of a job by its full name, such as `config.TRAINER.max_epochs`, with its field of the schema."""
    return dict(_walk(JOBS[job], "config"))


def choices(job: str, group: str) -> list[str]:
    """What can stand behind `+<group>=`."""
    assert group in GROUPS[job], group
    return sorted(path.stem for path in (FOLDER / group).glob("*.yaml"))


def _walk(kind: Any, prefix: str) -> Iterator[tuple[str, dataclasses.Field[Any]]]:
    hints = get_type_hints(kind)
    for entry in dataclasses.fields(kind):
        name, hint = f"{prefix}.{entry.name}", hints[entry.name]
        if get_origin(hint) is dict:
            for choice, value in entry.default_factory().items():  # type: ignore[misc]
                yield from _walk(type(value), f"{name}.{choice}")
        elif dataclasses.is_dataclass(hint):
            yield from _walk(hint, name)
        else:
            yield name, entry


def _parse(overrides: Sequence[str]) -> list[Override]:
    parser = OverridesParser.create()
    parsed = []
    for text in overrides:
        if "=" not in text:
            raise InputError(f"{text!r} is no setting; write key=value, such as config.EXPR_NAME=devel")
        try:
            parsed.append(parser.parse_override(text))
        except HydraException as error:
            raise InputError(f"{text!r} cannot be read: {_first_sentence(error)}") from error
    return parsed


def _normalised(job: str, override: Override) -> str:
    name = override.key_or_group
    line = override.input_line or ""
    if override.is_delete():
        raise InputError(f"{line!r} would delete a key; set a value instead")
    if override.is_sweep_override():
        raise InputError(f"{line!r} asks for several runs; start one run per value (scripts/ablation.sh does that)")
    if name in GROUPS[job]:
        known, choice = choices(job, name), str(override.value())
        if choice.replace("+", "_") not in known:
            near = difflib.get_close_matches(choice, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(known)}"
            raise InputError(f"{name}={choice} is unknown; {hint}")
        return f"+{name}={choice.replace('+', '_')}"
    keys = known_keys(job)
    if name not in keys:
        raise InputError(_unknown(name, keys, job))
    return f"{name}={line.split('=', 1)[1]}"


def _unknown(name: str, keys: dict[str, Any], job: str) -> str:
    below = [key for key in keys if key.startswith(f"{name}.")]
    if below:
        return f"{name} holds several keys; set one of them, such as {below[0]}"
    candidates = [*keys, *GROUPS[job]]
    near = difflib.get_close_matches(name, candidates, 1, cutoff=0.6)
    if not near:  # the right last part in the wrong place, or without its prefix
        by_leaf = {key.rsplit(".", 1)[-1]: key for key in candidates}
        leaf = difflib.get_close_matches(name.rsplit(".", 1)[-1], by_leaf, 1, cutoff=0.75)
        near = [by_leaf[leaf[0]]] if leaf else []
    hint = f"did you mean {near[0]}?" if near else "--help lists every key"
    return f"unknown key {name}; {hint}"


def _first_sentence(error: Exception) -> str:
    """The cause in one line: Hydra wraps what OmegaConf said, and appends the node's address over several lines."""
    causes = [error]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)  # type: ignore[arg-type]
    said = next((cause for cause in reversed(causes) if isinstance(cause, OmegaConfBaseException)), error)
    lines = [line.strip() for line in str(said).splitlines() if line.strip()]
    where = next((line for line in lines if line.startswith("full_key:")), "").removeprefix("full_key:").strip()
    return f"{where}: {lines[0]}" if where else lines[0]

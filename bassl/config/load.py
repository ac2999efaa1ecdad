"""Compose and check the configuration of a job from its YAML files and the command line.

Hydra's compose API puts the YAML files together and its grammar reads the values. (`@hydra.main` does not work with
Lightning, which starts the script again for each process.) The keys are looked up here, because Hydra lets unknown keys
through behind `+` and cannot read those of `bassl+shotcol`.
"""

from __future__ import annotations

import copy
import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException, ValidationError

from bassl.config.checks import check_extract, check_finetune, check_pretrain
from bassl.config.reference import FOLDER, GROUPS, Key, choices, known_keys
from bassl.config.schema import JOBS, check_ranges
from bassl.errors import InputError

OVERRIDE = re.compile(r"(?P<sign>~|\+{0,2})(?P<name>[^=]*)=(?P<value>.*)", re.DOTALL)
EXPECTED = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "str": "a text",
    "list": "two numbers",
    "int | float | str": "a number from 0 to 1, or val",
}
CHECKS: dict[str, Any] = {"pretrain": check_pretrain, "extract": check_extract, "finetune": check_finetune}
SWEEP = "bassl sweep EXPERIMENT --seeds 0,1,2"


@dataclass(frozen=True)
class Override:
    """One `key=value` of a command line: `name` of a key or group, parsed `value`, and the text `typed` for it."""

    name: str
    value: Any
    typed: str


def load(job: str, overrides: Sequence[str] = (), *, recorded: Mapping[str, Any] | None = None) -> Any:
    """Return the checked configuration of a job ("pretrain", "extract" or "finetune").

    The result is a `Pretrain`, `Extract` or `Finetune` of `bassl.config.schema`. If a key is set twice, the last
    value wins, so that overrides can be appended to a command.

    Args:
        recorded: Configuration of an earlier run (its config.json) to start from instead of the YAML files.

    Raises:
        InputError: An override is malformed, a key is unknown, a value has the wrong type or is out of range, or
            values contradict each other.
    """
    given = {override.name: override for override in (parse_override(job, text) for text in overrides)}
    keys = known_keys(job)
    groups = tuple(f"+{name}={override.value}" for name, override in given.items() if name not in keys)
    try:
        composed = copy.deepcopy(_compose(job, groups))
        if recorded is not None:
            composed.merge_with({"config": dict(recorded)})
        for name, override in given.items():
            if name in keys:
                OmegaConf.update(composed, name, override.value)
        for name in OmegaConf.missing_keys(composed):
            raise InputError(f"{name}=??? is not a value; set one or leave it out")
        config = OmegaConf.to_object(composed.config)
    except (HydraException, OmegaConfBaseException) as error:
        name = str(getattr(error, "full_key", None)).split("[")[0]
        if name in given and name in keys:
            raise InputError(_describe_mismatch(given[name], keys[name], error)) from error
        raise InputError(_first_sentence(error)) from error
    assert isinstance(config, JOBS[job])
    check_ranges(config)
    CHECKS[job](config)
    return config


@cache
def _compose(job: str, groups: tuple[str, ...]) -> DictConfig:
    """Merge the YAML files of a job into its schema, which refuses unknown keys and wrong types."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(FOLDER), version_base="1.3"):
        composed = compose(job, overrides=list(groups))
    merged = OmegaConf.create({"config": JOBS[job]})
    merged.merge_with(composed)
    return merged


def parse_override(job: str, text: str) -> Override:
    """Split and parse one `key=value`; raise InputError if it is malformed or names an unknown key."""
    if text in ("-m", "--multirun"):
        raise InputError(f"{text} is an option of Hydra that is not available; run several by {SWEEP}")
    match = OVERRIDE.fullmatch(text)
    if match is None:
        raise InputError(f"{text!r} is not a setting; write key=value, such as config.EXPR_NAME=devel")
    name, typed, keys = match["name"], match["value"], known_keys(job)
    if match["sign"] == "~":
        raise InputError(f"{text!r} would delete a key; set a value instead")
    if name not in keys and name not in GROUPS[job]:
        raise InputError(_describe_unknown(name, job))
    if not typed.strip():
        raise InputError(f"{name} has no value; write {name}=<value> or leave it out")
    if name in keys:
        return Override(name, _parse_value(text, typed, is_text=keys[name].is_text), typed)
    return Override(name, _group_choice(job, name, str(_parse_value(text, typed, is_text=True))), typed)


def _parse_value(line: str, typed: str, is_text: bool) -> Any:
    """Parse a value by Hydra's grammar; text stays as typed if the grammar would read it as a number.

    Paths may hold what the grammar uses otherwise, such as `epoch=9-step=100.ckpt` or `~/movienet`.
    """
    try:
        parsed = OverridesParser.create().parse_override(f"key={typed}")
        value = parsed.value()
    except (HydraException, ValueError, RecursionError) as error:
        if is_text:
            return typed.strip()
        raise InputError(f"{line!r} cannot be read: {_first_sentence(error)}") from error
    if parsed.is_sweep_override():
        name = line.partition("=")[0].lstrip("+")
        if is_text and name.startswith("config.") and re.fullmatch(r"[^()]*,[^()]*", typed):
            raise InputError(f"{line!r} asks for several runs; if the comma is part of it, write '{name}=\"{typed}\"'")
        how = SWEEP if name == "config.SEED" else "one run per value"
        raise InputError(f"{line!r} asks for several runs; start {how}")
    return typed.strip() if is_text and isinstance(value, int | float) else value


def _group_choice(job: str, group: str, typed: str) -> str:
    """Return the file of a group; the public name `bassl+shotcol` is accepted for `bassl_shotcol`."""
    known = choices(job, group)
    if typed.replace("+", "_") in known:
        return typed.replace("+", "_")
    near = difflib.get_close_matches(typed, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(known)}"
    raise InputError(f"{group}={typed} is unknown; {hint}")


def _describe_mismatch(override: Override, key: Key, error: Exception) -> str:
    """Describe a value of the wrong type, or a reference to a missing key."""
    where = f"{override.name}={override.typed}"
    if isinstance(error, InterpolationResolutionError):
        return (
            f"{where} cannot be resolved; write ${{KEY}} for another key, ${{oc.env:NAME}} for an environment variable"
        )
    if not isinstance(error, ValidationError):
        return _first_sentence(error)
    example = "" if key.default == "null" else f", such as {key.default}"
    return f"{where}: expected {EXPECTED[key.kind]}{example}"


def _describe_unknown(name: str, job: str) -> str:
    keys = known_keys(job)
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
    """Return the cause in one line, without the address that OmegaConf appends over several lines."""
    causes: list[BaseException] = [error]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    cause = next((cause for cause in reversed(causes) if isinstance(cause, OmegaConfBaseException)), error)
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    where = next((line for line in lines if line.startswith("full_key:")), "").removeprefix("full_key:").strip()
    return f"{where}: {lines[0]}" if where else lines[0]

"""Compose the configuration of a job from its YAML files and the command line, strictly.

Hydra's compose API puts the YAML files together (not `@hydra.main`, which does not get on with Lightning's
relaunch of the script for each process) and its grammar reads the values. The keys are looked up here: Hydra
would let an unknown one through behind `+`, and could not read those of `bassl+shotcol`. A `+` in front of a
known key is accepted whether or not the key has a default.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, get_origin, get_type_hints

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException, ValidationError

from bassl.config.schema import JOBS, shown
from bassl.errors import InputError

FOLDER = Path(__file__).parent
GROUPS: dict[str, tuple[str, ...]] = {"pretrain": ("method",), "extract": (), "finetune": ("preset",)}
SETTING = re.compile(r"(?P<sign>~|\+{0,2})(?P<name>[^=]*)=(?P<value>.*)", re.DOTALL)
TEXT = ("str", "Optional[str]")
PAIR = "list[float"  # of two, all of them
EXPECTED = {
    "bool": "true or false is",
    "int": "a whole number is",
    "float": "a number is",
    "str": "a text is",
    PAIR: "two numbers are",
}
SEVERAL = "bassl sweep EXPERIMENT --seeds 0,1,2"


def load(job: str, overrides: Sequence[str] = ()) -> DictConfig:
    """The tree below `config.` of a job ("pretrain", "extract" or "finetune"), read-only.

    Of a key or group that is set twice the last counts, so that what is appended to a command wins. Raises
    InputError for a malformed override, an unknown key or group choice, and a value that is missing or of the
    wrong type.
    """
    known = known_keys(job)
    settings = {name: (value, typed) for name, value, typed in (_setting(job, known, text) for text in overrides)}
    groups = tuple(f"+{name}={value}" for name, (value, _) in settings.items() if name not in known)
    try:
        composed = copy.deepcopy(_composed(job, groups))
        for name, (value, _) in settings.items():
            if name in known:
                OmegaConf.update(composed, name, value)
        for name in OmegaConf.missing_keys(composed):
            raise InputError(f"{name}=??? is no value; give it one or leave it out")
        OmegaConf.resolve(composed)
    except (HydraException, OmegaConfBaseException) as error:
        name = str(getattr(error, "full_key", None)).split("[")[0]
        if name in settings and name in known:
            raise InputError(_misfit(name, settings[name][1], known[name], error)) from error
        raise InputError(_first_sentence(error)) from error
    config = composed.config
    assert OmegaConf.get_type(config) is JOBS[job]
    OmegaConf.set_readonly(config, True)
    return config


@cache
def _composed(job: str, groups: tuple[str, ...]) -> DictConfig:
    """What the YAML files say."""
    ConfigStore.instance().store(name=f"{job}_keys", node={"config": JOBS[job]})
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(FOLDER), version_base="1.3"):
        return compose(job, overrides=list(groups))


def known_keys(job: str) -> dict[str, dataclasses.Field[Any]]:
    """Every key of a job by its full name, such as `config.TRAINER.max_epochs`, with its schema field."""
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
            assert callable(entry.default_factory)
            for choice, value in entry.default_factory().items():
                yield from _walk(type(value), f"{name}.{choice}")
        elif dataclasses.is_dataclass(hint):
            yield from _walk(hint, name)
        else:
            yield name, entry


def _setting(job: str, known: dict[str, dataclasses.Field[Any]], text: str) -> tuple[str, Any, str]:
    """Full name and value of what was typed, and the value as typed."""
    if text in ("-m", "--multirun"):
        raise InputError(f"{text} is an option of Hydra's that is not there; {SEVERAL} runs several")
    match = SETTING.fullmatch(text)
    if match is None:
        raise InputError(f"{text!r} is no setting; write key=value, such as config.EXPR_NAME=devel")
    name = match["name"]
    if match["sign"] == "~":
        raise InputError(f"{text!r} would delete a key; set a value instead")
    if name not in known and name not in GROUPS[job]:
        raise InputError(_unknown(name, known, job))
    if not match["value"].strip():
        raise InputError(f"{name} is given no value; write {name}=<value> or leave it out")
    if name in known:
        return name, _value(text, match["value"], known[name].type in TEXT), match["value"]
    return name, _choice(job, name, str(_value(text, match["value"], True))), match["value"]


def _value(line: str, text: str, is_text: bool) -> Any:
    """What was typed, read by Hydra's grammar; a text stays as typed where that would make a number of it.

    A path may also hold what the grammar has other uses for, such as `epoch=9-step=100.ckpt` or `~/movienet`.
    """
    try:
        parsed = OverridesParser.create().parse_override(f"key={text}")
        value = parsed.value()
    except (HydraException, ValueError, RecursionError) as error:
        if is_text:
            return text.strip()
        raise InputError(f"{line!r} cannot be read: {_first_sentence(error)}") from error
    if parsed.is_sweep_override():
        name = line.partition("=")[0].lstrip("+")
        if is_text and name.startswith("config.") and re.fullmatch(r"[^()]*,[^()]*", text):
            raise InputError(
                f"{line!r} asks for several runs; where the comma is part of it, write '{name}=\"{text}\"'"
            )
        how = SEVERAL if name == "config.SEED" else "one run per value"
        raise InputError(f"{line!r} asks for several runs; start {how}")
    return text.strip() if is_text and isinstance(value, int | float) else value


def _choice(job: str, group: str, typed: str) -> str:
    """Name of the file of a group; the public name `bassl+shotcol` is accepted for its own."""
    known = choices(job, group)
    if typed.replace("+", "_") in known:
        return typed.replace("+", "_")
    near = difflib.get_close_matches(typed, known, 1)
    hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(known)}"
    raise InputError(f"{group}={typed} is unknown; {hint}")


def _misfit(name: str, typed: str, entry: dataclasses.Field[Any], error: Exception) -> str:
    """What is wrong with the value of a key: of another type, or it refers to what is not there."""
    if isinstance(error, InterpolationResolutionError):
        return (
            f"{name}={typed} cannot be filled in ({_first_sentence(error).removeprefix(f'{name}: ')}); write "
            "${config.KEY} for another key, ${oc.env:NAME} for a variable of the environment"
        )
    kind = str(entry.type).removeprefix("Optional[").rstrip("]")
    if not isinstance(error, ValidationError) or kind not in EXPECTED:
        return _first_sentence(error)
    return f"{name}={typed}: {EXPECTED[kind]} expected" + (f", such as {shown(entry)}" if kind == PAIR else "")


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

"""Find out which step a setting is for: pre-training, extraction, fine-tuning, or all that know its key."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from bassl.config.load import OVERRIDE, load
from bassl.config.reference import GROUPS, known_keys
from bassl.errors import InputError

JOBS = ("pretrain", "extract", "finetune")
ADDRESSED = re.compile(rf"(?P<job>{'|'.join(JOBS)}):(?P<override>.*)", re.DOTALL)
RESERVED = {
    "config.SEED": "--seeds",
    "config.EXPR_NAME": "rows",
    "config.LOAD_FROM": "rows",
    "config.PRETRAINED_LOAD_FROM": "rows",
    "config.CKPT_PATH": "--output",
    "config.PRETRAINED_CKPT_PATH": "--output",
    "config.LOG_PATH": "--output",
    "config.FEATURE_PATH": "--output",
    "config.RESUME": "--output",
    "config.ZERO_SHOT": "rows",
    "config.TEST.VAL_FIRST": "rows",
    "config.DRY_RUN": "--list",
}
"""Keys that the sweep sets, and what decides them."""


class Setting(NamedTuple):
    """One override of one job. name: its key, such as `config.TRAINER.max_epochs`, or group, such as `method`."""

    job: str
    name: str
    text: str


def parse_settings(texts: Iterable[str]) -> list[Setting]:
    """Parse settings as typed, each once per job that it is for.

    `pretrain:config.TRAINER.max_epochs=20` is for that job. Without a prefix a setting is for every job that knows
    the key. Keys that pre-training and fine-tuning know in a sense of their own (epochs, batch, optimiser, network)
    are those that extraction does not know; they need a prefix. Raises InputError where it is missing, and for an
    unknown or reserved key.
    """
    return [setting for text in texts for setting in _parse(text)]


def _parse(text: str) -> list[Setting]:
    addressed = ADDRESSED.fullmatch(text)
    override = addressed["override"] if addressed else text
    match = OVERRIDE.fullmatch(override)
    if match is None:
        raise InputError(f"{text!r} is not a setting; write config.KEY=VALUE, or pretrain:config.KEY=VALUE")
    name = match["name"]
    if name in RESERVED:
        raise InputError(f"{name} is set by the sweep itself; it follows from {RESERVED[name]}")
    if addressed:
        return [Setting(addressed["job"], name, override)]
    jobs = [job for job in JOBS if name in known_keys(job) or name in GROUPS[job]]
    if jobs == ["pretrain", "finetune"]:
        raise InputError(
            f"{name} is known to pre-training and to fine-tuning; write pretrain:{override}, finetune:..., or both"
        )
    if not jobs:
        load("pretrain", [override])  # raises with the nearest key
    return [Setting(job, name, override) for job in jobs]


def overrides_of(job: str, *layers: Sequence[Setting]) -> tuple[str, ...]:
    """Return a job's overrides from layers of settings; the last layer that sets a key wins."""
    last = {setting.name: setting.text for layer in layers for setting in layer if setting.job == job}
    return tuple(last.values())

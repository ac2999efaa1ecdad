"""Whom a setting is for: pre-training, extraction, fine-tuning, or all that know its key."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from bassl.config.load import OVERRIDE as SETTING
from bassl.config.load import load
from bassl.config.reference import GROUPS, known_keys
from bassl.errors import InputError

JOBS = ("pretrain", "extract", "finetune")
ADDRESSED = re.compile(rf"(?P<job>{'|'.join(JOBS)}):(?P<setting>.*)", re.DOTALL)
OWN = {
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
"""Keys that the sweep sets, and what decides them instead."""


class Setting(NamedTuple):
    """One override for one job. name: its key, such as `config.TRAINER.max_epochs`, or group (`method`)."""

    job: str
    name: str
    text: str


def parse(text: str) -> list[Setting]:
    """A setting as typed, once for every job that it is for.

    `pretrain:config.TRAINER.max_epochs=20` is for that job alone. Without a prefix it is for every job that
    knows the key; where pre-training and fine-tuning both know it, each in its own sense (which is what
    extraction not knowing it tells: epochs, batch, optimiser, network), it has to have one. Raises InputError
    for that, for an unknown key, and for one that the sweep sets itself.
    """
    addressed = ADDRESSED.fullmatch(text)
    given = addressed["setting"] if addressed else text
    match = SETTING.fullmatch(given)
    if match is None:
        raise InputError(f"{text!r} is no setting; write config.KEY=VALUE, or pretrain:config.KEY=VALUE")
    name = match["name"]
    if name in OWN:
        raise InputError(f"{name} is set by the sweep itself; it follows from {OWN[name]}")
    if addressed:
        return [Setting(addressed["job"], name, given)]
    jobs = [job for job in JOBS if name in known_keys(job) or name in GROUPS[job]]
    if jobs == ["pretrain", "finetune"]:
        raise InputError(
            f"{name} is known to pre-training and to fine-tuning; write pretrain:{given}, finetune:..., or both"
        )
    if not jobs:
        load("pretrain", [given])  # says what is wrong with it
    return [Setting(job, name, given) for job in jobs]


def parse_all(texts: Iterable[str]) -> list[Setting]:
    """`parse` of several."""
    return [setting for text in texts for setting in parse(text)]


def of_job(job: str, *layers: Sequence[Setting]) -> tuple[str, ...]:
    """What a job is told by layers of settings; of a key that several set, the last counts and stays in its
    place."""
    last = {setting.name: setting.text for layer in layers for setting in layer if setting.job == job}
    return tuple(last.values())

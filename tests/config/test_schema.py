"""Every key has a meaning and is read: another value of it gives another plan, or is refused by name."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from bassl.config.resolve import resolve_extract, resolve_finetune, resolve_pretrain
from omegaconf import DictConfig, OmegaConf

from bassl.config.load import known_keys, load
from bassl.config.schema import JOBS, shown
from bassl.errors import InputError

RESOLVERS = {"pretrain": resolve_pretrain, "extract": resolve_extract, "finetune": resolve_finetune}
AT_LEAST = {"pretrain": 84, "extract": 21, "finetune": 57}
BASES: dict[str, list[str]] = {
    "pretrain": [],
    "extract": ["config.LOAD_FROM=bassl"],
    "finetune": ["config.PRETRAINED_LOAD_FROM=bassl"],
}

# Another value for keys where any other of the type would not do.
OTHERS = {
    "accelerator": "cpu",
    "precision": "bf16",
    "RESUME": "true",
    "FEATURE_DTYPE": "float16",
    "SPLIT": "test",
    "SELECT_ON": "val",
    "UNCERTAIN_LABEL": "masked",
    "pooling_method": "cls",
    "depth": "18",
    "resize": "300",
    "crop": "128",
    "scale": "[0.5,1]",
    "ratio": "[1,2]",
    "blur_sigma": "[1,2]",
    "enabled": "false",
    "transfer": "false",
    "max_steps": "7",
    "gradient_clip_val": "7",
    "limit_train_batches": "7",
    "limit_val_batches": "7",
    "checkpoint_every_n_steps": "7",
    "checkpoint_every_n_minutes": "7",
    "SEED": "7",
    "config.LOSS.sampling_method.name": "shotcol",
    "config.MODEL.contextual_relation_network.name": "lstm",
    "config.TRAIN.OPTIMIZER.name": {"pretrain": "sgd", "finetune": "adamw"},
}

# What else has to be set for a key to matter.
CONTEXT = {
    "config.LOSS.simclr.enabled": ["+method=shotcol"],
    "config.LOSS.simclr.temperature": ["+method=shotcol"],
    "config.LOSS.sampling_method.params.bassl+shotcol": ["+method=bassl_shotcol"],
    "config.LOSS.sampling_method.params.shotcol": ["+method=shotcol"],
    "config.LOSS.sampling_method.params.temporal": ["+method=temporal"],
    "config.LOSS.sampling_method.params.instance": ["+method=instance"],
}


def other_value(job: str, key: str, default: Any) -> str:
    """A valid value that is not the default, as one types it."""
    chosen = OTHERS.get(key) or OTHERS.get(key.rsplit(".", 1)[-1])
    if chosen is not None:
        return chosen[job] if isinstance(chosen, dict) else chosen
    if isinstance(default, bool):
        return str(not default).lower()
    if isinstance(default, int):
        return str(2 * default)
    if isinstance(default, float):
        return str(default / 2 if default else 0.25)
    return "/other" if key.endswith("_PATH") else "other"


def context_of(key: str) -> list[str]:
    return next((extra for start, extra in CONTEXT.items() if key == start or key.startswith(f"{start}.")), [])


def every_key() -> list[tuple[str, str]]:
    return [(job, key) for job in JOBS for key in known_keys(job)]


def test_all_keys_are_walked() -> None:
    assert AT_LEAST.keys() == JOBS.keys()
    assert all(len(known_keys(job)) >= number for job, number in AT_LEAST.items())
    assert len(every_key()) == len(set(every_key())) >= sum(AT_LEAST.values())


def test_every_key_has_a_type_and_a_meaning() -> None:
    for job, key in every_key():
        entry = known_keys(job)[key]
        meaning = entry.metadata["meaning"]
        assert len(meaning) >= 6
        assert meaning == meaning.strip()
        assert not meaning.endswith(".")
        assert "\n" not in meaning
        assert entry.type


@pytest.mark.parametrize(("job", "key"), every_key())
def test_every_key_is_read(job: str, key: str) -> None:
    base = loaded(job, *BASES[job], *context_of(key))
    value = other_value(job, key, known_keys(job)[key].default)
    setting = f"{key.removeprefix('config.')}={value}"
    changed = OmegaConf.merge(base, OmegaConf.from_dotlist([setting]))
    assert changed != base
    try:
        assert RESOLVERS[job](changed) != RESOLVERS[job](base), f"{setting} changes nothing"
    except InputError as refusal:
        assert str(refusal).startswith(f"config.{setting}")  # noqa: PT017


@cache
def loaded(job: str, *overrides: str) -> DictConfig:
    """The configuration of a command line, made once."""
    return load(job, overrides)


def test_defaults_are_shown_as_one_would_type_them() -> None:
    keys = known_keys("pretrain")
    assert shown(keys["config.SEED"]) == "unset"
    assert shown(keys["config.DRY_RUN"]) == "false"
    assert shown(keys["config.TRANSFORM.train.scale"]) == "[0.14,1.0]"
    assert shown(keys["config.TRAIN.OPTIMIZER.weight_decay"]) == "1e-06"
    for job in JOBS:
        expected = load(job)
        typed = [f"{key}={shown(entry)}" for key, entry in known_keys(job).items() if shown(entry) != "unset"]
        assert load(job, typed) == expected

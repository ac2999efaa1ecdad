from __future__ import annotations

import pytest

from bassl.config.reference import known_keys
from bassl.errors import InputError
from bassl.sweep.settings import JOBS, RESERVED, Setting, overrides_of, parse_settings


@pytest.mark.parametrize(("text", "jobs"), [
    ("config.DATA_PATH=films", ["pretrain", "extract", "finetune"]),
    ("config.TRANSFORM.test.crop=64", ["pretrain", "extract", "finetune"]),
    ("config.SHOT_PATH=films", ["extract", "finetune"]),
    ("config.TRANSFORM.size=64", ["pretrain"]),
    ("+method=bassl", ["pretrain"]),
    ("+preset=small_data", ["finetune"]),
    ("config.MODEL.scorer=similarity", ["finetune"]),
])  # fmt: skip
def test_a_setting_is_for_every_step_that_knows_its_key(text: str, jobs: list[str]) -> None:
    found = parse_settings([text])
    assert [setting.job for setting in found] == jobs
    assert {setting.text for setting in found} == {text}


@pytest.mark.parametrize("job", JOBS)
def test_a_prefix_addresses_one_step(job: str) -> None:
    assert parse_settings([f"{job}:config.TRAINER.precision=32"]) == [
        Setting(job, "config.TRAINER.precision", "config.TRAINER.precision=32")
    ]


@pytest.mark.parametrize("key", ["config.TRAINER.max_epochs", "config.TRAIN.OPTIMIZER.lr.base_lr",
                                 "config.TRAIN.BATCH_SIZE.effective_batch_size", "config.TEST.VAL_FREQ"])  # fmt: skip
def test_a_key_with_two_meanings_needs_a_prefix(key: str) -> None:
    with pytest.raises(InputError, match=f"write pretrain:{key}=1, finetune:"):
        parse_settings([f"{key}=1"])
    assert [setting.job for setting in parse_settings([f"finetune:{key}=1"])] == ["finetune"]


@pytest.mark.parametrize("key", sorted(RESERVED))
def test_a_reserved_key_is_refused_in_every_spelling(key: str) -> None:
    assert any(key in known_keys(job) for job in JOBS)
    for text in (f"{key}=1", f"+{key}=1", f"finetune:{key}=1"):
        with pytest.raises(InputError, match=f"{key} is set by the sweep itself"):
            parse_settings([text])


@pytest.mark.parametrize(("text", "message"), [
    ("config.DATA_PAHT=x", "did you mean config.DATA_PATH"),
    ("fast", "is not a setting"),
    ("pretrain:fast", "is not a setting"),
])  # fmt: skip
def test_an_unknown_setting_is_one_clear_error(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_settings([text])


def test_the_last_layer_that_sets_a_key_wins() -> None:
    first = parse_settings(["config.TRANSFORM.size=32", "+method=bassl", "finetune:config.TRAINER.max_epochs=1"])
    second = parse_settings(["+config.TRANSFORM.size=64", "pretrain:config.TRAINER.max_epochs=2"])
    assert overrides_of("pretrain", first, second) == (
        "+config.TRANSFORM.size=64",
        "+method=bassl",
        "config.TRAINER.max_epochs=2",
    )
    assert overrides_of("finetune", first, second) == ("config.TRAINER.max_epochs=1",)

from __future__ import annotations

import pytest

from bassl.config.load import known_keys
from bassl.errors import InputError
from bassl.sweep.settings import JOBS, OWN, Setting, of_job, parse, parse_all


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
    found = parse(text)
    assert [setting.job for setting in found] == jobs
    assert {setting.text for setting in found} == {text}


@pytest.mark.parametrize("job", JOBS)
def test_a_prefix_addresses_one_step(job: str) -> None:
    assert parse(f"{job}:config.TRAINER.precision=32") == [
        Setting(job, "config.TRAINER.precision", "config.TRAINER.precision=32")
    ]


@pytest.mark.parametrize("key", ["config.TRAINER.max_epochs", "config.TRAIN.OPTIMIZER.lr.base_lr",
                                 "config.TRAIN.BATCH_SIZE.effective_batch_size", "config.TEST.VAL_FREQ"])  # fmt: skip
def test_what_pretraining_and_fine_tuning_mean_differently_needs_a_prefix(key: str) -> None:
    with pytest.raises(InputError, match=f"write pretrain:{key}=1, finetune:"):
        parse(f"{key}=1")
    assert [setting.job for setting in parse(f"finetune:{key}=1")] == ["finetune"]


@pytest.mark.parametrize("key", sorted(OWN))
def test_what_the_sweep_sets_is_refused_wherever_it_is_a_key(key: str) -> None:
    assert any(key in known_keys(job) for job in JOBS)
    for text in (f"{key}=1", f"+{key}=1", f"finetune:{key}=1"):
        with pytest.raises(InputError, match=f"{key} is set by the sweep itself"):
            parse(text)


@pytest.mark.parametrize(("text", "message"), [
    ("config.DATA_PAHT=x", "did you mean config.DATA_PATH"),
    ("fast", "is no setting"),
    ("pretrain:fast", "is no setting"),
])  # fmt: skip
def test_an_unknown_setting_is_one_clear_error(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse(text)


def test_of_a_key_that_several_layers_set_the_last_counts() -> None:
    first = parse_all(["config.TRANSFORM.size=32", "+method=bassl", "finetune:config.TRAINER.max_epochs=1"])
    second = parse_all(["+config.TRANSFORM.size=64", "pretrain:config.TRAINER.max_epochs=2"])
    assert of_job("pretrain", first, second) == (
        "+config.TRANSFORM.size=64",
        "+method=bassl",
        "config.TRAINER.max_epochs=2",
    )
    assert of_job("finetune", first, second) == ("config.TRAINER.max_epochs=1",)

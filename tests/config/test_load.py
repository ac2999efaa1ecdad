"""From a command line to one typed configuration, or to one line that says what to type instead."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import asdict, fields, is_dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import bassl
from bassl.config.load import load
from bassl.config.reference import GROUPS, choices, known_keys, page
from bassl.config.schema import JOBS, Extract, Finetune, Pretrain
from bassl.errors import InputError

NEEDED = {"pretrain": [], "extract": ["config.LOAD_FROM=bassl"], "finetune": ["config.PRETRAINED_LOAD_FROM=bassl"]}


def loaded(job: str, *overrides: str) -> Any:
    return load(job, [*NEEDED[job], *overrides])


def refusal(job: str, *overrides: str) -> str:
    with pytest.raises(InputError) as refused:
        loaded(job, *overrides)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def schema_keys(schema: Any, prefix: str = "config") -> list[str]:
    """Full names of the keys that a dataclass declares; those below a dict end in `*`."""
    names = []
    for name, kind in get_type_hints(schema).items():
        if not is_dataclass(kind) and getattr(kind, "__origin__", None) is dict:
            names += schema_keys(kind.__args__[1], f"{prefix}.{name}.*")
        else:
            names += schema_keys(kind, f"{prefix}.{name}") if is_dataclass(kind) else [f"{prefix}.{name}"]
    return names


@pytest.mark.parametrize("job", sorted(JOBS))
def test_every_key_has_a_value_a_type_and_a_meaning(job: str) -> None:
    keys = known_keys(job)
    methods = ("bassl", "bassl+shotcol", "shotcol", "temporal", "instance")
    declared = [name.replace("*", method) for name in schema_keys(JOBS[job]) for method in methods if "*" in name]
    assert set(keys) == {*declared, *(name for name in schema_keys(JOBS[job]) if "*" not in name)}
    assert len(keys) > 20
    assert all(len(key.meaning) >= 5 and key.kind for key in keys.values())
    assert load(job, [*(f"{name}={key.default}" for name, key in keys.items()), *NEEDED[job]]) == loaded(job)


def test_every_key_is_read_by_the_package() -> None:
    package = Path(bassl.__file__).parent
    sources = [path for path in package.rglob("*.py") if path.name != "schema.py"]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    read = set(re.findall(r"\.(\w+)", text)) | set(re.findall(r'getattr\(config, "(\w+)"', text))
    assert {name.rsplit(".", 1)[-1] for job in JOBS for name in known_keys(job)} - read == set()


def test_the_defaults_are_those_of_the_paper() -> None:
    pretrain, finetune = loaded("pretrain"), loaded("finetune")
    assert (type(pretrain), type(finetune), type(loaded("extract"))) == (Pretrain, Finetune, Extract)
    optimizer = pretrain.TRAIN.OPTIMIZER
    assert (optimizer.name, optimizer.momentum, optimizer.weight_decay) == ("lars", 0.9, 1e-6)
    assert (optimizer.trust_coefficient, optimizer.eps, optimizer.scheduler.warmup) == (0.001, 1e-8, 0.1)
    assert (pretrain.TRAINER.max_epochs, finetune.TRAINER.max_epochs) == (10, 20)
    batches = [config.TRAIN.BATCH_SIZE.effective_batch_size for config in (pretrain, finetune)]
    rates = [config.TRAIN.OPTIMIZER.lr.base_lr for config in (pretrain, finetune)]
    assert (batches, rates) == ([256, 1024], [0.3, 2.5e-6])
    assert (pretrain.DISTRIBUTED.NUM_PROC_PER_NODE, finetune.DISTRIBUTED.NUM_PROC_PER_NODE) == (8, 1)
    trn = pretrain.MODEL.contextual_relation_network.params.trn
    assert asdict(trn) == asdict(finetune.MODEL.contextual_relation_network.params.trn)
    assert [getattr(trn, entry.name) for entry in fields(trn)] == [768, 2, 8, 3072, 0.1, "center"]
    assert asdict(pretrain.TRANSFORM.test) == {"resize": 256, "crop": 224}
    assert pretrain.TRANSFORM.train.scale == [0.14, 1.0]
    assert (finetune.TRAIN.OPTIMIZER.name, finetune.TEST.SELECT_ON, finetune.TEST.THRESHOLD) == ("adam", "last", 0.5)
    assert (pretrain.SEED, pretrain.DATA_PATH, pretrain.LOSS.simclr.enabled) == (None, None, None)


@pytest.mark.parametrize(("job", "group"), [(job, group) for job in sorted(GROUPS) for group in GROUPS[job]])
def test_every_file_of_a_group_is_a_choice_and_changes_the_job(job: str, group: str) -> None:
    base, names = loaded(job), choices(job, group)
    assert len(names) >= 1
    for name in names:
        assert (loaded(job, f"+{group}={name}") == base) is (name == "bassl")
    if group == "method":
        for name in names:
            chosen = loaded(job, f"+method={name}").LOSS.sampling_method.name
            assert chosen == name.replace("_", "+")
        assert loaded(job, "+method=bassl+shotcol") == loaded(job, "+method=bassl_shotcol")


@pytest.mark.parametrize("sign", ["", "+", "++"])
def test_a_value_reaches_the_configuration(sign: str) -> None:
    assert loaded("extract", f"{sign}config.SPLIT=test").SPLIT == "test"
    config = loaded("pretrain", f"{sign}config.SEED=0", f"{sign}config.TRANSFORM.train.scale=[0.5,1]")
    assert (config.SEED, config.TRANSFORM.train.scale) == (0, [0.5, 1.0])
    size = "config.LOSS.sampling_method.params.bassl+shotcol.neighbor_size"
    assert loaded("pretrain", f"{sign}{size}=3").LOSS.sampling_method.params["bassl+shotcol"].neighbor_size == 3


def test_the_last_value_of_a_key_wins_and_a_key_beats_its_group() -> None:
    assert loaded("pretrain", "+config.SEED=1", "config.SEED=2").SEED == 2
    assert loaded("pretrain", "config.SEED=2", "++config.SEED=1").SEED == 1
    name = attrgetter("LOSS.sampling_method.name")
    assert name(loaded("pretrain", "+method=bassl", "+method=shotcol")) == "shotcol"
    assert name(loaded("pretrain", "config.LOSS.sampling_method.name=temporal", "+method=shotcol")) == "temporal"


def test_one_call_leaves_nothing_for_the_next() -> None:
    before = loaded("pretrain")
    loaded("pretrain", "+method=shotcol", "config.SEED=3").TRANSFORM.train.scale.append(2)
    refusal("pretrain", "config.SEED=three")
    assert loaded("pretrain") == before


def test_an_earlier_run_is_loaded_from_what_it_recorded() -> None:
    earlier = loaded("finetune", "+preset=small_data", "config.SEED=5")
    again = load("finetune", ["config.SEED=6"], recorded=asdict(earlier))
    assert (again.SEED, earlier.SEED) == (6, 5)
    assert asdict(again) | {"SEED": 5} == asdict(earlier)
    with pytest.raises(InputError, match="NO_LONGER_A_KEY"):
        load("finetune", recorded=asdict(earlier) | {"NO_LONGER_A_KEY": 1})


def test_a_text_stays_as_it_was_typed_and_null_unsets() -> None:
    for text in ("12", "007", "1e3", "true", "nan", "a b", "/ckpt/epoch=9-step=100.ckpt", "/films (2)/a", "~/m", "ü"):
        config = loaded("pretrain", f"config.DATA_PATH={text}")
        assert text == config.DATA_PATH
    assert loaded("pretrain", "config.DATA_PATH='/a,b'").DATA_PATH == "/a,b"
    assert loaded("pretrain", "config.DATA_PATH=/a", "config.DATA_PATH=null").DATA_PATH is None


def test_a_value_may_refer_to_a_key_or_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASSL_TEST_ROOT", "/here")
    config = loaded("pretrain", "config.DATA_PATH=${oc.env:BASSL_TEST_ROOT}/m", "config.LOG_PATH=${config.DATA_PATH}/l")
    assert config.LOG_PATH == "/here/m/l"
    assert "cannot be resolved" in refusal("pretrain", "config.DATA_PATH=${config.NOPE}")


@pytest.mark.parametrize(("job", "override", "nearest"), [
    ("pretrain", "+config.LOSS.sampleing_method.name=shotcol", "config.LOSS.sampling_method.name"),
    ("pretrain", "max_epochs=3", "config.TRAINER.max_epochs"),
    ("pretrain", "+methods=bassl", "method"),
    ("finetune", "++config.PRETRAINED_LOADFROM=x", "config.PRETRAINED_LOAD_FROM"),
])  # fmt: skip
def test_an_unknown_key_names_the_nearest(job: str, override: str, nearest: str) -> None:
    name = override.split("=")[0].lstrip("+")
    assert refusal(job, override) == f"unknown key {name}; did you mean {nearest}?"


@pytest.mark.parametrize(("override", "text"), [
    ("config.SEED=abc", "config.SEED=abc: expected a whole number"),
    ("config.TRAINER.max_epochs=1.5", "config.TRAINER.max_epochs=1.5: expected a whole number, such as 10"),
    ("config.TRAINER.max_epochs=null", "expected a whole number, such as 10"),
    ("config.DRY_RUN=fasle", "expected true or false"),
    ("config.TRAIN.OPTIMIZER.lr.base_lr=fast", "expected a number, such as 0.3"),
    ("config.EXPR_NAME=[a,b]", "expected a text, such as devel"),
    ("config.TRANSFORM.train.scale=0.5", "expected two numbers, such as [0.14, 1.0]"),
    ("config.LOSS.simclr={temperature:1}", "holds several keys; set one of them, such as config.LOSS.simclr.enabled"),
    ("config.EXPR_NAME", "is not a setting"),
    ("~config.EXPR_NAME=devel", "would delete a key"),
    ("config.EXPR_NAME=", "has no value"),
    ("config.EXPR_NAME=???", "is not a value"),
    ("config.TRAINER.max_epochs=(", "cannot be read"),
    ("config.TRANSFORM.train.scale=" + "[" * 3000, "cannot be read"),
    ("config.EXPR_NAME=${config.EXPR_NAME}", "cannot be resolved"),
    ("hydra.run.dir=x", "--help lists every key"),
    ("+method=basl", "method=basl is unknown; did you mean bassl?"),
    ("+method=moco", "choose one of bassl, bassl_shotcol, instance, shotcol, temporal"),
    ("--multirun", "bassl sweep"),
    ("config.SEED=0,1", "start bassl sweep EXPERIMENT --seeds 0,1,2"),
    ("config.EXPR_NAME=a,b", "if the comma is part of it, write 'config.EXPR_NAME=\"a,b\"'"),
])  # fmt: skip
def test_what_cannot_be_read_is_refused(override: str, text: str) -> None:
    assert text in refusal("pretrain", override)


@pytest.mark.parametrize("value", ["true", "null", "[1]"])
def test_a_threshold_of_another_type_names_what_is_expected(value: str) -> None:
    assert refusal("finetune", f"config.TEST.THRESHOLD={value}") == (
        f"config.TEST.THRESHOLD={value}: expected a number from 0 to 1, or val, such as 0.5"
    )


TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
VALUES = TEXT | st.sampled_from(
    ["null", "[]", "{}", "[1,2]", "${config}", "${config.SEED}", "'a", "\\", "nan", "-1e999"]
)
SETTINGS = {
    job: st.dictionaries(st.sampled_from([*known_keys(job), *GROUPS[job]]), VALUES, min_size=1, max_size=3)
    for job in JOBS
}


@settings(max_examples=60)
@given(st.sampled_from(sorted(JOBS)).flatmap(lambda job: st.tuples(st.just(job), SETTINGS[job], st.lists(TEXT))))
def test_any_text_gives_a_configuration_or_an_input_error(typed: tuple[str, dict[str, str], list[str]]) -> None:
    job, values, arguments = typed
    with suppress(InputError):
        assert isinstance(load(job, [f"{key}={value}" for key, value in values.items()]), JOBS[job])
    if arguments:
        with pytest.raises(InputError):
            load(job, arguments)


def test_the_page_of_keys_is_up_to_date() -> None:
    document = Path(bassl.__file__).parents[1] / "docs" / "config.md"
    assert document.read_text(encoding="utf-8") == page(), "run `python -m bassl.config.reference > docs/config.md`"

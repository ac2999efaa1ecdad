from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from bassl.config.resolve import resolve_extract, resolve_finetune, resolve_pretrain
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from omegaconf.errors import ReadonlyConfigError

from bassl.config.load import GROUPS, choices, known_keys, load
from bassl.config.schema import JOBS
from bassl.errors import InputError

RESOLVERS = {"pretrain": resolve_pretrain, "extract": resolve_extract, "finetune": resolve_finetune}
NEEDED = {"pretrain": [], "extract": ["LOAD_FROM"], "finetune": ["PRETRAINED_LOAD_FROM"]}
METHODS = ["bassl", "bassl_shotcol", "instance", "shotcol", "temporal"]

# Section 8 of the specification; None is "unset".
SEED_DEFAULTS: list[tuple[str, str, Any]] = [
    ("pretrain", "config.EXPR_NAME", "devel"),
    ("pretrain", "config.TRAINER.max_epochs", 10),
    ("pretrain", "config.TRAIN.NUM_WORKERS", 8),
    ("pretrain", "config.TRAIN.BATCH_SIZE.effective_batch_size", 256),
    ("pretrain", "config.TRAIN.OPTIMIZER.lr.base_lr", 0.3),
    ("pretrain", "config.TEST.KNN_VALIDATION", True),
    ("pretrain", "config.TEST.VAL_FREQ", 1),
    ("pretrain", "config.DISTRIBUTED.NUM_NODES", 1),
    ("pretrain", "config.DISTRIBUTED.NUM_PROC_PER_NODE", 8),
    ("pretrain", "config.DRY_RUN", False),
    ("pretrain", "config.SEED", None),
    ("pretrain", "config.DATA_PATH", None),
    ("pretrain", "config.MODEL.use_sync_bn", True),
    ("pretrain", "config.MODEL.shot_encoder.resnet.depth", 50),
    ("pretrain", "config.MODEL.shot_encoder.resnet.use_imagenet_pretrained", False),
    ("pretrain", "config.MODEL.shot_encoder.resnet.params.zero_init_residual", True),
    ("pretrain", "config.MODEL.contextual_relation_network.enabled", None),
    ("pretrain", "config.MODEL.contextual_relation_network.name", "trn"),
    ("pretrain", "config.MODEL.contextual_relation_network.params.trn.hidden_size", 768),
    ("pretrain", "config.MODEL.contextual_relation_network.params.trn.num_hidden_layers", 2),
    ("pretrain", "config.MODEL.contextual_relation_network.params.trn.num_attention_heads", 8),
    ("pretrain", "config.MODEL.contextual_relation_network.params.trn.intermediate_size", 3072),
    ("pretrain", "config.MODEL.contextual_relation_network.params.trn.hidden_dropout_prob", 0.1),
    ("pretrain", "config.MODEL.contextual_relation_network.params.trn.pooling_method", "center"),
    ("pretrain", "config.LOSS.shot_scene_matching.enabled", None),
    ("pretrain", "config.LOSS.contextual_group_matching.enabled", None),
    ("pretrain", "config.LOSS.pseudo_boundary_prediction.enabled", None),
    ("pretrain", "config.LOSS.pseudo_boundary_prediction.num_neg_sample", 1),
    ("pretrain", "config.LOSS.masked_shot_modeling.enabled", None),
    ("pretrain", "config.LOSS.masked_shot_modeling.masking_prob", 0.15),
    ("pretrain", "config.LOSS.simclr.enabled", None),
    ("pretrain", "config.LOSS.simclr.temperature", 0.1),
    ("pretrain", "config.LOSS.sampling_method.name", "bassl"),
    *(
        ("pretrain", f"config.LOSS.sampling_method.params.{name}.{key}", default)
        for name in ("bassl", "bassl+shotcol", "shotcol", "temporal", "instance")
        for key, default in (("neighbor_size", 8), ("neighbor_interval", 1))
    ),
    ("extract", "config.LOAD_FROM", None),
    ("extract", "config.DATA_PATH", None),
    ("extract", "config.DISTRIBUTED.NUM_NODES", 1),
    ("extract", "config.DISTRIBUTED.NUM_PROC_PER_NODE", 1),
    ("finetune", "config.PRETRAINED_LOAD_FROM", None),
    ("finetune", "config.EXPR_NAME", "devel"),
    ("finetune", "config.TRAINER.max_epochs", 20),
    ("finetune", "config.TRAIN.NUM_WORKERS", 8),
    ("finetune", "config.TRAIN.BATCH_SIZE.effective_batch_size", 1024),
    ("finetune", "config.TRAIN.OPTIMIZER.lr.base_lr", 2.5e-6),
    ("finetune", "config.TEST.VAL_FREQ", 1),
    ("finetune", "config.DISTRIBUTED.NUM_NODES", 1),
    ("finetune", "config.DISTRIBUTED.NUM_PROC_PER_NODE", 1),
    ("finetune", "config.DRY_RUN", False),
    ("finetune", "config.SEED", None),
    ("finetune", "config.USE_RAW_SHOT", False),
]

TYPOS = [
    ("pretrain", "config.LOSS.sampleing_method.name=shotcol", "config.LOSS.sampling_method.name"),
    ("pretrain", "+config.LOSS.sampleing_method.name=shotcol", "config.LOSS.sampling_method.name"),
    ("pretrain", "++config.LOSS.sampleing_method.name=shotcol", "config.LOSS.sampling_method.name"),
    ("pretrain", "config.EXPRNAME=x", "config.EXPR_NAME"),
    ("pretrain", "+config.EXPR_NAMES=x", "config.EXPR_NAME"),
    ("pretrain", "EXPR_NAME=x", "config.EXPR_NAME"),
    ("pretrain", "max_epochs=3", "config.TRAINER.max_epochs"),
    ("pretrain", "config.trainer.max_epochs=3", "config.TRAINER.max_epochs"),
    ("pretrain", "config.TRAIN.max_epochs=3", "config.TRAINER.max_epochs"),
    ("pretrain", "config.TRAIN.BATCHSIZE.effective_batch_size=8",
     "config.TRAIN.BATCH_SIZE.effective_batch_size"),
    ("pretrain", "config.LOSS.sampling_method.params.bassl+shotcoll.neighbor_size=4",
     "config.LOSS.sampling_method.params.bassl+shotcol.neighbor_size"),
    ("pretrain", "config.EXPR_NAME@here=x", "config.EXPR_NAME"),
    ("pretrain", "+methods=bassl", "method"),
    ("extract", "+config.LOADFROM=x", "config.LOAD_FROM"),
    ("finetune", "++config.PRETRAINED_LOADFROM=x", "config.PRETRAINED_LOAD_FROM"),
    ("finetune", "config.USE_RAW_SHOTS=true", "config.USE_RAW_SHOT"),
]  # fmt: skip

WRONG_TYPES = [
    "config.SEED=abc",
    "config.SEED=1.5",
    "config.SEED=true",
    "config.TRAINER.max_epochs=ten",
    "config.TRAINER.max_epochs=null",
    "config.TRAINER.max_epochs=[1]",
    "config.TRAINER.max_epochs=1" + "0" * 5000,
    "config.DRY_RUN=perhaps",
    "config.DRY_RUN=null",
    "config.TRAIN.OPTIMIZER.lr.base_lr=fast",
    "config.TRANSFORM.train.scale=0.5",
    "config.TRANSFORM.train.scale=[a,b]",
    "config.EXPR_NAME=null",
    "config.EXPR_NAME=[a]",
    "config.EXPR_NAME={a:1}",
    "config.LOSS.shot_scene_matching.enabled=sometimes",
]

MALFORMED = [
    ("config.EXPR_NAME", "is no setting"),
    ("", "is no setting"),
    ("=3", "unknown key"),
    ("~config.EXPR_NAME=devel", "would delete a key"),
    ("config.EXPR_NAME=", "is given no value"),
    ("config.DATA_PATH= ", "is given no value"),
    ("config.EXPR_NAME=???", "is no value"),
    ("config.TRAINER.max_epochs=(", "cannot be read"),
    ("config.TRANSFORM.train.scale=" + "[" * 3000, "cannot be read"),
    ("config.EXPR_NAME=${config.EXPR_NAME}", "Recursive interpolation"),
    ("config.EXPR_NAME=${oc.env:BASSL_NO_SUCH_VARIABLE}", "BASSL_NO_SUCH_VARIABLE"),
    ("config.EXPR_NAME=${", "config.EXPR_NAME"),
    ("config.SEED=${config.EXPR_NAME}", "config.SEED"),
    ("config=3", "config holds several keys"),
    ("config.LOSS.simclr={temperature:1}", "set one of them, such as config.LOSS.simclr.enabled"),
    ("hydra.run.dir=x", "--help lists every key"),
]


def value_of(job: str, key: str, *overrides: str) -> Any:
    return OmegaConf.select(load(job, overrides), key.removeprefix("config."))


def typed(default: Any) -> str:
    return "null" if default is None else str(default)


def test_every_key_that_the_seed_spells_has_its_default() -> None:
    assert len(SEED_DEFAULTS) == 59
    configs = {job: load(job) for job in JOBS}
    for job, key, default in SEED_DEFAULTS:
        assert key in known_keys(job)
        assert OmegaConf.select(configs[job], key.removeprefix("config.")) == default


def test_a_key_may_carry_a_plus_or_two_whether_or_not_it_has_a_default() -> None:
    for job in JOBS:
        expected = load(job)
        keys = [(key, default) for name, key, default in SEED_DEFAULTS if name == job]
        assert len(keys) >= 4
        for sign in ("", "+", "++"):
            assert load(job, [f"{sign}{key}={typed(default)}" for key, default in keys]) == expected


@pytest.mark.parametrize("sign", ["", "+", "++"])
def test_a_value_reaches_the_configuration(sign: str) -> None:
    assert value_of("extract", "config.LOAD_FROM", f"{sign}config.LOAD_FROM=bassl") == "bassl"
    assert value_of("pretrain", "config.SEED", f"{sign}config.SEED=0") == 0
    scale = value_of("pretrain", "config.TRANSFORM.train.scale", f"{sign}config.TRANSFORM.train.scale=[0.5,1]")
    assert scale == [0.5, 1.0]


def test_of_two_settings_of_a_key_the_last_counts() -> None:
    for signs in (("", ""), ("+", ""), ("", "++")):
        first, second = (f"{sign}config.SEED={value}" for sign, value in zip(signs, (1, 2), strict=True))
        assert value_of("pretrain", "config.SEED", first, second) == 2
        assert value_of("pretrain", "config.SEED", second, first) == 1


def test_of_two_methods_the_last_counts_and_a_key_of_its_own_beats_both() -> None:
    name = "config.LOSS.sampling_method.name"
    assert value_of("pretrain", name, "+method=bassl", "+method=shotcol") == "shotcol"
    assert value_of("pretrain", name, f"{name}=temporal", "+method=shotcol") == "temporal"


@pytest.mark.parametrize("sign", ["+", "", "++"])
def test_every_method_file_is_a_choice(sign: str) -> None:
    assert choices("pretrain", "method") == METHODS
    for method in METHODS:
        name = value_of("pretrain", "config.LOSS.sampling_method.name", f"{sign}method={method}")
        assert name == method.replace("_", "+")
    assert load("pretrain", ["+method=bassl+shotcol"]) == load("pretrain", ["+method=bassl_shotcol"])


@pytest.mark.parametrize(("typed_method", "hint"), [
    ("basl", "did you mean bassl?"),
    ("shot_col", "did you mean shotcol?"),
    ("moco", "choose one of bassl, bassl_shotcol, instance, shotcol, temporal"),
    ("null", "choose one of"),
    ("[bassl]", "bassl"),
])  # fmt: skip
def test_an_unknown_method_is_refused_with_the_known_ones(typed_method: str, hint: str) -> None:
    with pytest.raises(InputError) as refusal:
        load("pretrain", [f"+method={typed_method}"])
    assert "is unknown" in str(refusal.value)
    assert hint in str(refusal.value)


def test_every_choice_of_every_group_makes_a_plan() -> None:
    named = [(job, group, choice) for job in JOBS for group in GROUPS[job] for choice in choices(job, group)]
    assert len(named) >= len(METHODS) + 1
    for job, group, choice in named:
        needed = [f"config.{key}=bassl" for key in NEEDED[job]]
        base, chosen = load(job, needed), load(job, [*needed, f"+{group}={choice}"])
        RESOLVERS[job](chosen)
        assert (chosen == base) is (choice == "bassl")


def test_a_group_that_the_job_has_not_is_unknown() -> None:
    for job in ("extract", "finetune"):
        with pytest.raises(InputError, match="unknown key method"):
            load(job, ["+method=bassl"])


@pytest.mark.parametrize(("job", "override", "nearest"), TYPOS)
def test_a_misspelt_key_is_answered_with_the_nearest_one(job: str, override: str, nearest: str) -> None:
    name = override.split("=")[0].lstrip("+")
    with pytest.raises(InputError) as refusal:
        load(job, [override])
    assert str(refusal.value) == f"unknown key {name}; did you mean {nearest}?"


def test_every_misspelling_of_a_key_by_one_letter_names_that_key() -> None:
    for job in JOBS:
        keys = list(known_keys(job))
        assert len(keys) >= 19
        for key in keys:
            with pytest.raises(InputError, match="did you mean") as refusal:
                load(job, [f"+{key}x=1"])
            assert str(refusal.value).endswith(f"did you mean {key}?")


@pytest.mark.parametrize("override", WRONG_TYPES)
def test_a_value_of_the_wrong_type_is_refused_by_name(override: str) -> None:
    key = override.split("=")[0]
    with pytest.raises(InputError, match=key) as refusal:
        load("pretrain", [override])
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("config.TRANSFORM.train.scale=0.5", "two numbers are expected, such as [0.14,1.0]"),
        ("config.TRANSFORM.train.scale=[0.5,a]", "two numbers are expected, such as [0.14,1.0]"),
        ("config.DRY_RUN=fasle", "true or false is expected"),
        ("config.TRAINER.max_steps=1.5", "a whole number is expected"),
        ("config.TRAIN.OPTIMIZER.lr.base_lr=much", "a number is expected"),
        ("config.DATA_PATH=[a,b]", "a text is expected"),
    ],
)
def test_a_value_of_the_wrong_type_is_answered_with_what_is_expected(setting: str, expected: str) -> None:
    with pytest.raises(InputError) as refusal:
        load("pretrain", [setting])
    assert str(refusal.value) == f"{setting}: {expected}"


@pytest.mark.parametrize("value", ["${HOME}/x", "${config.NOPE}", "${oc.env:BASSL_NOPE}"])
def test_a_reference_to_nothing_names_the_key_and_how_to_write_one(value: str) -> None:
    with pytest.raises(InputError) as refusal:
        load("pretrain", [f"config.DATA_PATH={value}"])
    assert str(refusal.value).startswith(f"config.DATA_PATH={value} cannot be filled in (")
    assert str(refusal.value).endswith("${oc.env:NAME} for a variable of the environment")


@pytest.mark.parametrize("flag", ["-m", "--multirun"])
def test_several_runs_are_the_sweeps(flag: str) -> None:
    with pytest.raises(
        InputError, match=f"{flag} is an option of Hydra's.*; bassl sweep EXPERIMENT --seeds 0,1,2 runs"
    ):
        load("pretrain", [flag, "config.SEED=0,1"])


@pytest.mark.parametrize(("override", "said"), MALFORMED)
def test_what_cannot_be_read_is_refused_in_one_line(override: str, said: str) -> None:
    with pytest.raises(InputError) as refusal:
        load("pretrain", [override])
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("values", ["a,b", "choice(a,b)", "range(3)", "glob(*)", "1,2"])
@pytest.mark.parametrize("key", ["config.EXPR_NAME", "config.SEED", "+method"])
def test_a_sweep_is_refused(key: str, values: str) -> None:
    is_comma = key == "config.EXPR_NAME" and "(" not in values
    remedy = {
        "config.EXPR_NAME": f"where the comma is part of it, write 'config.EXPR_NAME=\"{values}\"'" if is_comma else "",
        "config.SEED": "start bassl sweep EXPERIMENT --seeds 0,1,2",
    }
    with pytest.raises(InputError) as refusal:
        load("pretrain", [f"{key}={values}"])
    assert str(refusal.value).endswith(f"asks for several runs; {remedy.get(key) or 'start one run per value'}")
    if is_comma:
        assert value_of("pretrain", key, f'{key}="{values}"') == values


@pytest.mark.parametrize("text", [
    "12", "007", "1e3", "1.50", "true", "nan", "x-1", "a b", "/ckpt/epoch=9-step=100.ckpt", "/films (2)/a",
    "~/movienet", "über", "int(a)",
])  # fmt: skip
def test_a_text_stays_as_it_was_typed(text: str) -> None:
    for key in ("config.EXPR_NAME", "config.DATA_PATH", "config.RESUME"):
        assert value_of("pretrain", key, f"{key}={text}") == text


def test_quotes_of_hydra_keep_commas_and_null_unsets() -> None:
    assert value_of("pretrain", "config.DATA_PATH", "config.DATA_PATH='/a,b'") == "/a,b"
    assert value_of("pretrain", "config.DATA_PATH", "config.DATA_PATH=/a", "config.DATA_PATH=null") is None


def test_a_value_may_refer_to_another_key_and_to_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASSL_TEST_ROOT", "/somewhere")
    overrides = [
        "config.DATA_PATH=${oc.env:BASSL_TEST_ROOT}/movienet",
        "config.LOG_PATH=${config.DATA_PATH}/logs",
    ]
    assert value_of("pretrain", "config.LOG_PATH", *overrides) == "/somewhere/movienet/logs"


def test_nobody_writes_to_the_configuration() -> None:
    config = load("pretrain")
    with pytest.raises(ReadonlyConfigError):
        config.EXPR_NAME = "other"
    with pytest.raises(ReadonlyConfigError):
        config.LOSS.simclr.enabled = True


def test_one_call_leaves_nothing_for_the_next() -> None:
    before = load("pretrain")
    load("pretrain", ["+method=shotcol", "config.SEED=3"])
    with pytest.raises(InputError):
        load("pretrain", ["config.SEED=three"])
    assert load("pretrain") == before


def argument_text(**options: Any) -> st.SearchStrategy[str]:
    """What a command line can hold: any characters but NUL."""
    return st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), **options)


VALUES = st.one_of(
    argument_text(max_size=12),
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(
        ["null", "true", "[]", "{}", "[1,2]", "${config}", "${config.SEED}", "'a", "\\", "~", "~a/b", "../x"]
    ),
    st.integers(1, 400).map(lambda length: "a" * length),
)


@settings(max_examples=50)
@given(st.sampled_from(sorted(JOBS)), st.lists(argument_text(max_size=30), min_size=1, max_size=3))
def test_arguments_that_are_no_settings_raise_nothing_but_an_input_error(job: str, arguments: list[str]) -> None:
    with pytest.raises(InputError):
        load(job, arguments)


SETTINGS = {
    job: st.dictionaries(st.sampled_from([*known_keys(job), *GROUPS[job]]), VALUES, min_size=1, max_size=3)
    for job in JOBS
}


@settings(max_examples=40)
@given(st.sampled_from(sorted(JOBS)).flatmap(lambda job: st.tuples(st.just(job), SETTINGS[job])))
def test_no_value_of_any_key_raises_anything_but_an_input_error(typed: tuple[str, dict[str, str]]) -> None:
    job, values = typed
    with suppress(InputError):
        RESOLVERS[job](load(job, [f"{key}={value}" for key, value in values.items()]))

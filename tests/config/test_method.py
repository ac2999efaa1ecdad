from __future__ import annotations

import pytest
from bassl.config.plan import MethodPlan
from bassl.config.resolve import resolve_pretrain

from bassl.config.load import load
from bassl.config.method import LOSS_TERMS, METHODS, resolve_method
from bassl.errors import InputError

LOSSES = tuple(LOSS_TERMS)
CRN = "config.MODEL.contextual_relation_network.enabled"
NAME = "config.LOSS.sampling_method.name"

# method, which of ssm cgm pp msm are on; the summed terms, whether there is a CRN, sparse positions of the
# window. None: refused.
COMBINATIONS: list[tuple[str, str, str | None, bool | None, tuple[int, ...] | None]] = [
    ("bassl", "1111", "ssm cgm pp msm", True, (0, 16)),
    ("bassl", "1110", "ssm cgm pp", True, (0, 16)),
    ("bassl", "1101", "ssm cgm msm", True, (0, 16)),
    ("bassl", "1100", "ssm cgm", True, (0, 16)),
    ("bassl", "1011", "ssm pp msm", True, (0, 16)),
    ("bassl", "1010", "ssm pp", True, (0, 16)),
    ("bassl", "1001", "ssm msm", True, (0, 16)),
    ("bassl", "1000", "ssm", False, (0, 16)),
    ("bassl", "0111", "cgm pp msm", True, (0, 16)),
    ("bassl", "0110", "cgm pp", True, (0, 16)),
    ("bassl", "0101", "cgm msm", True, (0, 16)),
    ("bassl", "0100", "cgm", True, (0, 16)),
    ("bassl", "0011", "pp msm", True, (0, 16)),
    ("bassl", "0010", "pp", True, (0, 16)),
    ("bassl", "0001", "msm", True, (0, 16)),
    ("bassl", "0000", None, None, None),
    ("bassl+shotcol", "1111", "ssm shotcol cgm pp msm", True, (0, 16, 8)),
    ("bassl+shotcol", "1110", "ssm shotcol cgm pp", True, (0, 16, 8)),
    ("bassl+shotcol", "1101", "ssm shotcol cgm msm", True, (0, 16, 8)),
    ("bassl+shotcol", "1100", "ssm shotcol cgm", True, (0, 16, 8)),
    ("bassl+shotcol", "1011", "ssm shotcol pp msm", True, (0, 16, 8)),
    ("bassl+shotcol", "1010", "ssm shotcol pp", True, (0, 16, 8)),
    ("bassl+shotcol", "1001", "ssm shotcol msm", True, (0, 16, 8)),
    ("bassl+shotcol", "1000", "ssm shotcol", False, (0, 16, 8)),
    ("bassl+shotcol", "0111", "cgm pp msm", True, (0, 16, 8)),
    ("bassl+shotcol", "0110", "cgm pp", True, (0, 16, 8)),
    ("bassl+shotcol", "0101", "cgm msm", True, (0, 16, 8)),
    ("bassl+shotcol", "0100", "cgm", True, (0, 16, 8)),
    ("bassl+shotcol", "0011", "pp msm", True, (0, 16, 8)),
    ("bassl+shotcol", "0010", "pp", True, (0, 16, 8)),
    ("bassl+shotcol", "0001", "msm", True, (0, 16, 8)),
    ("bassl+shotcol", "0000", None, None, None),
]

SHOT_LEVEL = [
    # method, term, sampling, sparse positions
    ("shotcol", "shotcol", "window", (8,)),
    ("temporal", "simclr", "temporal", ()),
    ("instance", "simclr", "instance", ()),
]


def plan_of(*overrides: str) -> MethodPlan:
    return resolve_pretrain(load("pretrain", overrides)).method


def refusal_of(*overrides: str) -> str:
    with pytest.raises(InputError) as refusal:
        plan_of(*overrides)
    assert "\n" not in str(refusal.value)
    return str(refusal.value)


def switches(flags: str) -> list[str]:
    return [
        f"config.LOSS.{loss}.enabled={'true' if flag == '1' else 'false'}"
        for loss, flag in zip(LOSSES, flags, strict=True)
    ]


def test_the_table_holds_every_combination_of_the_four_losses_once() -> None:
    assert len(COMBINATIONS) == 2 * 2**4
    assert len({(method, flags) for method, flags, *_ in COMBINATIONS}) == 32
    assert len(LOSSES) == 4


@pytest.mark.parametrize(("method", "flags", "terms", "uses_crn", "sparse"), COMBINATIONS)
def test_every_combination_of_losses_resolves_as_listed(
    method: str, flags: str, terms: str | None, uses_crn: bool | None, sparse: tuple[int, ...] | None
) -> None:
    overrides = [f"{NAME}={method}", *switches(flags)]
    if terms is None:
        message = f"all four losses of {method} are off; set one config.LOSS.<loss>.enabled=true"
        assert refusal_of(*overrides) == message
        return
    config = load("pretrain", overrides)
    plan = resolve_pretrain(config)
    assert " ".join(plan.method.terms) == terms
    assert plan.method.uses_crn is uses_crn
    assert (plan.crn is not None) is uses_crn
    assert plan.method.sparse == sparse
    assert plan.method.sampling == "window"
    # the CRN may be confirmed and never contradicted
    assert resolve_method(config.LOSS, crn_enabled=uses_crn) == plan.method
    with pytest.raises(InputError) as refusal:
        resolve_method(config.LOSS, crn_enabled=not uses_crn)
    said = str(refusal.value)
    assert said.startswith(f"{CRN}={'false' if uses_crn else 'true'}, but ")
    if uses_crn:
        readers = [loss for loss, flag in zip(LOSSES[1:], flags[1:], strict=True) if flag == "1"]
        assert f"but {' and '.join(readers)} need" in said


@pytest.mark.parametrize(("method", "term", "sampling", "sparse"), SHOT_LEVEL)
def test_a_shot_level_method_has_one_loss_and_no_crn(
    method: str, term: str, sampling: str, sparse: tuple[int, ...]
) -> None:
    plan = resolve_pretrain(load("pretrain", [f"{NAME}={method}"]))
    assert plan.crn is None
    assert (plan.method.terms, plan.method.sampling, plan.method.sparse) == ((term,), sampling, sparse)


def test_a_method_group_and_the_bare_name_give_equal_plans() -> None:
    assert METHODS == ("bassl", "bassl+shotcol", "shotcol", "temporal", "instance")
    for method in METHODS:
        by_group = resolve_pretrain(load("pretrain", [f"+method={method.replace('+', '_')}"]))
        by_name = resolve_pretrain(load("pretrain", [f"{NAME}={method}"]))
        assert by_group == by_name
        assert by_group.method.name == method
    assert resolve_pretrain(load("pretrain")) == resolve_pretrain(load("pretrain", ["+method=bassl"]))


def test_losses_that_are_on_anyway_may_be_named() -> None:
    assert plan_of(*switches("1111")) == plan_of()
    assert plan_of("+method=shotcol", "config.LOSS.simclr.enabled=true") == plan_of("+method=shotcol")
    assert plan_of("+method=shotcol", *switches("0000")) == plan_of("+method=shotcol")
    assert plan_of("config.LOSS.simclr.enabled=false") == plan_of()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("method", [method for method, *_ in SHOT_LEVEL])
def test_a_boundary_loss_is_refused_in_a_shot_level_method(method: str, loss: str) -> None:
    said = refusal_of(f"+method={method}", f"config.LOSS.{loss}.enabled=true")
    assert said == (
        f"config.LOSS.{loss}.enabled=true does not go with the shot-level method {method}; leave it out, or "
        f"set {NAME}=bassl"
    )


@pytest.mark.parametrize("method", METHODS)
def test_the_contrast_of_two_views_belongs_to_the_shot_level_methods(method: str) -> None:
    boundary_aware = method.startswith("bassl")
    said = refusal_of(f"{NAME}={method}", f"config.LOSS.simclr.enabled={str(boundary_aware).lower()}")
    assert method in said
    assert "leave it out" in said


@pytest.mark.parametrize("method", [method for method, *_ in SHOT_LEVEL])
def test_a_shot_level_method_refuses_a_crn(method: str) -> None:
    overrides = [f"{NAME}={method}"]
    assert plan_of(*overrides, f"{CRN}=false") == plan_of(*overrides)
    assert refusal_of(*overrides, f"{CRN}=true").startswith(f"{CRN}=true, but no loss of this run reads the CRN")


def test_the_crn_of_bassl_may_be_confirmed_from_the_command_line() -> None:
    assert plan_of(f"{CRN}=true") == plan_of()
    assert refusal_of(f"{CRN}=false").startswith(f"{CRN}=false, but contextual_group_matching and ")


def test_an_unknown_method_is_answered_with_the_nearest() -> None:
    assert refusal_of(f"{NAME}=basl") == f"{NAME}=basl is unknown; did you mean bassl?"
    assert refusal_of(f"{NAME}=moco") == f"{NAME}=moco is unknown; choose one of {', '.join(METHODS)}"


def test_positions_follow_the_size_of_the_neighbourhood() -> None:
    params = "config.LOSS.sampling_method.params"
    small = plan_of("+method=bassl_shotcol", f"{params}.bassl+shotcol.neighbor_size=3")
    assert (small.num_shots, small.center, small.sparse) == (7, 3, (0, 6, 3))
    wide = plan_of(f"{params}.bassl.neighbor_interval=2")
    assert (wide.num_shots, wide.neighbor_interval, wide.sparse) == (17, 2, (0, 16))
    assert plan_of("+method=shotcol", f"{params}.shotcol.neighbor_size=2").sparse == (2,)


def test_the_temperature_is_that_of_the_loss_that_reads_it() -> None:
    both = ["config.LOSS.shot_scene_matching.temperature=0.2", "config.LOSS.simclr.temperature=0.3"]
    assert plan_of(*both).temperature == 0.2
    assert plan_of("+method=bassl_shotcol", *both).temperature == 0.2
    for method, *_ in SHOT_LEVEL:
        assert plan_of(f"+method={method}", *both).temperature == 0.3


REFUSED = [
    ("sampling_method.params.bassl.neighbor_size=0", "=0 must be at least 1; the paper's is 8"),
    ("sampling_method.params.bassl.neighbor_interval=0", "=0 must be at least 1"),
    ("pseudo_boundary_prediction.num_neg_sample=0", "=0 must lie between 1 and 16"),
    ("pseudo_boundary_prediction.num_neg_sample=17", "=17 must lie between 1 and 16"),
    ("masked_shot_modeling.masking_prob=1.5", "=1.5 must lie between 0 and 1"),
    ("shot_scene_matching.temperature=0", "=0.0 must be a number above 0; the paper's is 0.1"),
    ("shot_scene_matching.temperature=nan", "=nan must be a number above 0"),
    ("simclr.temperature=inf", "=inf must be a number above 0"),
]


@pytest.mark.parametrize(("override", "said"), REFUSED)
def test_a_value_that_cannot_work_is_refused_by_its_key(override: str, said: str) -> None:
    message = refusal_of(f"config.LOSS.{override}")
    assert message.startswith(f"config.LOSS.{override.split('=')[0]}")
    assert said in message

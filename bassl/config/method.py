"""What a pre-training method implies: its samples, its loss terms, and which combinations cannot work.

Every `enabled` key is unset by default and follows the method. A value that is set wins where it makes sense and is
refused, in one sentence that says what to change, where it contradicts the method (method.md, sections 4 and 8).
"""

from __future__ import annotations

import difflib

from omegaconf import DictConfig

from bassl.config.checks import at_least, positive, share
from bassl.config.plan import MethodPlan
from bassl.errors import InputError

BOUNDARY_AWARE = ("bassl", "bassl+shotcol")
SHOT_LEVEL = ("shotcol", "temporal", "instance")
METHODS = (*BOUNDARY_AWARE, *SHOT_LEVEL)
LOSS_TERMS = {
    "shot_scene_matching": "ssm",
    "contextual_group_matching": "cgm",
    "pseudo_boundary_prediction": "pp",
    "masked_shot_modeling": "msm",
}


def resolve_method(loss: DictConfig, crn_enabled: bool | None) -> MethodPlan:
    """The method plan of the `LOSS` tree; `crn_enabled` is MODEL.contextual_relation_network.enabled as given."""
    name = loss.sampling_method.name
    if name not in METHODS:
        near = difflib.get_close_matches(str(name), METHODS, 1)
        hint = f"did you mean {near[0]}?" if near else f"choose one of {', '.join(METHODS)}"
        raise InputError(f"config.LOSS.sampling_method.name={name} is unknown; {hint}")
    _check_values(loss, name)
    neighbors = loss.sampling_method.params[name]
    terms = _boundary_aware_terms(loss, name) if name in BOUNDARY_AWARE else _shot_level_terms(loss, name)
    last, center = 2 * neighbors.neighbor_size, neighbors.neighbor_size
    sparse = {"bassl": (0, last), "bassl+shotcol": (0, last, center), "shotcol": (center,)}.get(name, ())
    plan = MethodPlan(
        name=name,
        sampling=name if name in ("temporal", "instance") else "window",
        sparse=sparse,
        terms=terms,
        neighbor_size=neighbors.neighbor_size,
        neighbor_interval=neighbors.neighbor_interval,
        temperature=loss.simclr.temperature if name in SHOT_LEVEL else loss.shot_scene_matching.temperature,
        num_negatives=loss.pseudo_boundary_prediction.num_neg_sample,
        masking_probability=loss.masked_shot_modeling.masking_prob,
    )
    _check_crn(plan, crn_enabled)
    return plan


def _boundary_aware_terms(loss: DictConfig, name: str) -> tuple[str, ...]:
    if loss.simclr.enabled:
        raise InputError(
            f"config.LOSS.simclr.enabled=true does not go with {name}, which has no pair of views; leave it out, or "
            "set config.LOSS.sampling_method.name to one of shotcol, temporal, instance"
        )
    terms = [term for key, term in LOSS_TERMS.items() if loss[key].enabled is not False]
    if not terms:
        raise InputError(f"all four losses of {name} are off; set one config.LOSS.<loss>.enabled=true")
    if name == "bassl+shotcol" and "ssm" in terms:
        terms.insert(1, "shotcol")
    return tuple(terms)


def _shot_level_terms(loss: DictConfig, name: str) -> tuple[str, ...]:
    for key in LOSS_TERMS:
        if loss[key].enabled:
            raise InputError(
                f"config.LOSS.{key}.enabled=true does not go with the shot-level method {name}; leave it out, or set "
                "config.LOSS.sampling_method.name=bassl"
            )
    if loss.simclr.enabled is False:
        raise InputError(f"config.LOSS.simclr.enabled=false leaves {name} without a loss; leave it out")
    return ("shotcol",) if name == "shotcol" else ("simclr",)


def _check_crn(plan: MethodPlan, enabled: bool | None) -> None:
    key = "config.MODEL.contextual_relation_network.enabled"
    if enabled and not plan.uses_crn:
        raise InputError(
            f"{key}=true, but no loss of this run reads the CRN ({plan.name} with {', '.join(plan.terms)}); leave it "
            "out, or switch on a loss of bassl that does (contextual_group_matching, pseudo_boundary_prediction, "
            "masked_shot_modeling)"
        )
    if enabled is False and plan.uses_crn:
        readers = [key for key, term in LOSS_TERMS.items() if term in plan.terms and term != "ssm"]
        raise InputError(
            f"{key}=false, but {' and '.join(readers)} {'need' if len(readers) > 1 else 'needs'} it; leave it out or "
            "switch off what reads it"
        )


def _check_values(loss: DictConfig, name: str) -> None:
    neighbors = loss.sampling_method.params[name]
    prefix = f"config.LOSS.sampling_method.params.{name}"
    at_least(f"{prefix}.neighbor_size", neighbors.neighbor_size, 1, "; the paper's is 8")
    at_least(f"{prefix}.neighbor_interval", neighbors.neighbor_interval, 1)
    num_shots, num_negatives = 2 * neighbors.neighbor_size + 1, loss.pseudo_boundary_prediction.num_neg_sample
    if not 1 <= num_negatives < num_shots:
        raise InputError(
            f"config.LOSS.pseudo_boundary_prediction.num_neg_sample={num_negatives} must lie between 1 and "
            f"{num_shots - 1}, the other shots of the window"
        )
    share("config.LOSS.masked_shot_modeling.masking_prob", loss.masked_shot_modeling.masking_prob)
    for key in ("shot_scene_matching", "simclr"):
        positive(f"config.LOSS.{key}.temperature", loss[key].temperature, "; the paper's is 0.1")

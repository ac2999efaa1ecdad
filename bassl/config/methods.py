"""What a pre-training method implies: its samples, its loss terms, and combinations that cannot work.

Every `enabled` key is null by default and then follows the method. A value that contradicts the method is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bassl.config.schema import Pretrain, PretrainLoss, Trn
from bassl.errors import InputError

BOUNDARY_AWARE = ("bassl", "bassl+shotcol")
LOSS_TERMS = {
    "shot_scene_matching": "ssm",
    "contextual_group_matching": "cgm",
    "pseudo_boundary_prediction": "pp",
    "masked_shot_modeling": "msm",
}
"""Name of each loss term, by its configuration key."""
CRN_TERMS = frozenset({"cgm", "pp", "msm"})
CONTRASTIVE_TERMS = frozenset({"ssm", "shotcol", "simclr"})


@dataclass(frozen=True)
class Method:
    """A pre-training method with its losses.

    Attributes:
        sampling: "window" (dense window and sparse views), "instance" or "temporal" (two views).
        sparse: Positions of the window that get a second view, in the order in which the losses read them.
        terms: Loss terms that are summed: ssm, shotcol, cgm, pp, msm, simclr.
        neighbor_size: Shots on either side of the centre.
        neighbor_interval: Step between two shots of the window.
    """

    name: str
    sampling: str
    sparse: tuple[int, ...]
    terms: tuple[str, ...]
    neighbor_size: int
    neighbor_interval: int
    temperature: float

    @property
    def num_shots(self) -> int:
        """Length of the dense window in shots."""
        return 2 * self.neighbor_size + 1

    @property
    def center(self) -> int:
        """Position of the centre shot in the window, also when the window was shifted."""
        return self.neighbor_size

    @property
    def uses_crn(self) -> bool:
        """Whether a loss reads the contextual relation network."""
        return not CRN_TERMS.isdisjoint(self.terms)


def method_of(config: Pretrain) -> Method:
    """Return the method of a pre-training configuration.

    Raises:
        InputError: A loss or the CRN is switched on or off against the method.
    """
    loss = config.LOSS
    name = loss.sampling_method.name
    neighbors = loss.sampling_method.params[name]
    is_boundary_aware = name in BOUNDARY_AWARE
    last, center = 2 * neighbors.neighbor_size, neighbors.neighbor_size
    method = Method(
        name=name,
        sampling=name if name in ("temporal", "instance") else "window",
        sparse={"bassl": (0, last), "bassl+shotcol": (0, last, center), "shotcol": (0, last, center)}.get(name, ()),
        terms=_boundary_aware_terms(loss, name) if is_boundary_aware else _shot_level_terms(loss, name),
        neighbor_size=neighbors.neighbor_size,
        neighbor_interval=neighbors.neighbor_interval,
        temperature=loss.shot_scene_matching.temperature if is_boundary_aware else loss.simclr.temperature,
    )
    _check_crn(method, config.MODEL.contextual_relation_network.enabled)
    if loss.pseudo_boundary_prediction.num_neg_sample >= method.num_shots:
        raise InputError(
            f"config.LOSS.pseudo_boundary_prediction.num_neg_sample={loss.pseudo_boundary_prediction.num_neg_sample} "
            f"must be at most {method.num_shots - 1}, the other shots of the window"
        )
    return method


def _boundary_aware_terms(loss: PretrainLoss, name: str) -> tuple[str, ...]:
    if loss.simclr.enabled:
        raise InputError(
            f"config.LOSS.simclr.enabled=true does not go with {name}, which has no pair of views; leave it out, or "
            "set config.LOSS.sampling_method.name to one of shotcol, temporal, instance"
        )
    terms = [term for key, term in LOSS_TERMS.items() if getattr(loss, key).enabled is not False]
    if not terms:
        raise InputError(f"all four losses of {name} are off; set one config.LOSS.<loss>.enabled=true")
    if name == "bassl+shotcol" and "ssm" in terms:
        terms.insert(1, "shotcol")
    return tuple(terms)


def _shot_level_terms(loss: PretrainLoss, name: str) -> tuple[str, ...]:
    for key in LOSS_TERMS:
        if getattr(loss, key).enabled:
            raise InputError(
                f"config.LOSS.{key}.enabled=true does not go with the shot-level method {name}; leave it out, or set "
                "config.LOSS.sampling_method.name=bassl"
            )
    if loss.simclr.enabled is False:
        raise InputError(f"config.LOSS.simclr.enabled=false leaves {name} without a loss; leave it out")
    return ("shotcol",) if name == "shotcol" else ("simclr",)


def _check_crn(method: Method, enabled: bool | None) -> None:
    key = "config.MODEL.contextual_relation_network.enabled"
    if enabled and not method.uses_crn:
        raise InputError(
            f"{key}=true, but no loss of this run reads the CRN ({method.name} with {', '.join(method.terms)}); leave "
            "it out, or enable contextual_group_matching, pseudo_boundary_prediction or masked_shot_modeling"
        )
    if enabled is False and method.uses_crn:
        readers = [name for name, term in LOSS_TERMS.items() if term in method.terms and term in CRN_TERMS]
        raise InputError(f"{key}=false, but it is read by {' and '.join(readers)}; leave it out or disable those")


def crn_arguments(trn: Trn) -> dict[str, Any]:
    """Return the arguments of `build_crn` that the configuration decides."""
    return {
        "hidden_dim": trn.hidden_size,
        "num_layers": trn.num_hidden_layers,
        "num_heads": trn.num_attention_heads,
        "intermediate_dim": trn.intermediate_size,
        "dropout": trn.hidden_dropout_prob,
        "pooling": trn.pooling_method,
    }

"""What the terms of an objective share, and how a subclass adds one."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from bassl.pretrain.objective import TERMS, PretextObjective, Reads, Views
from tests.pretrain.test_objective import (
    BATCH,
    CENTER,
    HIDDEN,
    NUM_SHOTS,
    WIDTH,
    crn_of,
    mask,
    objective_of,
    seeded,
    views,
)


def test_what_several_terms_read_is_computed_once() -> None:
    terms = ("ssm", "cgm", "pp", "msm")
    objective, crn = objective_of("bassl", terms), crn_of(terms)
    assert crn is not None
    calls: list[str] = []
    objective.head_nce.register_forward_hook(lambda *_unused: calls.append("head"))
    crn.register_forward_hook(lambda *_unused: calls.append("crn"))
    objective(views("bassl"), mask(), crn, seeded())
    assert calls == ["head", "crn", "crn"], "msm has its own pass of the CRN, with the mask"


def test_a_subclass_adds_a_term_that_reads_the_same_batch() -> None:
    class WithSpread(PretextObjective):
        reads: ClassVar[dict[str, Reads]] = {**TERMS, "spread": Reads(boundary=True, crn=True)}

        def spread(self, batch: Views) -> Tensor:
            assert batch.tokens.shape == (BATCH, NUM_SHOTS, HIDDEN)
            return batch.tokens.square().mean() + 0 * batch.boundary.sum()

    terms = ("cgm", "spread")
    torch.manual_seed(0)
    plain, crn = objective_of("bassl", ("cgm",)), crn_of(("cgm",), dropout=0.0)
    own = WithSpread(terms, 2, CENTER, WIDTH, HIDDEN)
    own.load_state_dict(plain.state_dict())
    assert not any(weight.requires_grad for weight in own.head_nce.parameters()), "neither term trains embeddings"
    found = own(views("bassl"), None, crn, seeded())
    assert tuple(found) == terms
    torch.testing.assert_close(found["cgm"], plain(views("bassl"), None, crn, seeded())["cgm"], rtol=0, atol=0)

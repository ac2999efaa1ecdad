from __future__ import annotations

from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from bassl.distributed import rank, world_size
from bassl.model.crn import ContextualRelationNetwork
from bassl.pretrain import losses
from bassl.pretrain.alignment import pseudo_boundary
from bassl.pretrain.objective import TERMS, BatchViews, PretextObjective, TermInputs
from tests.distributed import run_in_processes
from tests.reference import SEED, data, fill, golden, msm_mask, scene_like

NUM_SHOTS, CENTER = 17, 8
BATCH, WIDTH, HIDDEN = 6, 12, 8  # of the small models
CONTEXTUAL = ("cgm", "pp", "msm")
ALL = ("ssm", "cgm", "pp", "msm")
SPARSE = {"bassl": 2, "bassl+shotcol": 3, "shotcol": 1, "temporal": 0, "instance": 0}


def objective_of(method: str, terms: tuple[str, ...], **changes: Any) -> PretextObjective:
    """A small objective, built as `bassl.pretrain.train` builds it."""
    hidden = HIDDEN if set(CONTEXTUAL) & set(terms) else None
    return PretextObjective(terms, SPARSE[method], CENTER, WIDTH, hidden, **changes)


def crn_of(terms: tuple[str, ...], dropout: float = 0.1) -> ContextualRelationNetwork | None:
    if not set(CONTEXTUAL) & set(terms):
        return None
    crn = ContextualRelationNetwork(WIDTH, HIDDEN, 2, 2, 16, dropout, NUM_SHOTS)
    crn.shot_embedding.mask_embedding.requires_grad_("msm" in terms)
    return crn


def views(method: str, seed: int = 0, batch: int = BATCH) -> Tensor:
    """Encoder features of a batch, sparse views first, or two views."""
    return data(seed, (batch, SPARSE[method] + NUM_SHOTS if SPARSE[method] else 2, WIDTH)).abs()


def mask(batch: int = BATCH) -> Tensor:
    """Many masked shots in the first samples, one in each of the others."""
    hidden = torch.zeros(batch, NUM_SHOTS)
    hidden[:, 3] = 1
    hidden[: batch // 2, 5:14] = 1
    return hidden


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class SmallModel(nn.Module):
    """Encoder, CRN and objective of a method, without dropout, with recorded weights."""

    def __init__(self, method: str, terms: tuple[str, ...]) -> None:
        super().__init__()
        self.encoder = nn.Linear(WIDTH, WIDTH)
        self.crn = crn_of(terms, dropout=0.0)
        self.loss = objective_of(method, terms)
        fill(self)

    def forward(self, shots: Tensor, hidden: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
        return self.loss(self.encoder(shots).relu(), hidden, self.crn, generator)


def two_steps(method: str, terms: tuple[str, ...]) -> dict[str, Any]:
    """Terms and parameter gradients of this rank's share of two batches; the gradients add up."""
    model = SmallModel(method, terms)
    parallel = DistributedDataParallel(model) if world_size() > 1 else model
    found = []
    for step in range(2):
        shots, hidden = (rows.chunk(world_size())[rank()] for rows in (views(method, step), mask()))
        named = parallel(shots, hidden, seeded(step))
        torch.stack(list(named.values())).sum().backward()
        found.append({name: term.detach() for name, term in named.items()})
    return {
        "terms": found,
        "gradients": {name: p.grad for name, p in model.named_parameters() if p.requires_grad},
    }


def train(chosen: list[tuple[str, tuple[str, ...]]]) -> list[dict[str, Any]]:
    return [two_steps(method, terms) for method, terms in chosen]


@pytest.fixture(scope="module")
def recorded_model() -> nn.ModuleDict:
    """CRN and heads of bassl with the recorded weights."""
    parts = {
        "crn": ContextualRelationNetwork(),
        "loss": PretextObjective(("ssm", "cgm", "pp", "msm"), 2, CENTER, 2048, 768),
    }
    return fill(nn.ModuleDict(parts)).eval()


def recorded_objective(model: nn.ModuleDict, terms: tuple[str, ...], num_sparse: int) -> PretextObjective:
    """The recorded heads under another objective."""
    objective = PretextObjective(terms, num_sparse, CENTER, 2048, 768).eval()
    objective.load_state_dict(model["loss"].state_dict(), strict=False)
    return objective


def approx(key: str) -> Any:
    return pytest.approx(float(golden()[key]), rel=1e-4)


def test_terms_are_the_losses_of_the_written_out_parts() -> None:
    """Each term by hand from head outputs, alignment and the generator's draws."""
    terms = ("ssm", "shotcol", "cgm", "pp", "msm")
    model = SmallModel("bassl+shotcol", terms)
    crn, objective, x = model.crn, model.loss, views("bassl+shotcol")
    assert crn is not None
    found = objective(x, mask(), crn, seeded(3))
    embedded = objective.head_nce(x)
    sparse, dense = embedded[:, :3], embedded[:, 3:]
    boundary = pseudo_boundary(sparse[:, :2], dense)
    tokens, draws = crn(x[:, 3:])[:, 1:], seeded(3)
    same, other = losses.draw_group_pairs(boundary, NUM_SHOTS, CENTER, draws)
    negatives = losses.draw_non_boundaries(boundary, NUM_SHOTS, 1, draws)
    hidden = objective.head_msm(crn(x[:, 3:], mask())[:, 1:])
    expected = {
        "ssm": losses.shot_scene_matching(sparse[:, :2], dense, boundary, 0.1),
        "shotcol": losses.nearest_neighbor_matching(sparse[:, 2], dense, CENTER, 0.1),
        "cgm": losses.contextual_group_matching(tokens, CENTER, same, other, objective.head_cgm),
        "pp": losses.pseudo_boundary_prediction(tokens, boundary, negatives, objective.head_pp),
        "msm": losses.masked_shot_modeling(hidden, x[:, 3:], mask()),
    }
    assert list(found) == list(expected)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("method", ["bassl", "bassl_shotcol"])
def test_terms_without_draws_are_those_of_the_reference(method: str, recorded_model: nn.ModuleDict) -> None:
    num_sparse = 2 if method == "bassl" else 3
    objective = recorded_objective(recorded_model, ("ssm", "msm"), num_sparse)
    x = scene_like(SEED, num_sparse).requires_grad_()
    named = objective(x, msm_mask(SEED), recorded_model["crn"])
    for term in ("ssm", "msm"):
        assert named[term].item() == approx(f"{method}/{term}_loss")
        (gradient,) = torch.autograd.grad(named[term], x, retain_graph=True)
        assert gradient.norm().item() == approx(f"{method}/{term}_grad_norm")


@pytest.mark.parametrize(("method", "first_view"), [("bassl_shotcol", 0), ("shotcol", 0), ("shotcol", 2)])
def test_the_nearest_neighbour_term_is_that_of_the_reference_with_and_without_edge_views(
    method: str, first_view: int, recorded_model: nn.ModuleDict
) -> None:
    objective = recorded_objective(recorded_model, ("shotcol",), 3 - first_view)
    x = scene_like(SEED, 3).requires_grad_()
    (term,) = objective(x[:, first_view:]).values()
    assert term.item() == approx(f"{method}/nn_loss")
    (gradient,) = torch.autograd.grad(term, x)
    assert gradient.norm().item() == approx(f"{method}/nn_grad_norm")


@pytest.mark.parametrize("method", ["instance", "temporal"])
def test_the_contrast_of_two_views_is_that_of_the_reference(method: str, recorded_model: nn.ModuleDict) -> None:
    x = data(SEED + 5, (8, 2, 2048)).abs()
    x[:, 1] = x[:, 0] + 0.3 * x[:, 1]
    x.requires_grad_()
    (term,) = recorded_objective(recorded_model, ("simclr",), 0)(x).values()
    assert term.item() == approx(f"{method}/simclr_loss")
    (gradient,) = torch.autograd.grad(term, x)
    assert gradient.norm().item() == approx(f"{method}/simclr_grad_norm")


def test_draws_come_from_the_generator_alone() -> None:
    objective, crn, x = objective_of("bassl", ("cgm", "pp")), crn_of(("cgm",), dropout=0.0), views("bassl")
    found = [objective(x, None, crn, seeded(seed)) for seed in (0, 0, 1)]
    torch.manual_seed(7)
    torch.testing.assert_close(found[0], found[1], rtol=0, atol=0)
    assert found[0] != found[2]


def test_temperature_and_number_of_negatives_reach_the_losses() -> None:
    x = views("bassl")
    cold, warm = (objective_of("bassl", ("ssm",), temperature=t) for t in (0.1, 0.5))
    warm.load_state_dict(cold.state_dict())
    embedded = warm.head_nce(x)
    boundary = pseudo_boundary(embedded[:, :2], embedded[:, 2:])
    assert warm(x)["ssm"] == losses.shot_scene_matching(embedded[:, :2], embedded[:, 2:], boundary, 0.5)
    assert cold(x)["ssm"] != warm(x)["ssm"]
    crn = crn_of(("pp",), dropout=0.0)
    assert crn is not None
    objective = objective_of("bassl", ("pp",), num_negatives=16)
    every_shot = objective.head_pp(crn(x[:, 2:])[:, 1:])
    embedded = objective.head_nce(x)
    boundary = pseudo_boundary(embedded[:, :2], embedded[:, 2:])
    is_boundary = torch.arange(NUM_SHOTS) == boundary[:, None]
    slow = nn.functional.cross_entropy(every_shot.flatten(0, 1), is_boundary.flatten().long())
    torch.testing.assert_close(objective(x, None, crn, seeded())["pp"], slow)


def test_heads_exist_and_are_trained_where_a_term_reads_them() -> None:
    expected = {  # head: is it trained
        ("ssm",): {"head_nce": True},
        ("cgm",): {"head_nce": False, "head_cgm": True},  # only the alignment reads the embeddings
        ("pp", "msm"): {"head_nce": False, "head_pp": True, "head_msm": True},
        ("msm",): {"head_msm": True},
        ("ssm", "pp"): {"head_nce": True, "head_pp": True},
    }
    for terms, heads in expected.items():
        found = dict(objective_of("bassl", terms).named_children())
        assert {name: all(p.requires_grad for p in head.parameters()) for name, head in found.items()} == heads
    with pytest.raises(AssertionError, match="these terms read the CRN"):
        PretextObjective(("msm",), 2, CENTER, WIDTH)


def test_what_several_terms_read_is_computed_once() -> None:
    objective, crn, calls = objective_of("bassl", ALL), crn_of(ALL), []
    assert crn is not None
    objective.head_nce.register_forward_hook(lambda *_unused: calls.append("head"))
    crn.register_forward_hook(lambda *_unused: calls.append("crn"))
    objective(views("bassl"), mask(), crn, seeded())
    assert calls == ["head", "crn", "crn"], "msm has its own pass of the CRN, with the mask"


def test_a_subclass_adds_a_term_that_reads_the_same_batch() -> None:
    class WithSpread(PretextObjective):
        reads: ClassVar[dict[str, TermInputs]] = {**TERMS, "spread": TermInputs(boundary=True, crn=True)}

        def spread(self, batch: BatchViews) -> Tensor:
            assert batch.tokens.shape == (BATCH, NUM_SHOTS, HIDDEN)
            return batch.tokens.square().mean() + 0 * batch.boundary.sum()

    plain, crn = objective_of("bassl", ("cgm",)), crn_of(("cgm",), dropout=0.0)
    extended = WithSpread(("cgm", "spread"), 2, CENTER, WIDTH, HIDDEN)
    extended.load_state_dict(plain.state_dict())
    named = extended(views("bassl"), None, crn, seeded())
    assert list(named) == ["cgm", "spread"]
    torch.testing.assert_close(named["cgm"], plain(views("bassl"), None, crn, seeded())["cgm"], rtol=0, atol=0)


COLLECTIVE = [
    ("bassl+shotcol", ("ssm", "shotcol", "cgm", "pp", "msm")),
    ("bassl", ("cgm", "pp")),
    ("instance", ("simclr",)),
]


@pytest.mark.slow
def test_two_processes_train_like_one() -> None:
    """With very different numbers of masked shots on the two ranks."""
    ranks, alone = run_in_processes(train, 2, COLLECTIVE), train(COLLECTIVE)
    assert [part.sum().item() for part in mask().chunk(2)] == [30, 3]
    for (method, terms), one, first, second in zip(COLLECTIVE, alone, *ranks, strict=True):
        message = f"{method} {terms}"
        for step, expected in enumerate(one["terms"]):
            mean = {name: (first["terms"][step][name] + second["terms"][step][name]) / 2 for name in terms}
            torch.testing.assert_close(mean, expected, rtol=1e-5, atol=1e-6, msg=message)
        for found in (first, second):
            torch.testing.assert_close(found["gradients"], one["gradients"], rtol=1e-4, atol=1e-6, msg=message)

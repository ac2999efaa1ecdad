"""Each loss by hand, against a written-out version, against the recorded reference number, and in bad shapes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from bassl.model.crn import ContextualRelationNetwork
from bassl.model.heads import MSMHead, NCEHead, boundary_head, group_head
from bassl.pretrain.alignment import pseudo_boundary
from bassl.pretrain.losses import (
    contextual_group_matching,
    draw_group_pairs,
    draw_non_boundaries,
    masked_shot_modeling,
    nearest_neighbor_key,
    nearest_neighbor_matching,
    nt_xent,
    pseudo_boundary_prediction,
    scene_embeddings,
    shot_scene_matching,
)
from tests.reference import SEED, data, fill, golden, msm_mask, scene_like

NUM_SHOTS, CENTER, TEMPERATURE = 17, 8, 0.1
NUM_SPARSE = {"bassl": 2, "bassl_shotcol": 3, "shotcol": 3}
BASSL_METHODS = ["bassl", "bassl_shotcol"]


def filled(name: str, module: nn.Module) -> nn.Module:
    """Fill a module with the recorded weights of that state-dict name; return it in eval mode."""
    root = module
    for part in reversed(name.split(".")):
        root = nn.ModuleDict({part: root})
    fill(root)
    return module.eval()


@pytest.fixture(scope="module")
def nce_head() -> nn.Module:
    return filled("loss.head_nce", NCEHead(2048, 2048, 128))


@pytest.fixture(scope="module")
def crn() -> nn.Module:
    return filled("crn", ContextualRelationNetwork())


@pytest.fixture(scope="module")
def tokens(crn: nn.Module) -> dict[str, Tensor]:
    """CRN output without CLS (8, 17, 768) on the recorded input of each method."""
    with torch.no_grad():
        return {name: crn(scene_like(SEED, NUM_SPARSE[name])[:, -NUM_SHOTS:])[:, 1:] for name in BASSL_METHODS}


def units(seed: int, *shape: int) -> Tensor:
    return F.normalize(data(seed, shape), dim=-1)


def recorded(key: str) -> Any:
    return pytest.approx(float(golden()[key]), rel=1e-4)


def recorded_boundary(method: str) -> Tensor:
    return torch.from_numpy(golden()[f"{method}/boundary_idx"]).long()


def gradient_norm(loss: Tensor, x: Tensor) -> float:
    (gradient,) = torch.autograd.grad(loss, x, retain_graph=True)
    return gradient.norm().item()


def cross_entropy(logits: list[float], label: int) -> float:
    return math.log(sum(math.exp(logit) for logit in logits)) - logits[label]


def assert_same_with_gradient(fast: Tensor, slow: Tensor, inputs: list[Tensor]) -> None:
    torch.testing.assert_close(fast, slow)
    torch.testing.assert_close(torch.autograd.grad(fast, inputs), torch.autograd.grad(slow, inputs))


# --- NT-Xent --------------------------------------------------------------------------------------------------------


def slow_nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """SimCLR's equation 1, a term at a time."""
    rows, num_pairs, terms = [*first, *second], len(first), []
    for anchor in range(2 * num_pairs):
        similar = {other: (rows[anchor] @ rows[other] / temperature).exp() for other in range(2 * num_pairs)}
        others = sum(similar[other] for other in similar if other != anchor)
        terms.append(-(similar[(anchor + num_pairs) % (2 * num_pairs)] / others).log())
    return torch.stack(terms).mean()


def test_nt_xent_of_two_orthogonal_pairs_by_hand() -> None:
    assert nt_xent(torch.eye(2), torch.eye(2), 0.5).item() == pytest.approx(math.log(1 + 2 * math.exp(-2)))
    assert nt_xent(units(1, 1, 5), units(2, 1, 5), 0.1).item() == 0, "a single pair has no negatives"


def test_nt_xent_and_its_gradient_are_those_of_the_written_out_sum() -> None:
    first, second = (units(seed, 7, 5).double().requires_grad_() for seed in (1, 2))
    assert_same_with_gradient(nt_xent(first, second, 0.3), slow_nt_xent(first, second, 0.3), [first, second])


def test_nt_xent_is_computed_in_32_bit_inside_autocast() -> None:
    first, second = units(1, 16, 128), units(2, 16, 128)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = nt_xent(first, second, 0.1)
        assert nt_xent(first.bfloat16(), second.bfloat16(), 0.1).dtype == torch.float32
    assert inside.item() == nt_xent(first, second, 0.1).item()


@pytest.mark.parametrize("method", ["instance", "temporal"])
def test_nt_xent_is_that_of_the_reference(method: str, nce_head: nn.Module) -> None:
    x = data(SEED + 5, (8, 2, 2048)).abs()
    x[:, 1] = x[:, 0] + 0.3 * x[:, 1]
    loss = nt_xent(*nce_head(x.requires_grad_()).unbind(1), TEMPERATURE)
    assert loss.item() == recorded(f"{method}/simclr_loss")
    assert gradient_norm(loss, x) == recorded(f"{method}/simclr_grad_norm")


# --- SSM and the nearest neighbour ----------------------------------------------------------------------------------


def slow_scenes(dense: Tensor, boundary: Tensor) -> Tensor:
    sides = [
        (shots[: last + 1].mean(0), shots[last + 1 :].mean(0))
        for shots, last in zip(dense, boundary.tolist(), strict=True)
    ]
    return torch.stack([torch.stack([left / left.norm(), right / right.norm()]) for left, right in sides])


def test_scene_embeddings_are_means_of_the_two_slices_for_every_boundary() -> None:
    dense, boundary = units(1, 16, NUM_SHOTS, 5), torch.arange(16)
    torch.testing.assert_close(scene_embeddings(dense, boundary), slow_scenes(dense, boundary))


def test_matching_shots_and_scenes_by_hand() -> None:
    # Left: both windows' shots and scenes are orthogonal pairs. Right: all four embeddings are the same.
    dense = torch.tensor([[[1.0, 0], [0, 1]], [[0, 1.0], [0, 1]]])
    loss = shot_scene_matching(dense, dense, torch.tensor([0, 0]), 0.5)
    assert loss.item() == pytest.approx((math.log(1 + 2 * math.exp(-2)) + math.log(3)) / 2)


def test_matching_shots_and_scenes_and_its_gradient_are_those_of_the_written_out_loops() -> None:
    sparse = units(1, 6, 2, 5).double().requires_grad_()
    dense = units(2, 6, NUM_SHOTS, 5).double().requires_grad_()
    boundary = torch.tensor([0, 3, 8, 9, 14, 15])
    scenes = slow_scenes(dense, boundary)
    slow = torch.stack([slow_nt_xent(sparse[:, side], scenes[:, side], 0.3) for side in (0, 1)]).mean()
    assert_same_with_gradient(shot_scene_matching(sparse, dense, boundary, 0.3), slow, [sparse, dense])


@pytest.mark.parametrize("method", BASSL_METHODS)
def test_matching_shots_and_scenes_is_that_of_the_reference(method: str, nce_head: nn.Module) -> None:
    x = scene_like(SEED, NUM_SPARSE[method]).requires_grad_()
    embeddings = nce_head(x)
    sparse, dense = embeddings[:, :2], embeddings[:, -NUM_SHOTS:]
    loss = shot_scene_matching(sparse, dense, pseudo_boundary(sparse, dense), TEMPERATURE)
    assert loss.item() == recorded(f"{method}/ssm_loss")
    (gradient,) = torch.autograd.grad(loss, x)
    assert gradient.norm().item() == recorded(f"{method}/ssm_grad_norm")
    sample = torch.from_numpy(golden()[f"{method}/ssm_grad_sample"])
    torch.testing.assert_close(gradient[0, :, :8], sample, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("center", [0, CENTER, NUM_SHOTS - 1])
def test_nearest_neighbor_key_is_that_of_the_written_out_search(center: int) -> None:
    dense = units(center, 200, NUM_SHOTS, 6)
    for key, shots in zip(nearest_neighbor_key(dense, center), dense, strict=True):
        others = [shot for shot in range(NUM_SHOTS) if shot != center]
        assert torch.equal(key, shots[max(others, key=lambda shot: float(shots[shot] @ shots[center]))])
    opposed = torch.tensor([[[-1.0, 0], [1, 0], [-1, 0]]])
    assert nearest_neighbor_key(opposed, 1).tolist() == [[-1, 0]], "the centre is not its own neighbour"


@pytest.mark.parametrize("method", ["shotcol", "bassl_shotcol"])
def test_nearest_neighbor_matching_is_that_of_the_reference(method: str, nce_head: nn.Module) -> None:
    x = scene_like(SEED, NUM_SPARSE[method]).requires_grad_()
    embeddings = nce_head(x)
    loss = nearest_neighbor_matching(embeddings[:, 2], embeddings[:, -NUM_SHOTS:], CENTER, TEMPERATURE)
    assert loss.item() == recorded(f"{method}/nn_loss")
    assert gradient_norm(loss, x) == recorded(f"{method}/nn_grad_norm")


# --- draws ----------------------------------------------------------------------------------------------------------


def assert_uniform(drawn: Tensor, allowed: set[int]) -> None:
    counts, chance = drawn.bincount(minlength=NUM_SHOTS), 1 / len(allowed)
    assert set(counts.nonzero().flatten().tolist()) == allowed
    spread = math.sqrt(len(drawn) * chance * (1 - chance))
    assert all(abs(counts[shot].item() - len(drawn) * chance) < 5 * spread for shot in allowed)


@pytest.mark.parametrize("boundary, own, other", [(7, range(8, 17), range(8)), (8, range(9), range(9, 17))])
def test_group_partners_are_uniform_over_the_sides(boundary: int, own: range, other: range) -> None:
    same, stranger = draw_group_pairs(
        torch.full((20_000,), boundary), NUM_SHOTS, CENTER, torch.Generator().manual_seed(1)
    )
    assert_uniform(same, set(own) - {CENTER})
    assert_uniform(stranger, set(other))


@pytest.mark.parametrize("num_shots, center", [(17, 8), (17, 1), (17, 15), (3, 1)])
def test_group_partners_lie_on_their_sides_for_every_boundary(num_shots: int, center: int) -> None:
    boundary = torch.arange(num_shots - 1).repeat(100)
    same, other = draw_group_pairs(boundary, num_shots, center, torch.Generator().manual_seed(2))
    assert torch.equal(same <= boundary, center <= boundary)
    assert torch.equal(other <= boundary, center > boundary)
    assert not (same == center).any()


@pytest.mark.parametrize("num_negatives", [1, 4, 16])
def test_negatives_never_repeat_nor_hit_the_boundary(num_negatives: int) -> None:
    boundary = torch.arange(16).repeat(100)
    negatives = draw_non_boundaries(boundary, NUM_SHOTS, num_negatives, torch.Generator().manual_seed(5))
    for last, drawn in zip(boundary.tolist(), negatives.tolist(), strict=True):
        assert len(set(drawn)) == num_negatives
        assert set(drawn) <= set(range(NUM_SHOTS)) - {last}
    many = draw_non_boundaries(torch.full((20_000,), 5), NUM_SHOTS, 2, torch.Generator().manual_seed(4))
    for drawn in many.unbind(1):
        assert_uniform(drawn, set(range(NUM_SHOTS)) - {5})


def test_draws_come_from_the_generator_or_without_one_from_the_default() -> None:
    boundary = torch.arange(16)

    def draw(generator: torch.Generator | None) -> Tensor:
        pairs = draw_group_pairs(boundary, NUM_SHOTS, CENTER, generator)
        return torch.cat([*pairs, draw_non_boundaries(boundary, NUM_SHOTS, 3, generator).flatten()])

    first, again, other = (draw(torch.Generator().manual_seed(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    torch.manual_seed(0)
    by_default = draw(None)
    torch.manual_seed(0)
    assert torch.equal(by_default, draw(None))


# --- CGM, PP, MSM ---------------------------------------------------------------------------------------------------


def test_matching_groups_by_hand() -> None:
    shots = torch.tensor([[[3.0, 0], [0, 5], [2, 0]]])
    seen = []

    def classify(pairs: Tensor) -> Tensor:  # logits: 0 and the cosine of the two
        seen.append(pairs)
        cosine = (pairs[:, :2] * pairs[:, 2:]).sum(1)
        return torch.stack([torch.zeros_like(cosine), cosine], dim=1)

    loss = contextual_group_matching(shots, 0, torch.tensor([2]), torch.tensor([1]), classify)
    assert seen[0].tolist() == [[1, 0, 1, 0], [1, 0, 0, 1]]
    assert loss.item() == pytest.approx((cross_entropy([0, 1], 1) + cross_entropy([0, 0], 0)) / 2)


@pytest.mark.parametrize("method", BASSL_METHODS)
@torch.no_grad()
def test_expected_group_matching_over_all_partners_is_the_recorded_mean(method: str, tokens: dict[str, Tensor]) -> None:
    classifier, expected = filled("loss.head_cgm", group_head(768)), []
    for shots, last in zip(tokens[method], recorded_boundary(method).tolist(), strict=True):
        left, right = list(range(last + 1)), list(range(last + 1, NUM_SHOTS))
        own, opposite = (left, right) if last >= CENTER else (right, left)
        own.remove(CENTER)
        # Repeating the shorter list keeps each partner's share.
        same, other = torch.tensor(own * len(opposite)), torch.tensor(opposite * len(own))
        windows = shots.expand(len(same), -1, -1)
        expected.append(contextual_group_matching(windows, CENTER, same, other, classifier).item())
    assert sum(expected) / len(expected) == recorded(f"{method}/cgm_loss_mean_over_draws")


def test_predicting_boundaries_by_hand() -> None:
    shots = torch.tensor([[[0.0, 2.0], [0, 1], [3, 0]]])
    loss = pseudo_boundary_prediction(shots, torch.tensor([1]), torch.tensor([[2, 0]]), nn.Identity())
    terms = cross_entropy([0, 1], 1), cross_entropy([3, 0], 0), cross_entropy([0, 2], 0)
    assert loss.item() == pytest.approx(sum(terms) / 3)


@pytest.mark.parametrize("method", BASSL_METHODS)
@torch.no_grad()
def test_expected_boundary_prediction_is_that_of_the_reference(method: str, tokens: dict[str, Tensor]) -> None:
    boundary, classifier, losses = recorded_boundary(method), filled("loss.head_pp", boundary_head(768)), []
    for nth in range(NUM_SHOTS - 1):
        negatives = (nth + (nth >= boundary).long())[:, None]  # the nth of the shots that are not the boundary
        losses.append(pseudo_boundary_prediction(tokens[method], boundary, negatives, classifier))
    assert torch.stack(losses).mean().item() == recorded(f"{method}/pp_loss_expected")


def test_modelling_masked_shots_by_hand() -> None:
    predicted = torch.tensor([[[1.0, 2], [9, 9], [0, 0]]])
    target = torch.tensor([[[1.0, 4], [0, 0], [1, 3]]])
    loss = masked_shot_modeling(predicted, target, torch.tensor([[1, 0, 1]]))
    assert loss.item() == pytest.approx((0 + 4 + 1 + 9) / 4)


@pytest.mark.parametrize("dtype", [torch.bool, torch.float32])
def test_modelling_masked_shots_is_the_error_of_the_shots_cut_out(dtype: torch.dtype) -> None:
    predicted, target = data(1, (4, NUM_SHOTS, 6)).requires_grad_(), data(2, (4, NUM_SHOTS, 6)).requires_grad_()
    mask = msm_mask(SEED, batch=4).bool()
    weighted = masked_shot_modeling(predicted, target, mask.to(dtype))
    assert_same_with_gradient(weighted, F.mse_loss(predicted[mask], target.detach()[mask]), [predicted])
    assert not masked_shot_modeling(predicted.detach(), target, mask).requires_grad, "the target is not trained"


def test_no_masked_shot_means_no_loss_and_a_finite_gradient() -> None:
    predicted = torch.ones(1, 2, 3, requires_grad=True)
    loss = masked_shot_modeling(predicted, torch.zeros(1, 2, 3), torch.zeros(1, 2))
    assert (loss.item(), gradient_norm(loss, predicted)) == (0, 0)


@pytest.mark.parametrize("method", BASSL_METHODS)
def test_modelling_masked_shots_is_that_of_the_reference(method: str, crn: nn.Module) -> None:
    head, x = filled("loss.head_msm", MSMHead(768, 2048)), scene_like(SEED, NUM_SPARSE[method]).requires_grad_()
    dense, mask = x[:, -NUM_SHOTS:], msm_mask(SEED)
    loss = masked_shot_modeling(head(crn(dense, mask)[:, 1:]), dense, mask)
    assert loss.item() == recorded(f"{method}/msm_loss")
    assert gradient_norm(loss, x) == recorded(f"{method}/msm_grad_norm")


# --- all ------------------------------------------------------------------------------------------------------------

SHOTS, POSITION = torch.zeros(4, NUM_SHOTS, 5), torch.zeros(4, dtype=torch.long)


@pytest.mark.parametrize("call", [
    lambda: nt_xent(torch.zeros(4, 5), torch.zeros(3, 5), 0.1),
    lambda: nt_xent(torch.zeros(4, 5), torch.zeros(4, 5), 0.0),
    lambda: shot_scene_matching(torch.zeros(4, 3, 5), SHOTS, POSITION, 0.1),
    lambda: shot_scene_matching(torch.zeros(4, 2, 5), SHOTS, POSITION[:3], 0.1),
    lambda: nearest_neighbor_key(SHOTS, NUM_SHOTS),
    lambda: nearest_neighbor_key(SHOTS[:, :1], 0),
    lambda: draw_group_pairs(POSITION, NUM_SHOTS, 16),
    lambda: draw_non_boundaries(POSITION, NUM_SHOTS, 17),
    lambda: contextual_group_matching(SHOTS, CENTER, POSITION, POSITION[:3], nn.Linear(10, 2)),
    lambda: contextual_group_matching(SHOTS, -1, POSITION, POSITION, nn.Linear(10, 2)),
    lambda: pseudo_boundary_prediction(SHOTS, POSITION, POSITION, nn.Linear(5, 2)),
    lambda: pseudo_boundary_prediction(SHOTS, POSITION[:3], POSITION[:3, None], nn.Linear(5, 2)),
    lambda: masked_shot_modeling(SHOTS[:3], SHOTS, torch.ones(4, NUM_SHOTS)),
    lambda: masked_shot_modeling(SHOTS, SHOTS, torch.ones(4, NUM_SHOTS, 1)),
])  # fmt: skip
def test_shapes_and_numbers_that_do_not_fit_are_refused(call: Callable[[], Any]) -> None:
    with pytest.raises(AssertionError, match=r"got|takes|expected|in a window of 1"):
        call()


def test_no_loss_and_no_draw_waits_for_the_device() -> None:
    with FakeTensorMode():
        sparse, dense = torch.rand(4, 2, 8), torch.rand(4, NUM_SHOTS, 8)
        boundary = pseudo_boundary(sparse, dense)
        negatives = draw_non_boundaries(boundary, NUM_SHOTS, 2)
        losses = [
            shot_scene_matching(sparse, dense, boundary, TEMPERATURE),
            nearest_neighbor_matching(sparse[:, 0], dense, CENTER, TEMPERATURE),
            contextual_group_matching(dense, CENTER, *draw_group_pairs(boundary, NUM_SHOTS, CENTER), nn.Linear(16, 2)),
            pseudo_boundary_prediction(dense, boundary, negatives, nn.Linear(8, 2)),
            masked_shot_modeling(dense, dense, torch.rand(4, NUM_SHOTS).round()),
        ]
    assert [loss.shape for loss in losses] == [()] * 5

from __future__ import annotations

import math

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

CENTER = 8
NUM_SHOTS = 17
TEMPERATURE = 0.1
NUM_SPARSE = {"bassl": 2, "bassl_shotcol": 3, "shotcol": 3}
BASSL_METHODS = ["bassl", "bassl_shotcol"]
RECORDED_DRAWS = 3000


def filled(name: str, module: nn.Module) -> nn.Module:
    """The module with the recorded weights of that state-dict name, in eval mode."""
    root = parent = nn.Module()
    *path, leaf = name.split(".")
    for part in path:
        child = nn.Module()
        parent.add_module(part, child)
        parent = child
    parent.add_module(leaf, module)
    fill(root)
    return module.eval()


@pytest.fixture(scope="module")
def nce_head() -> nn.Module:
    return filled("loss.head_nce", NCEHead(2048, 2048, 128))


@pytest.fixture(scope="module")
def crn() -> nn.Module:
    return filled("crn", ContextualRelationNetwork())


@pytest.fixture(scope="module")
def group_classifier() -> nn.Module:
    return filled("loss.head_cgm", group_head(768))


@pytest.fixture(scope="module")
def boundary_classifier() -> nn.Module:
    return filled("loss.head_pp", boundary_head(768))


@pytest.fixture(scope="module")
def tokens(crn: nn.Module) -> dict[str, Tensor]:
    """CRN output without CLS (8, 17, 768) on the recorded input of each method."""
    with torch.no_grad():
        dense = {method: scene_like(SEED, NUM_SPARSE[method])[:, -NUM_SHOTS:] for method in BASSL_METHODS}
        return {method: crn(shots)[:, 1:] for method, shots in dense.items()}


def units(seed: int, *shape: int) -> Tensor:
    return F.normalize(data(seed, shape), dim=-1)


def recorded(key: str) -> float:
    return float(golden()[key])


def recorded_boundary(method: str) -> Tensor:
    return torch.from_numpy(golden()[f"{method}/boundary_idx"]).long()


def approx(expected: float) -> object:
    return pytest.approx(expected, rel=1e-4)


def cross_entropy(logits: list[float], label: int) -> float:
    return math.log(sum(math.exp(logit) for logit in logits)) - logits[label]


def slow_nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """SimCLR's equation 1, a term at a time."""
    rows = [*first, *second]
    num_pairs = len(first)
    terms = []
    for anchor in range(2 * num_pairs):
        positive = (anchor + num_pairs) % (2 * num_pairs)
        similar = {other: rows[anchor] @ rows[other] / temperature for other in range(2 * num_pairs)}
        others = sum(similar[other].exp() for other in range(2 * num_pairs) if other != anchor)
        terms.append(-(similar[positive].exp() / others).log())
    return torch.stack(terms).mean()


def test_nt_xent_of_two_orthogonal_pairs_by_hand() -> None:
    pairs = torch.eye(2)
    assert nt_xent(pairs, pairs, 0.5).item() == pytest.approx(math.log(1 + 2 * math.exp(-2)))


def test_nt_xent_and_its_gradient_are_those_of_the_written_out_sum() -> None:
    first, second = (units(seed, 7, 5).double().requires_grad_() for seed in (1, 2))
    fast, slow = nt_xent(first, second, 0.3), slow_nt_xent(first, second, 0.3)
    assert fast.item() == pytest.approx(slow.item(), rel=1e-12)
    pairs = zip(torch.autograd.grad(fast, (first, second)), torch.autograd.grad(slow, (first, second)), strict=True)
    for of_fast, of_slow in pairs:
        torch.testing.assert_close(of_fast, of_slow)


def test_nt_xent_does_not_care_which_view_is_first() -> None:
    first, second = units(1, 7, 5), units(2, 7, 5)
    assert nt_xent(first, second, 0.1).item() == pytest.approx(nt_xent(second, first, 0.1).item(), rel=1e-6)


def test_nt_xent_is_computed_in_full_precision_inside_autocast() -> None:
    first, second = units(1, 16, 128), units(2, 16, 128)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = nt_xent(first, second, 0.1)
        of_halves = nt_xent(first.bfloat16(), second.bfloat16(), 0.1)
    assert loss.item() == nt_xent(first, second, 0.1).item()
    assert of_halves.dtype == torch.float32


def test_a_single_pair_has_no_negatives_and_no_loss() -> None:
    assert nt_xent(units(1, 1, 5), units(2, 1, 5), 0.1).item() == 0


@pytest.mark.parametrize("method", ["instance", "temporal"])
def test_nt_xent_and_its_gradient_are_those_of_the_reference(method: str, nce_head: nn.Module) -> None:
    x = data(SEED + 5, (8, 2, 2048)).abs()
    x[:, 1] = x[:, 0] + 0.3 * x[:, 1]
    loss = nt_xent(*nce_head(x.requires_grad_()).unbind(1), TEMPERATURE)
    assert loss.item() == approx(recorded(f"{method}/simclr_loss"))
    (gradient,) = torch.autograd.grad(loss, x)
    assert gradient.norm().item() == approx(recorded(f"{method}/simclr_grad_norm"))


def test_nt_xent_refuses_views_of_different_shapes_and_a_temperature_of_zero() -> None:
    with pytest.raises(AssertionError, match="nt_xent takes two"):
        nt_xent(torch.zeros(4, 5), torch.zeros(3, 5), 0.1)
    with pytest.raises(AssertionError, match="nt_xent takes two"):
        nt_xent(torch.zeros(4, 2, 5), torch.zeros(4, 2, 5), 0.1)
    with pytest.raises(AssertionError, match="temperature must be positive"):
        nt_xent(torch.zeros(4, 5), torch.zeros(4, 5), 0.0)


def slow_scenes(dense: Tensor, boundary: Tensor) -> Tensor:
    scenes = []
    for shots, last in zip(dense, boundary.tolist(), strict=True):
        left, right = shots[: last + 1].mean(0), shots[last + 1 :].mean(0)
        scenes.append(torch.stack([left / left.norm(), right / right.norm()]))
    return torch.stack(scenes)


def test_scene_embeddings_by_hand() -> None:
    dense = torch.tensor([[[1.0, 0], [0, 1], [0, -1]]])
    scenes = scene_embeddings(dense, torch.tensor([1]))
    torch.testing.assert_close(scenes, torch.tensor([[[0.5**0.5, 0.5**0.5], [0, -1]]]))


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
    slow = sum(slow_nt_xent(sparse[:, side], scenes[:, side], 0.3) for side in (0, 1)) / 2
    fast = shot_scene_matching(sparse, dense, boundary, 0.3)
    assert fast.item() == pytest.approx(slow.item(), rel=1e-12)
    pairs = zip(torch.autograd.grad(fast, (sparse, dense)), torch.autograd.grad(slow, (sparse, dense)), strict=True)
    for of_fast, of_slow in pairs:
        torch.testing.assert_close(of_fast, of_slow)


@pytest.mark.parametrize("method", BASSL_METHODS)
def test_matching_shots_and_scenes_is_that_of_the_reference(method: str, nce_head: nn.Module) -> None:
    x = scene_like(SEED, NUM_SPARSE[method]).requires_grad_()
    embeddings = nce_head(x)
    sparse, dense = embeddings[:, :2], embeddings[:, -NUM_SHOTS:]
    loss = shot_scene_matching(sparse, dense, pseudo_boundary(sparse, dense), TEMPERATURE)
    assert loss.item() == approx(recorded(f"{method}/ssm_loss"))
    (gradient,) = torch.autograd.grad(loss, x)
    assert gradient.norm().item() == approx(recorded(f"{method}/ssm_grad_norm"))
    sample = torch.from_numpy(golden()[f"{method}/ssm_grad_sample"])
    torch.testing.assert_close(gradient[0, :, :8], sample, rtol=1e-4, atol=1e-8)


def test_matching_shots_and_scenes_refuses_shapes_that_do_not_fit() -> None:
    boundary = torch.zeros(4, dtype=torch.long)
    with pytest.raises(AssertionError, match=r"expected sparse \(B, 2, D\)"):
        shot_scene_matching(torch.zeros(4, 3, 5), torch.zeros(4, NUM_SHOTS, 5), boundary, 0.1)
    with pytest.raises(AssertionError, match=r"expected \(B, S, D\) and \(B,\)"):
        shot_scene_matching(torch.zeros(4, 2, 5), torch.zeros(4, NUM_SHOTS, 5), boundary[:3], 0.1)


def test_nearest_neighbor_key_by_hand() -> None:
    dense = F.normalize(torch.tensor([[[1.0, 0], [1, 0.1], [1, 1], [0, 1]]]), dim=-1)
    assert torch.equal(nearest_neighbor_key(dense, 0), dense[:, 1])
    assert torch.equal(nearest_neighbor_key(dense, 2), dense[:, 1])
    assert torch.equal(nearest_neighbor_key(dense, 3), dense[:, 2])


@pytest.mark.parametrize("center", [0, CENTER, NUM_SHOTS - 1])
def test_nearest_neighbor_key_is_that_of_the_written_out_search(center: int) -> None:
    dense = units(center, 200, NUM_SHOTS, 6)
    for key, shots in zip(nearest_neighbor_key(dense, center), dense, strict=True):
        others = [shot for shot in range(NUM_SHOTS) if shot != center]
        nearest = max(others, key=lambda shot: float(shots[shot] @ shots[center]))
        assert torch.equal(key, shots[nearest])


def test_centre_is_no_neighbor_of_itself_even_when_all_shots_oppose_it() -> None:
    dense = torch.tensor([[[-1.0, 0], [1, 0], [-1, 0]]])
    assert nearest_neighbor_key(dense, 1).tolist() == [[-1, 0]]


@pytest.mark.parametrize("method", ["shotcol", "bassl_shotcol"])
def test_nearest_neighbor_matching_is_that_of_the_reference(method: str, nce_head: nn.Module) -> None:
    x = scene_like(SEED, NUM_SPARSE[method]).requires_grad_()
    embeddings = nce_head(x)
    loss = nearest_neighbor_matching(embeddings[:, 2], embeddings[:, -NUM_SHOTS:], CENTER, TEMPERATURE)
    assert loss.item() == approx(recorded(f"{method}/nn_loss"))
    (gradient,) = torch.autograd.grad(loss, x)
    assert gradient.norm().item() == approx(recorded(f"{method}/nn_grad_norm"))


def test_nearest_neighbor_key_refuses_a_centre_outside_the_window_and_a_window_of_one_shot() -> None:
    with pytest.raises(AssertionError, match=r"center must lie in 0\.\.16, got 17"):
        nearest_neighbor_key(torch.zeros(4, NUM_SHOTS, 5), NUM_SHOTS)
    with pytest.raises(AssertionError, match="no neighbour in a window of 1"):
        nearest_neighbor_key(torch.zeros(4, 1, 5), 0)
    with pytest.raises(AssertionError, match=r"dense must be \(B, S, D\)"):
        nearest_neighbor_key(torch.zeros(4, NUM_SHOTS), 0)


@pytest.mark.parametrize("boundary, own, other", [(7, range(8, 17), range(8)), (8, range(9), range(9, 17))])
def test_group_partners_are_uniform_over_the_sides(boundary: int, own: range, other: range) -> None:
    num_draws = 20_000
    generator = torch.Generator().manual_seed(1)
    drawn = draw_group_pairs(torch.full((num_draws,), boundary), NUM_SHOTS, CENTER, generator)
    for partners, allowed in zip(drawn, (set(own) - {CENTER}, set(other)), strict=True):
        counts = partners.bincount(minlength=NUM_SHOTS)
        assert set(counts.nonzero().flatten().tolist()) == allowed
        chance = 1 / len(allowed)
        spread = math.sqrt(num_draws * chance * (1 - chance))
        assert all(abs(counts[shot].item() - num_draws * chance) < 5 * spread for shot in allowed)


@pytest.mark.parametrize("num_shots, center", [(17, 8), (17, 1), (17, 15), (3, 1), (6, 3)])
def test_group_partners_lie_on_their_sides_for_every_boundary(num_shots: int, center: int) -> None:
    boundary = torch.arange(num_shots - 1).repeat(200)
    same, other = draw_group_pairs(boundary, num_shots, center, torch.Generator().manual_seed(2))
    for last, mate, stranger in zip(boundary.tolist(), same.tolist(), other.tolist(), strict=True):
        left, right = set(range(last + 1)), set(range(last + 1, num_shots))
        own, opposite = (left, right) if center <= last else (right, left)
        assert mate in own - {center}
        assert stranger in opposite


def test_same_generator_state_draws_the_same_partners_and_negatives() -> None:
    boundary = torch.arange(16)

    def draw(seed: int) -> list[Tensor]:
        generator = torch.Generator().manual_seed(seed)
        pairs = draw_group_pairs(boundary, NUM_SHOTS, CENTER, generator)
        return [*pairs, draw_non_boundaries(boundary, NUM_SHOTS, 3, generator)]

    assert all(torch.equal(one, again) for one, again in zip(draw(0), draw(0), strict=True))
    assert not any(torch.equal(one, another) for one, another in zip(draw(0), draw(1), strict=True))


def test_without_a_generator_the_default_one_draws() -> None:
    boundary = torch.arange(16)
    drawn = []
    for _ in range(2):
        torch.manual_seed(0)
        pairs = draw_group_pairs(boundary, NUM_SHOTS, CENTER)
        drawn.append(torch.cat([*pairs, draw_non_boundaries(boundary, NUM_SHOTS, 1).flatten()]))
    assert torch.equal(*drawn)


@pytest.mark.parametrize("center", [0, 16])
def test_centre_at_the_edge_of_the_window_is_refused(center: int) -> None:
    with pytest.raises(AssertionError, match=rf"center must lie in 1\.\.15, got {center}"):
        draw_group_pairs(torch.zeros(4, dtype=torch.long), NUM_SHOTS, center)


def test_matching_groups_by_hand() -> None:
    tokens = torch.tensor([[[3.0, 0], [0, 5], [2, 0]]])
    # logits: 0 and the cosine of the two
    seen = []

    def classify(pairs: Tensor) -> Tensor:
        seen.append(pairs)
        cosine = (pairs[:, :2] * pairs[:, 2:]).sum(1)
        return torch.stack([torch.zeros_like(cosine), cosine], dim=1)

    loss = contextual_group_matching(tokens, 0, torch.tensor([2]), torch.tensor([1]), classify)
    assert seen[0].tolist() == [[1, 0, 1, 0], [1, 0, 0, 1]]
    assert loss.item() == pytest.approx((cross_entropy([0, 1], 1) + cross_entropy([0, 0], 0)) / 2)


def slow_group_matching(tokens: Tensor, center: int, same: list[int], other: list[int], classify: nn.Module) -> float:
    terms = []
    for shots, mate, stranger in zip(tokens, same, other, strict=True):
        for partner, label in ((mate, 1), (stranger, 0)):
            pair = [shots[center] / shots[center].norm(), shots[partner] / shots[partner].norm()]
            terms.append(cross_entropy(classify(torch.cat(pair)).tolist(), label))
    return sum(terms) / len(terms)


def test_matching_groups_is_the_mean_over_the_written_out_pairs() -> None:
    tokens, classify = data(1, (5, NUM_SHOTS, 4)), nn.Linear(8, 2)
    same, other = [9, 10, 0, 1, 7], [1, 2, 12, 16, 9]
    fast = contextual_group_matching(tokens, CENTER, torch.tensor(same), torch.tensor(other), classify)
    assert fast.item() == pytest.approx(slow_group_matching(tokens, CENTER, same, other, classify))


@pytest.mark.parametrize("method", BASSL_METHODS)
def test_matching_groups_is_that_of_the_reference(
    method: str, tokens: dict[str, Tensor], group_classifier: nn.Module
) -> None:
    # A batch that holds the recorded one many times over: the mean over draws at once.
    generator, repeats, losses = torch.Generator().manual_seed(3), 100, []
    many, boundary = tokens[method].repeat(repeats, 1, 1), recorded_boundary(method).repeat(repeats)
    with torch.no_grad():
        for _ in range(RECORDED_DRAWS // repeats):
            same, other = draw_group_pairs(boundary, NUM_SHOTS, CENTER, generator)
            losses.append(contextual_group_matching(many, CENTER, same, other, group_classifier))
    # both means are of 3,000 draws
    error = recorded(f"{method}/cgm_loss_std") * math.sqrt(2 / RECORDED_DRAWS)
    mean = torch.stack(losses).double().mean().item()
    assert abs(mean - recorded(f"{method}/cgm_loss_mean_over_draws")) < 3 * error


@pytest.mark.parametrize("method", BASSL_METHODS)
def test_expected_group_matching_over_all_partners_is_the_recorded_mean(
    method: str, tokens: dict[str, Tensor], group_classifier: nn.Module
) -> None:
    expected = []
    for shots, last in zip(tokens[method], recorded_boundary(method).tolist(), strict=True):
        left, right = list(range(last + 1)), list(range(last + 1, NUM_SHOTS))
        own, opposite = (left, right) if last >= CENTER else (right, left)
        own.remove(CENTER)
        # Repeating the shorter list keeps each partner's share.
        same, other = torch.tensor(own * len(opposite)), torch.tensor(opposite * len(own))
        windows = shots.expand(len(same), -1, -1)
        with torch.no_grad():
            loss = contextual_group_matching(windows, CENTER, same, other, group_classifier)
        expected.append(loss.item())
    error = recorded(f"{method}/cgm_loss_std") / math.sqrt(RECORDED_DRAWS)
    mean = sum(expected) / len(expected)
    assert abs(mean - recorded(f"{method}/cgm_loss_mean_over_draws")) < 3 * error
    assert mean == approx(recorded(f"{method}/cgm_loss_mean_over_draws"))


def test_matching_groups_refuses_partners_of_another_batch_size() -> None:
    tokens, partners = torch.zeros(4, NUM_SHOTS, 5), torch.zeros(4, dtype=torch.long)
    with pytest.raises(AssertionError, match=r"expected \(B, S, D\) and \(B,\)"):
        contextual_group_matching(tokens, CENTER, partners, partners[:3], nn.Linear(10, 2))
    with pytest.raises(AssertionError, match=r"center must lie in 0\.\.16"):
        contextual_group_matching(tokens, -1, partners, partners, nn.Linear(10, 2))


def test_negatives_are_uniform_over_the_shots_that_are_not_the_boundary() -> None:
    num_draws, boundary = 20_000, 5
    generator = torch.Generator().manual_seed(4)
    negatives = draw_non_boundaries(torch.full((num_draws,), boundary), NUM_SHOTS, 2, generator)
    for drawn in negatives.unbind(1):
        counts = drawn.bincount(minlength=NUM_SHOTS)
        assert counts[boundary] == 0
        spread = math.sqrt(num_draws / 16 * 15 / 16)
        assert all(
            abs(counts[shot].item() - num_draws / 16) < 5 * spread for shot in range(NUM_SHOTS) if shot != boundary
        )


@pytest.mark.parametrize("num_negatives", [1, 4, 16])
def test_negatives_never_repeat_nor_hit_the_boundary(num_negatives: int) -> None:
    boundary = torch.arange(16).repeat(100)
    negatives = draw_non_boundaries(boundary, NUM_SHOTS, num_negatives, torch.Generator().manual_seed(5))
    assert negatives.shape == (1600, num_negatives)
    for last, drawn in zip(boundary.tolist(), negatives.tolist(), strict=True):
        assert len(set(drawn)) == num_negatives
        assert set(drawn) <= set(range(NUM_SHOTS)) - {last}


@pytest.mark.parametrize("num_negatives", [0, 17])
def test_a_number_of_negatives_that_no_window_has_is_refused(num_negatives: int) -> None:
    with pytest.raises(AssertionError, match=rf"num_negatives must lie in 1\.\.16, got {num_negatives}"):
        draw_non_boundaries(torch.zeros(4, dtype=torch.long), NUM_SHOTS, num_negatives)


def test_predicting_boundaries_by_hand() -> None:
    tokens = torch.tensor([[[0.0, 2.0], [0, 1], [3, 0]]])
    loss = pseudo_boundary_prediction(tokens, torch.tensor([1]), torch.tensor([[2, 0]]), nn.Identity())
    terms = cross_entropy([0, 1], 1), cross_entropy([3, 0], 0), cross_entropy([0, 2], 0)
    assert loss.item() == pytest.approx(sum(terms) / 3)


def test_predicting_boundaries_is_the_mean_over_the_written_out_shots() -> None:
    tokens, classify = data(1, (5, NUM_SHOTS, 4)), nn.Linear(4, 2)
    boundary, negatives = [0, 3, 8, 9, 15], [[1, 2], [4, 2], [0, 16], [3, 2], [16, 0]]
    terms = []
    for shots, last, others in zip(tokens, boundary, negatives, strict=True):
        terms.append(cross_entropy(classify(shots[last]).tolist(), 1))
        terms.extend(cross_entropy(classify(shots[other]).tolist(), 0) for other in others)
    fast = pseudo_boundary_prediction(tokens, torch.tensor(boundary), torch.tensor(negatives), classify)
    assert fast.item() == pytest.approx(sum(terms) / len(terms))


@pytest.mark.parametrize("method", BASSL_METHODS)
def test_expected_boundary_prediction_is_that_of_the_reference(
    method: str, tokens: dict[str, Tensor], boundary_classifier: nn.Module
) -> None:
    boundary = recorded_boundary(method)
    losses = []
    for nth in range(NUM_SHOTS - 1):
        # the nth of the shots that are not the boundary
        negatives = (nth + (nth >= boundary).long())[:, None]
        with torch.no_grad():
            losses.append(pseudo_boundary_prediction(tokens[method], boundary, negatives, boundary_classifier))
    assert len(losses) == 16
    assert torch.stack(losses).mean().item() == approx(recorded(f"{method}/pp_loss_expected"))


@pytest.mark.parametrize("method", BASSL_METHODS)
def test_boundary_prediction_over_draws_is_that_of_the_reference(
    method: str, tokens: dict[str, Tensor], boundary_classifier: nn.Module
) -> None:
    generator, boundary, losses = torch.Generator().manual_seed(6), recorded_boundary(method), []
    with torch.no_grad():
        for _ in range(RECORDED_DRAWS):
            negatives = draw_non_boundaries(boundary, NUM_SHOTS, 1, generator)
            losses.append(pseudo_boundary_prediction(tokens[method], boundary, negatives, boundary_classifier))
    over_draws = torch.stack(losses).double()
    spread = recorded(f"{method}/pp_loss_std")
    error = spread / math.sqrt(RECORDED_DRAWS)
    assert abs(over_draws.mean().item() - recorded(f"{method}/pp_loss_expected")) < 3 * error
    difference = over_draws.mean().item() - recorded(f"{method}/pp_loss_mean_over_draws")
    assert abs(difference) < 3 * error * math.sqrt(2)
    assert over_draws.std().item() == pytest.approx(spread, rel=0.1)


def test_predicting_boundaries_refuses_shapes_that_do_not_fit() -> None:
    tokens, boundary = torch.zeros(4, NUM_SHOTS, 5), torch.zeros(4, dtype=torch.long)
    with pytest.raises(AssertionError, match=r"negatives must be \(B, N\)"):
        pseudo_boundary_prediction(tokens, boundary, boundary, nn.Linear(5, 2))
    with pytest.raises(AssertionError, match=r"expected \(B, S, D\) and \(B,\)"):
        pseudo_boundary_prediction(tokens, boundary[:3], boundary[:3, None], nn.Linear(5, 2))


def test_modelling_masked_shots_by_hand() -> None:
    predicted = torch.tensor([[[1.0, 2], [9, 9], [0, 0]]])
    target = torch.tensor([[[1.0, 4], [0, 0], [1, 3]]])
    loss = masked_shot_modeling(predicted, target, torch.tensor([[1, 0, 1]]))
    assert loss.item() == pytest.approx((0 + 4 + 1 + 9) / 4)


@pytest.mark.parametrize("dtype", [torch.bool, torch.float32])
def test_modelling_masked_shots_is_the_error_of_the_shots_cut_out(dtype: torch.dtype) -> None:
    predicted, target = data(1, (4, NUM_SHOTS, 6)).requires_grad_(), data(2, (4, NUM_SHOTS, 6))
    mask = msm_mask(SEED, batch=4).bool()
    cut_out = F.mse_loss(predicted[mask], target[mask])
    weighted = masked_shot_modeling(predicted, target, mask.to(dtype))
    torch.testing.assert_close(weighted, cut_out)
    torch.testing.assert_close(torch.autograd.grad(weighted, predicted), torch.autograd.grad(cut_out, predicted))


def test_target_of_masked_shot_modelling_has_no_gradient() -> None:
    target = torch.zeros(1, 2, 3, requires_grad=True)
    assert not masked_shot_modeling(torch.ones(1, 2, 3), target, torch.ones(1, 2)).requires_grad


def test_no_masked_shot_means_no_loss() -> None:
    predicted = torch.ones(1, 2, 3, requires_grad=True)
    loss = masked_shot_modeling(predicted, torch.zeros(1, 2, 3), torch.zeros(1, 2))
    loss.backward()
    assert loss.item() == 0
    assert predicted.grad is not None
    assert not predicted.grad.any()


@pytest.mark.parametrize("method", BASSL_METHODS)
def test_modelling_masked_shots_is_that_of_the_reference(method: str, crn: nn.Module) -> None:
    head = filled("loss.head_msm", MSMHead(768, 2048))
    x = scene_like(SEED, NUM_SPARSE[method]).requires_grad_()
    dense, mask = x[:, -NUM_SHOTS:], msm_mask(SEED)
    loss = masked_shot_modeling(head(crn(dense, mask)[:, 1:]), dense, mask)
    assert loss.item() == approx(recorded(f"{method}/msm_loss"))
    (gradient,) = torch.autograd.grad(loss, x)
    assert gradient.norm().item() == approx(recorded(f"{method}/msm_grad_norm"))


def test_modelling_masked_shots_refuses_shapes_that_do_not_fit() -> None:
    shots = torch.zeros(4, NUM_SHOTS, 5)
    for predicted, mask in ((shots[:3], torch.ones(4, NUM_SHOTS)), (shots, torch.ones(4, NUM_SHOTS, 1))):
        with pytest.raises(AssertionError, match="masked_shot_modeling takes"):
            masked_shot_modeling(predicted, shots, mask)


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

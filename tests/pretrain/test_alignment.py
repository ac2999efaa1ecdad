from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from bassl.model.heads import NCEHead
from bassl.pretrain.alignment import cosines, pseudo_boundary
from tests.reference import SEED, fill, golden, scene_like


def warped_path(costs: np.ndarray) -> list[tuple[int, int]]:
    """Dynamic time warping written out for costs (2, S): the pairs of its path, from the last to the first.

    Of equally good predecessors the diagonal one is followed, which leaves the first row as late as possible.
    """
    num_rows, num_shots = costs.shape
    total = np.full((num_rows, num_shots), np.inf)
    total[0, 0] = costs[0, 0]
    for row in range(num_rows):
        for shot in range(num_shots):
            for previous_row, previous_shot in ((row - 1, shot - 1), (row - 1, shot), (row, shot - 1)):
                if previous_row >= 0 and previous_shot >= 0:
                    candidate = total[previous_row, previous_shot] + costs[row, shot]
                    total[row, shot] = min(total[row, shot], candidate)
    path = [(num_rows - 1, num_shots - 1)]
    while path[-1] != (0, 0):
        row, shot = path[-1]
        options = {(row - 1, shot - 1): 0, (row - 1, shot): 1, (row, shot - 1): 2}
        inside = [(total[place], order, place) for place, order in options.items() if min(place) >= 0]
        path.append(min(inside)[2])
    return path


def warped_boundary(costs: np.ndarray) -> int:
    """Last dense shot on the first row of the path."""
    return max(shot for row, shot in warped_path(costs) if row == 0)


def written_out(sparse: Tensor, dense: Tensor) -> list[int]:
    cosine = np.einsum("bnd,bsd->bns", sparse.double().numpy(), dense.double().numpy())
    return [warped_boundary(costs) for costs in np.maximum(1 - cosine, 0)]


def with_cosines(to_first: Tensor, to_last: Tensor) -> tuple[Tensor, Tensor]:
    """Unit embeddings, D=3, whose cosines to the two sparse shots are exactly the given (B, S)."""
    rest = (1 - to_first.square() - to_last.square()).sqrt()
    sparse = torch.eye(3)[:2].expand(len(to_first), 2, 3)
    return sparse, torch.stack([to_first, to_last, rest], dim=-1)


def random_embeddings(batch: int, num_shots: int, dim: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(num_shots)
    sparse = torch.randn(batch, 2, dim, generator=generator)
    dense = torch.randn(batch, num_shots, dim, generator=generator)
    return F.normalize(sparse, dim=-1), F.normalize(dense, dim=-1)


def test_boundary_of_four_shots_by_hand() -> None:
    # costs to the first shot 0 0 1 1, to the last 1 1 0 0: two shots each
    sparse, dense = with_cosines(torch.tensor([[1.0, 1, 0, 0]]), torch.tensor([[0.0, 0, 1, 1]]))
    boundary = pseudo_boundary(sparse, dense)
    assert boundary.tolist() == [1]
    assert boundary.dtype == torch.int64


@pytest.mark.parametrize("num_shots", [2, 3, 9, 17])
def test_boundary_is_that_of_the_written_out_dynamic_program(num_shots: int) -> None:
    sparse, dense = random_embeddings(1500, num_shots, dim=6)
    expected = written_out(sparse, dense)
    assert pseudo_boundary(sparse, dense).tolist() == expected
    assert set(expected) == set(range(num_shots - 1))


def test_ties_are_broken_as_in_the_dynamic_program() -> None:
    # Multiples of 1/4: exact sums, so that a third of the windows have several best boundaries.
    generator = torch.Generator().manual_seed(0)
    to_first, to_last = torch.randint(0, 3, (2, 3000, 17), generator=generator) / 4
    sparse, dense = with_cosines(to_first, to_last)
    totals = (to_last - to_first).cumsum(1)[:, :-1]
    assert (totals == totals.amin(1, keepdim=True)).sum(1).gt(1).sum() > 1000
    assert pseudo_boundary(sparse, dense).tolist() == written_out(sparse, dense)


def test_half_precision_input_is_aligned_in_32_bit_also_inside_autocast() -> None:
    sparse, dense = random_embeddings(500, 17, dim=128)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = pseudo_boundary(sparse, dense)
    assert torch.equal(inside, pseudo_boundary(sparse, dense))
    halves = sparse.half(), dense.half()
    assert pseudo_boundary(*halves).tolist() == written_out(*halves)


def test_a_cosine_above_one_cannot_outweigh_a_worse_shot() -> None:
    # Unclamped the third shot would win 0.02 and pay for the second one's 0.01.
    sparse = torch.eye(3)[None, :2]
    dense = torch.tensor([[[1.0, 0, 0], [0.5, 0.51, 0.7], [1.02, 1.0, 0], [0, 1.0, 0]]])
    assert pseudo_boundary(sparse, dense).tolist() == [0]


def test_boundary_has_no_gradient_and_leaves_its_input_alone() -> None:
    sparse, dense = random_embeddings(4, 17, dim=8)
    before = dense.clone()
    assert not pseudo_boundary(sparse.requires_grad_(), dense.requires_grad_()).requires_grad
    assert torch.equal(dense, before)


@pytest.mark.parametrize("method, num_sparse", [("bassl", 2), ("bassl_shotcol", 3)])
def test_boundaries_are_those_of_the_reference(method: str, num_sparse: int) -> None:
    heads = torch.nn.ModuleDict({"loss": torch.nn.ModuleDict({"head_nce": NCEHead(2048, 2048, 128)})})
    with torch.no_grad():
        embeddings = fill(heads)["loss"]["head_nce"](scene_like(SEED, num_sparse))  # type: ignore[index]
    sparse, dense = embeddings[:, :2], embeddings[:, num_sparse:]
    assert pseudo_boundary(sparse, dense).tolist() == golden()[f"{method}/boundary_idx"].tolist()
    paths = [warped_path(costs) for costs in (1 - cosines(sparse, dense)).clamp(min=0).numpy()]
    assert [len(path) for path in paths] == golden()[f"{method}/path_len"].tolist()


@pytest.mark.parametrize(
    "sparse, dense",
    [
        ((4, 3, 8), (4, 17, 8)),
        ((4, 2, 8), (4, 17, 9)),
        ((3, 2, 8), (4, 17, 8)),
        ((4, 2, 8), (4, 8)),
        ((4, 2, 8), (4, 1, 8)),
    ],
)
def test_shapes_that_do_not_fit_are_refused(sparse: tuple[int, ...], dense: tuple[int, ...]) -> None:
    with pytest.raises(AssertionError, match=r"pseudo_boundary takes|needs 2 shots"):
        pseudo_boundary(torch.zeros(sparse), torch.zeros(dense))

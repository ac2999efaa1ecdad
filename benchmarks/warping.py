"""The reference's way of finding pseudo-boundaries: dynamic time warping, a sample and a cell at a time.

Written from the description: two sparse rows, costs 1 - cosine, of equal paths the one with the largest boundary.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from torch import Tensor


def boundaries(sparse: Tensor, dense: Tensor) -> list[int]:
    """Last shot of the left scene of each window: (B, 2, D), (B, S, D), all of unit length."""
    costs = 1 - (sparse @ dense.transpose(1, 2)).float().cpu().numpy()
    return [boundary(cost) for cost in costs]


def boundary(cost: npt.NDArray[np.float32]) -> int:
    """The last column that the best path through a cost matrix (2, S) spends in its first row."""
    rows, columns = cost.shape
    total = np.full((rows + 1, columns + 1), np.inf)
    total[0, 0] = 0
    for row in range(1, rows + 1):
        for column in range(1, columns + 1):
            before = min(total[row - 1, column], total[row, column - 1], total[row - 1, column - 1])
            total[row, column] = max(cost[row - 1, column - 1], 0) + before
    return _walk_back(total)[0][-1]


def _walk_back(total: npt.NDArray[np.float64]) -> list[list[int]]:
    """Columns of each row on the best path, found from its end."""
    rows, columns = total.shape[0] - 1, total.shape[1] - 1
    path: list[list[int]] = [[] for _ in range(rows)]
    row, column = rows, columns
    while row > 0 and column > 0:
        path[row - 1].insert(0, column - 1)
        if row == 1:
            column -= 1
            continue
        # straight on within the row, or up to the row before; a path that stays two rows deep in one column is longer
        up, left = total[row - 1, column - 1], total[row, column - 1]
        if up <= left:
            row, column = row - 1, column - 1
        else:
            column -= 1
    return path

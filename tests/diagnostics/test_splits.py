from __future__ import annotations

import numpy as np
import pytest
import torch

from bassl.dataset.window import pretrain_window
from bassl.diagnostics.splits import SplitWindow, split_figure, split_windows
from bassl.errors import InputError
from tests.plots.drawing import marks_called, plain_keyframe, texts
from tests.reference import data


def ends_at(num_shots: int, *shots: int) -> np.ndarray:
    is_boundary = np.zeros(num_shots, dtype=bool)
    is_boundary[list(shots)] = True
    return is_boundary


def test_two_plain_scenes_are_split_where_they_meet() -> None:
    embeddings = torch.eye(2)[(torch.arange(40) > 18).long()]
    (window,) = split_windows(embeddings, ends_at(40, 18), [20])
    assert window.shots.tolist() == list(range(12, 29))
    assert window.boundary == 6
    assert window.labelled == (6,)


@pytest.mark.parametrize("seed", range(20))
def test_the_split_is_the_cheapest_path_of_a_slow_time_warping(seed: int) -> None:
    embeddings = torch.nn.functional.normalize(data(seed, (50, 8)), dim=1)
    center = 5 + 2 * seed
    (window,) = split_windows(embeddings, ends_at(50), [center])
    shots = pretrain_window(center, 50)
    assert window.shots.tolist() == shots.tolist()
    cost = 1 - embeddings[shots[[0, -1]]] @ embeddings[shots].T
    path = {b: float(cost[0, : b + 1].sum() + cost[1, b + 1 :].sum()) for b in range(16)}
    assert path[window.boundary] == pytest.approx(min(path.values()), abs=1e-5)


def test_labelled_ends_are_those_inside_the_window_between_two_of_its_shots() -> None:
    is_boundary = ends_at(60, 21, 22, 30, 38, 5)
    (window,) = split_windows(data(0, (60, 4)), is_boundary, [30])
    assert window.shots[[0, -1]].tolist() == [22, 38]
    assert window.labelled == (0, 8)


def test_with_an_interval_an_end_lies_between_the_two_shots_around_it() -> None:
    (window,) = split_windows(data(0, (60, 4)), ends_at(60, 25), [30], neighbor_size=4, interval=3)
    assert window.shots.tolist() == list(range(18, 43, 3))
    assert window.labelled == (2,)


def test_a_film_shorter_than_the_window_marks_its_ends_once() -> None:
    (window,) = split_windows(data(0, (5, 4)), ends_at(5, 0, 4), [2])
    assert len(window.shots) == 17
    assert len(window.labelled) == 1
    position = window.labelled[0]
    assert window.shots[position : position + 2].tolist() == [0, 1]


def test_windows_and_boundaries_belong_to_their_centres() -> None:
    embeddings = data(3, (80, 6))
    windows = split_windows(embeddings, ends_at(80), [10, 40, 70])
    assert len(windows) == 3
    for window, center in zip(windows, (10, 40, 70), strict=True):
        assert window.shots.tolist() == pretrain_window(center, 80).tolist()
        assert window.boundary == split_windows(embeddings, ends_at(80), [center])[0].boundary
    assert split_windows(embeddings, ends_at(80), []) == []


@pytest.mark.parametrize(
    ("embeddings", "labels", "message"),
    [
        (torch.zeros(4), np.zeros(4, bool), r"have shapes \(4,\) and \(4,\)"),
        (torch.zeros(4, 2), np.zeros(5, bool), r"have shapes \(4, 2\) and \(5,\)"),
        (torch.full((4, 2), torch.nan), np.zeros(4, bool), "give finite"),
        (torch.zeros(1, 2), np.zeros(1, bool), "a film of 1 shot has nothing to split"),
    ],
)
def test_what_cannot_be_split_is_refused(embeddings: torch.Tensor, labels: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        split_windows(embeddings, labels, [0])


def test_the_picture_marks_the_split_below_and_the_labels_above() -> None:
    windows = [SplitWindow(np.arange(17), 4, (2, 9)), SplitWindow(np.arange(20, 37), 7, ())]
    figure = split_figure("film", windows, plain_keyframe)
    (axes,) = figure.axes
    assert marks_called(figure, "labelled scene end") == [16 + 3 * 90, 16 + 10 * 90]
    assert marks_called(figure, "pseudo-boundary") == [16 + 5 * 90, 16 + 8 * 90]
    kinds = {line.get_label(): line.get_marker() for line in axes.lines}
    assert kinds["labelled scene end"] != kinds["pseudo-boundary"]
    tops = {str(line.get_label()): line.get_ydata()[0] for line in axes.lines[:2]}
    assert tops["labelled scene end"] < tops["pseudo-boundary"]  # pixels count downwards
    assert len(axes.images) == 34


def test_the_picture_says_how_far_off_each_split_is() -> None:
    windows = [
        SplitWindow(np.arange(17), 4, (2, 9)),
        SplitWindow(np.arange(17), 4, (4,)),
        SplitWindow(np.arange(17), 4, (5,)),
        SplitWindow(np.arange(17), 4, ()),
    ]
    found = texts(split_figure("film", windows, plain_keyframe))
    for text in ("off by 2 shots", "met", "off by 1 shot", "no labelled scene end in this window"):
        assert text in found


def test_no_window_makes_an_empty_sheet() -> None:
    assert len(split_figure("film", [], plain_keyframe).axes[0].images) == 0

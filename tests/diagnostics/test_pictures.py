from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from bassl.dataset.window import pretrain_window
from bassl.diagnostics.pictures import align_windows, alignment, nearest_shots, neighbors, pictures_of, precision_recall
from bassl.diagnostics.run import FinishedRun
from bassl.errors import InputError
from bassl.finetune.metrics import average_precision
from tests.diagnostics.finished import write_finetuning
from tests.knn import same_scene_precision
from tests.plots.drawing import line_called, marks_called, texts
from tests.reference import data


@pytest.fixture(scope="module")
def run(tiny_movienet: Path, tmp_path_factory: pytest.TempPathFactory) -> FinishedRun:
    return FinishedRun(write_finetuning(tiny_movienet, tmp_path_factory.mktemp("finetuning")))


def test_precision_and_recall_are_those_of_the_runs_predictions(run: FinishedRun) -> None:
    ap = average_precision(run.predictions.probability, np.abs(run.predictions.label))
    assert line_called(precision_recall(run), "AP").get_label() == f"AP {100 * ap:.1f} %"
    other = FinishedRun(run.folder, ("config.TEST.THRESHOLD=0.125",))
    assert str(line_called(precision_recall(other), "threshold").get_label()).startswith("threshold 0.125:")


def test_the_loss_is_titled_with_the_runs_name(run: FinishedRun) -> None:
    assert "Training loss: run" in texts(pictures_of(run, 0, 6)["loss"]())


def test_sheets_have_the_requested_rows_and_no_window_twice(run: FinishedRun) -> None:
    assert len(neighbors(run, 0, 3).axes[0].images) == 3 * (1 + 6)
    figure = alignment(run, 0, 6)
    (axes,) = figure.axes
    first_shots = [text.get_text() for text in axes.texts if text.get_text().isdigit()][::17]
    assert 1 < len(set(first_shots)) == len(first_shots) == len(marks_called(figure, "pseudo-boundary"))


def test_missing_keyframes_name_the_key_to_set(run: FinishedRun, tmp_path: Path) -> None:
    moved = FinishedRun(run.folder, (f"config.IMG_PATH={tmp_path}",))
    with pytest.raises(InputError, match=r"no key-frames of tt0000003 in .*; set config.DATA_PATH or config.IMG_PATH"):
        neighbors(moved, 0, 3)


def test_neighbours_by_hand_leave_the_query_out() -> None:
    features = torch.tensor([[1.0, 0.0], [3.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    shots, cosines = nearest_shots(features, [0, 3], 2)
    assert shots[0].tolist() == [1, 3]
    torch.testing.assert_close(cosines, torch.tensor([[1.0, 0.5**0.5], [0.5**0.5, 0.5**0.5]]))
    opposite = torch.tensor([[1.0, 0.0], [-1.0, 0.1], [-1.0, -0.1]])
    assert sorted(nearest_shots(opposite, [0], 6)[0][0].tolist()) == [1, 2]


@pytest.mark.parametrize("seed", range(3))
def test_neighbours_equal_a_slow_search_and_the_precision_of_validation(seed: int) -> None:
    features, scene = data(seed, (40, 8)) + 2 * torch.eye(8)[torch.arange(40) // 5], torch.arange(40) // 5
    shots, _ = nearest_shots(features, range(40), 5)
    for query in range(40):
        cosine = torch.cosine_similarity(features[query], features, dim=1).tolist()
        others = [shot for shot in range(40) if shot != query]
        assert shots[query].tolist() == sorted(others, key=cosine.__getitem__, reverse=True)[:5]
    precision = 100 * (scene[shots] == scene[:, None]).double().mean()
    assert float(precision) == pytest.approx(float(same_scene_precision(features, torch.zeros(40), scene, [5])))


def ends_at(num_shots: int, *shots: int) -> np.ndarray:
    is_boundary = np.zeros(num_shots, dtype=bool)
    is_boundary[list(shots)] = True
    return is_boundary


def test_two_plain_scenes_are_split_where_they_meet() -> None:
    embeddings = torch.eye(2)[(torch.arange(40) > 18).long()]
    (window,) = align_windows(embeddings, ends_at(40, 18), [20], 8, 1)
    assert (window.shots.tolist(), window.boundary, window.labelled) == (list(range(12, 29)), 6, (6,))


def test_each_split_is_the_cheapest_path_of_a_slow_time_warping() -> None:
    embeddings = torch.nn.functional.normalize(data(0, (90, 8)), dim=1)
    centers = list(range(0, 90, 6))
    for center, window in zip(centers, align_windows(embeddings, ends_at(90), centers, 8, 1), strict=True):
        shots = pretrain_window(center, 90)
        assert window.shots.tolist() == shots.tolist()
        cost = 1 - embeddings[shots[[0, -1]]] @ embeddings[shots].T
        path = {b: float(cost[0, : b + 1].sum() + cost[1, b + 1 :].sum()) for b in range(16)}
        assert path[window.boundary] == pytest.approx(min(path.values()), abs=1e-5)
    assert align_windows(embeddings, ends_at(90), [], 8, 1) == []


@pytest.mark.parametrize(("num_shots", "ends", "center", "size", "interval", "labelled"), [
    (60, (5, 21, 22, 30, 38), 30, 8, 1, (0, 8)),  # of shots 22 to 38, whose own end lies outside
    (60, (25,), 30, 4, 3, (2,)),  # between shots 24 and 27
    (5, (0, 4), 2, 8, 1, (6,)),  # the window repeats the film's first shot; its end counts once
])  # fmt: skip
def test_labelled_ends_lie_between_two_shots_of_the_window(
    num_shots: int, ends: tuple, center: int, size: int, interval: int, labelled: tuple
) -> None:
    (window,) = align_windows(data(0, (num_shots, 4)), ends_at(num_shots, *ends), [center], size, interval)
    assert window.labelled == labelled

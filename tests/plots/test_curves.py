from __future__ import annotations

import numpy as np
import pytest

from bassl.errors import InputError
from bassl.plots.curves import distance_figure, knn_figure, loss_figure, running_mean
from bassl.plots.scalars import Series
from tests.plots.drawing import line_called


def logged(num_points: int, seed: int = 0) -> Series:
    return Series(np.arange(num_points) * 10, np.random.default_rng(seed).random(num_points))


def test_the_sum_comes_first_and_every_term_has_its_panel() -> None:
    scalars = {tag: logged(5) for tag in ("train/ssm", "train/pp", "train/loss", "lr-LARS", "knn/precision@1")}
    figure = loss_figure(scalars)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["loss", "pp", "ssm"]


def test_a_short_curve_is_drawn_as_it_is() -> None:
    series = logged(7)
    (axes,) = loss_figure({"train/loss": series}).axes
    (line,) = axes.lines
    np.testing.assert_array_equal(line.get_xdata(), series.step)
    np.testing.assert_array_equal(line.get_ydata(), series.value)


def test_a_long_curve_has_what_was_logged_behind_its_mean() -> None:
    series = logged(400)
    (axes,) = loss_figure({"train/loss": series}).axes
    raw, mean = axes.lines
    np.testing.assert_array_equal(raw.get_ydata(), series.value)
    np.testing.assert_allclose(mean.get_ydata(), running_mean(series.value, 10))
    assert mean.get_linewidth() > raw.get_linewidth()


@pytest.mark.parametrize("num_tags", range(1, 9))
def test_panels_lie_in_the_picture_and_apart(num_tags: int) -> None:
    figure = loss_figure({f"train/{name}": logged(50) for name in range(num_tags)})
    boxes = [axes.get_position() for axes in figure.axes]
    assert len(boxes) == num_tags
    assert all(0 <= box.x0 < box.x1 <= 1 and 0 <= box.y0 < box.y1 <= 1 for box in boxes)
    assert not any(a.overlaps(b) for number, a in enumerate(boxes) for b in boxes[:number])


def test_a_run_without_training_loss_is_refused() -> None:
    with pytest.raises(InputError, match="no training loss among the 1 logged values"):
        loss_figure({"test/AP": logged(3)})


@pytest.mark.parametrize("window", [1, 2, 3, 7, 50])
def test_the_running_mean_equals_the_slow_one(window: int) -> None:
    values = np.random.default_rng(window).random(23)
    values[[4, 5, 6, 7, 20]] = np.nan
    for place, found in enumerate(running_mean(values, window)):
        inside = [v for v in values[max(place - window // 2, 0) : place + window // 2 + 1] if not np.isnan(v)]
        if inside:
            assert found == pytest.approx(np.mean(inside))
        else:
            assert np.isnan(found)


def test_a_loss_that_became_nan_is_drawn() -> None:
    values = np.ones(100)
    values[50:] = np.nan
    loss_figure({"train/loss": Series(np.arange(100), values)}).canvas.draw()


def test_knn_has_a_curve_for_each_k_in_order_over_epochs() -> None:
    scalars = {f"knn/precision@{k}": Series(np.array([9, 19]), np.array([k, 2.0 * k])) for k in (10, 1, 5)}
    scalars["epoch"] = Series(np.array([0, 9, 10, 19]), np.array([0.0, 0, 1, 1]))
    (axes,) = knn_figure(scalars).axes
    assert [line.get_label() for line in axes.lines] == ["k = 1", "k = 5", "k = 10"]
    for line, k in zip(axes.lines, (1, 5, 10), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), [1, 2])
        np.testing.assert_array_equal(line.get_ydata(), [k, 2 * k])


def test_knn_curves_differ_in_line_and_marker_and_not_only_in_colour() -> None:
    scalars = {f"knn/precision@{k}": logged(3) for k in (1, 5, 10, 15, 20)}
    lines = knn_figure(scalars).axes[0].lines
    assert len({line.get_marker() for line in lines}) == 5
    assert len({str(line.get_linestyle()) + str(line._dash_pattern) for line in lines}) == 5


def test_a_run_without_knn_is_refused() -> None:
    with pytest.raises(InputError, match="no k-NN precision among the 0 logged values"):
        knn_figure({})


def test_the_distance_is_drawn_beside_chance_over_epochs() -> None:
    distance = Series(np.array([0, 9, 19]), np.array([2.5, 2.0, 1.5]))
    scalars = {
        "val/pseudo_boundary_distance": distance,
        "val/pseudo_boundary_distance_random": Series(distance.step, np.full(3, 2.8)),
        "epoch": Series(np.array([0, 9, 10, 19]), np.array([0.0, 0, 1, 1])),
    }
    (axes,) = distance_figure(scalars).axes
    assert [line.get_label() for line in axes.lines] == ["pseudo-boundary", "at random"]
    for line, values in zip(axes.lines, ([2.5, 2.0, 1.5], [2.8] * 3), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), [0, 1, 2])
        np.testing.assert_array_equal(line.get_ydata(), values)
    with pytest.raises(InputError, match="no val/pseudo_boundary_distance among the 1 logged values"):
        distance_figure({"epoch": distance})


def test_the_title_is_drawn() -> None:
    figure = knn_figure({"knn/precision@1": logged(1)}, title="$title")
    assert [text.get_text() for text in figure.texts] == ["$title"]
    assert len(line_called(figure, "k = 1").get_xdata()) == 1

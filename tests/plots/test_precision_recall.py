from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure

from bassl.finetune.metrics import average_precision, precision_recall_curve
from bassl.plots.precision_recall import precision_recall_figure
from tests.plots.drawing import line_called, texts

PROBABILITY = np.array([0.9, 0.8, 0.7, 0.6, 0.5])
LABEL = np.array([1, 0, 1, 0, 0])


def drawn(probability: np.ndarray, label: np.ndarray, chosen: float | None = None) -> Figure:
    curve = precision_recall_curve(probability, label)
    return precision_recall_figure(
        curve.recall, curve.precision, curve.threshold, chance=label.mean(),
        average_precision=average_precision(probability, label), chosen=chosen,
    )  # fmt: skip


def test_the_curve_has_one_point_per_threshold_and_chance_is_the_fraction_of_scene_ends() -> None:
    figure = drawn(PROBABILITY, LABEL)
    line = line_called(figure, "AP")
    np.testing.assert_allclose(line.get_xdata(), [0, 0.5, 0.5, 1, 1, 1])
    np.testing.assert_allclose(line.get_ydata(), [1, 1, 1 / 2, 2 / 3, 2 / 4, 2 / 5])
    assert set(line_called(figure, "chance 40.0 %").get_ydata()) == {0.4}


@pytest.mark.parametrize("seed", range(3))
def test_the_area_under_the_drawn_steps_is_the_average_precision(seed: int) -> None:
    rng = np.random.default_rng(seed)
    probability, label = rng.random(200).round(2), (rng.random(200) < 0.1).astype(int)
    line = line_called(drawn(probability, label), "AP")
    area = np.sum(np.diff(np.asarray(line.get_xdata())) * np.asarray(line.get_ydata())[1:])
    assert line.get_drawstyle() == "steps-pre"
    assert area == pytest.approx(average_precision(probability, label))
    assert line.get_label() == f"AP {100 * area:.1f} %"


@pytest.mark.parametrize(("chosen", "recall", "precision"), [(0.7, 1, 2 / 3), (0.65, 1, 2 / 3), (0.85, 0.5, 1.0)])
def test_the_threshold_in_use_is_marked_at_its_point(chosen: float, recall: float, precision: float) -> None:
    mark = line_called(drawn(PROBABILITY, LABEL, chosen), "threshold")
    np.testing.assert_allclose([mark.get_xdata()[0], mark.get_ydata()[0]], [recall, precision])
    assert mark.get_label() == f"threshold {chosen:.3g}: precision {100 * precision:.0f} %, recall {100 * recall:.0f} %"


@pytest.mark.parametrize("chosen", [None, float("nan"), 0.95])
def test_a_threshold_above_every_score_has_no_mark(chosen: float | None) -> None:
    assert len(drawn(PROBABILITY, LABEL, chosen).axes[0].lines) == 2


def test_without_a_labelled_scene_end_the_picture_says_so() -> None:
    figure = drawn(PROBABILITY, np.zeros(5, int), 0.5)
    assert "no labelled scene end: nothing to find" in texts(figure)
    assert len(figure.axes[0].lines) == 0

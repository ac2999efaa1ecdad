from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bassl.sweep.picture import results_figure
from bassl.sweep.results import RowResult, RunResult


def row(name: str, values: list[float], published: float | None = None, **others: float) -> RowResult:
    runs = [RunResult(name, seed, {"AP": value, **others}, {}) for seed, value in enumerate(values)]
    return RowResult(name, tuple(runs), published)


ROWS = [
    row("random", [18.0, 20.0, 21.0], training_free_AP=15.0),
    row("bassl", [47.0, 49.0, 50.0], published=56.26, training_free_AP=30.0, zero_shot_AP=12.0),
    row("nothing", []),
]


def test_every_seed_is_a_dot_and_the_mean_and_spread_a_bar() -> None:
    (axes,) = results_figure(ROWS, "mine").axes
    dots = [line.get_xdata() for line in axes.lines if line.get_marker() == "o"]
    assert [list(values) for values in dots] == [[18.0, 20.0, 21.0], [47.0, 49.0, 50.0]]
    bars = [bar for bars in axes.containers for bar in bars]
    for bar, one in zip(bars, ROWS, strict=False):
        values = [run.values["AP"] for run in one.runs]
        assert bar.get_x() + bar.get_width() / 2 == pytest.approx(np.mean(values))
        assert bar.get_width() / 2 == pytest.approx(np.std(values, ddof=1))
    assert len(bars) == 2
    assert [label.get_text() for label in axes.get_yticklabels()] == ["random", "bassl", "nothing"]
    assert [text.get_text() for text in axes.texts] == ["19.7 ± 1.5", "48.7 ± 1.5", "not done"]


def test_references_are_drawn_within_the_picture() -> None:
    (axes,) = results_figure(ROWS, "mine").axes
    marks = {line.get_marker(): list(line.get_xdata()) for line in axes.lines if line.get_marker() in "x^D"}
    assert marks == {"x": [30.0], "^": [12.0], "D": [56.26]}
    low, high = axes.get_xlim()
    assert low < 12.0 < 56.26 < high


def test_no_text_overlaps_another_or_leaves_the_picture() -> None:
    figure = results_figure(
        [*ROWS, row("a_row_with_a_very_long_name", [99.0], published=100.0)], "a title", "about " * 30
    )
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    (axes,) = figure.axes
    (legend,) = figure.legends
    low, high = axes.get_xlim()
    ticks = [label for label in axes.get_xticklabels() if low <= label.get_position()[0] <= high]
    texts = [*figure.texts, *axes.texts, *axes.get_yticklabels(), *ticks, axes.xaxis.label]
    boxes = [text.get_window_extent(renderer) for text in texts] + [legend.get_window_extent(renderer)]
    width, height = figure.canvas.get_width_height()
    for number, box in enumerate(boxes):
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height
        assert not any(box.overlaps(other) for other in boxes[:number])


def test_limited_films_become_learning_curves_with_their_spread() -> None:
    rows = [
        replace(row(name, [ap, ap + 2.0]), num_films=films)
        for name in ("random", "bassl")
        for films, ap in ((2, 10.0), (8, 20.0), (32, 30.0))
    ]
    rows.append(replace(row("bassl", []), num_films=128))
    (axes,) = results_figure(rows, "mine").axes
    assert [container.get_label() for container in axes.containers] == ["random", "bassl"]
    for container in axes.containers:
        line, _, (bars,) = container
        assert (list(line.get_xdata()), list(line.get_ydata())) == ([2, 8, 32], [11.0, 21.0, 31.0])
        assert [segment[1, 1] - segment[0, 1] for segment in bars.get_segments()] == pytest.approx([2 * 2**0.5] * 3)
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["2", "8", "32", "128"]
    assert axes.get_xscale() == "log"


def test_the_longest_name_leaves_room_for_the_picture() -> None:
    figure = results_figure([row("long_" + "r" * 180 + "_end", [50.0])], "mine")
    (axes,) = figure.axes
    (name,) = [label.get_text() for label in axes.get_yticklabels()]
    assert name.startswith("long_rr") and name.endswith("rr_end") and len(name) < 60
    figure.canvas.draw()
    assert axes.get_window_extent().width > 200
    assert axes.get_yticklabels()[0].get_window_extent().x0 >= 0

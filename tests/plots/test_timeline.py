from __future__ import annotations

import gc
import weakref
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from bassl.errors import InputError
from bassl.plots.style import new_figure
from bassl.plots.timeline import WIDTH, clock, draw_timeline, film_scores, row_ranges, timeline_figure
from tests.plots.drawing import axes_called, marks_called, plain_keyframe

FOUND, MISSED = "labelled scene end, found", "labelled, missed"
RIGHT, FALSE = "predicted, right", "predicted, false alarm"


def film(num_shots: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.random(num_shots), (rng.random(num_shots) < 0.15).astype(int)


def drawn(probability: Any, label: Any = None, keyframes: Any = None, **options: Any) -> Figure:
    return timeline_figure("film", film_scores(probability, label, **options), keyframes)


def test_a_shot_at_the_threshold_is_predicted_and_an_uncertain_label_is_a_scene_end() -> None:
    scores = film_scores([0.0, 0.5, 0.49, 1.0], [0, 1, -1, 0])
    assert scores.is_predicted.tolist() == [False, True, False, True]
    assert scores.is_labelled is not None and scores.is_labelled.tolist() == [False, True, True, False]


@pytest.mark.parametrize(("arguments", "message"), [
    ({"probability": []}, r"probability has shape \(0,\)"),
    ({"probability": [0.1, np.nan]}, "probability 1 is nan"),
    ({"probability": [0.1, 1.5]}, "probability 1 is 1.5"),
    ({"probability": [0.1], "label": [0, 1]}, r"label has shape \(2,\) for 1 shots"),
    ({"probability": [0.1], "label": [2]}, "give 1, 0 or -1"),
    ({"probability": [0.1], "seconds": [0.0, 1.0]}, r"seconds has shape \(2,\) for 1 shots"),
])  # fmt: skip
def test_columns_that_do_not_belong_together_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        film_scores(**arguments)


def test_every_scene_end_has_one_mark_and_the_legend_counts_each_kind() -> None:
    figure = drawn([0.9, 0.1, 0.2, 0.8, 0.1], [1, 0, 1, 0, 0], threshold=0.75)
    assert [marks_called(figure, name) for name in (FOUND, MISSED, RIGHT, FALSE)] == [[0.5], [2.5], [0.5], [3.5]]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        f"{FOUND} (1)", f"{MISSED} (1)", f"{RIGHT} (1)", f"{FALSE} (1)", "boundary probability", "threshold 0.75",
    ]  # fmt: skip


@pytest.mark.parametrize("num_shots", [20, 61, 300])
def test_there_are_as_many_marks_as_scene_ends_over_all_rows(num_shots: int) -> None:
    probability, label = film(num_shots)
    figure, predicted = drawn(probability, label, threshold=0.7), probability >= 0.7
    assert len(marks_called(figure, FOUND) + marks_called(figure, MISSED)) == label.sum()
    assert len(marks_called(figure, RIGHT) + marks_called(figure, FALSE)) == predicted.sum()
    assert marks_called(figure, RIGHT) == (np.flatnonzero(predicted & (label == 1)) + 0.5).tolist()


def test_labelled_and_predicted_ends_differ_in_shape_and_height_and_not_only_in_colour() -> None:
    lines = {line.get_label(): line for line in axes_called(drawn([0.9, 0.1, 0.8], [1, 1, 0]), "panel")[0].lines}
    assert lines[FOUND].get_marker() == lines[MISSED].get_marker() == "v"
    assert lines[RIGHT].get_marker() == lines[FALSE].get_marker() == "^"
    assert lines[FOUND].get_ydata()[0] > 1 and lines[RIGHT].get_ydata()[0] < 0
    assert lines[MISSED].get_markerfacecolor() == lines[FALSE].get_markerfacecolor() == "white"


def test_one_bar_per_shot_is_as_high_as_its_probability_and_rows_show_their_shots_only() -> None:
    probability, label = film(130)
    panels = axes_called(drawn(probability, label), "panel")
    assert [panel.get_xlim() for panel in panels] == [(-0.5, 43.5), (43.5, 87.5), (87.5, 129.5)]
    bars = {round(p.get_x() + p.get_width() / 2): p.get_height() for a in panels for c in a.containers for p in c}
    np.testing.assert_allclose([bars[shot] for shot in range(130)], probability)


def test_every_second_scene_has_a_band_from_labelled_end_to_labelled_end() -> None:
    (panel,) = axes_called(drawn([0.1] * 8, [0, 1, 0, 0, 1, 1, 0, 0]), "panel")
    bands = [patch for patch in panel.patches if patch.get_height() == 1]
    assert [(band.get_x(), band.get_x() + band.get_width()) for band in bands] == [(1.5, 4.5), (5.5, 7.5)]


def test_without_labels_predicted_ends_are_marked_and_divide_the_bands() -> None:
    figure = drawn([0.1, 0.9, 0.2, 0.3])
    assert marks_called(figure, "predicted scene end") == [1.5]
    assert axes_called(figure, "panel")[0].patches[0].get_x() == 1.5
    assert figure.legends[0].get_texts()[0].get_text() == "predicted scene end (1)"
    assert axes_called(figure, "strip") == []


def test_the_strip_shows_each_shots_keyframe_at_its_place() -> None:
    figure = drawn(*film(20), keyframes=plain_keyframe, shots=range(92, 112))
    (image,) = axes_called(figure, "strip")[0].images
    assert image.get_extent()[:2] == [-0.5, 19.5]
    pixels = np.asarray(image.get_array())
    for place in range(20):
        middle = int((place + 0.5) / 20 * pixels.shape[1])
        np.testing.assert_array_equal(pixels[:, middle], np.tile(plain_keyframe(92 + place)[0, 0], (len(pixels), 1)))


def test_tiles_of_the_strip_do_not_reach_across_a_labelled_scene_end() -> None:
    label = np.zeros(60, int)
    label[[4, 30]] = 1
    pixels = np.asarray(axes_called(drawn([0.1] * 60, label, plain_keyframe), "strip")[0].images[0].get_array())
    changes = np.flatnonzero((np.diff(pixels[0].astype(int), axis=0) != 0).any(1)) + 1
    for end in (5, 31):
        assert np.abs(changes - end * pixels.shape[1] / 60).min() <= 1


def test_numbers_of_shots_stand_below_and_times_above() -> None:
    figure = drawn([0.1] * 20, shots=range(92, 112), seconds=np.arange(20) * 30.0 + 3500)
    (panel,) = axes_called(figure, "panel")
    assert [tick.get_text() for tick in panel.get_xticklabels()] == [str(shot) for shot in range(92, 112, 2)]
    assert panel.get_xticks().tolist() == list(range(0, 20, 2))
    (top,) = panel.child_axes
    assert [tick.get_text() for tick in top.get_xticklabels()][:3] == ["58:20", "59:20", "1:00:20"]
    assert top.get_xticks().tolist() == [place - 0.5 for place in range(0, 20, 2)]
    (panel,) = axes_called(drawn([0.1, 0.2, 0.3], shots=[3, 10, 400]), "panel")
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["3", "10", "400"]
    assert [clock(seconds) for seconds in (9.9, 3599.99, 7325)] == ["0:09", "59:59", "2:02:05"]


@pytest.mark.parametrize("num_shots", [1, 60, 61, 840, 3000])
def test_rows_hold_every_shot_once_and_have_one_length_but_the_last(num_shots: int) -> None:
    rows = row_ranges(num_shots)
    assert [shot for start, stop in rows for shot in range(start, stop)] == list(range(num_shots))
    lengths = [stop - start for start, stop in rows]
    assert len(set(lengths[:-1])) <= 1 and max(lengths) == lengths[0]


@pytest.mark.parametrize(("num_shots", "widest"), [(1, 1000), (20, WIDTH), (136, WIDTH)])
def test_no_text_leaves_the_picture_or_touches_another(num_shots: int, widest: int) -> None:
    figure = drawn(*film(num_shots), plain_keyframe, seconds=np.arange(num_shots) * 40.0)
    figure.canvas.draw()
    width, height = figure.get_size_inches() * 100
    assert width <= widest
    for number, panel in enumerate(axes_called(figure, "panel")):
        top = axes_called(figure, "strip")[number].child_axes[0]
        for axis in (panel.xaxis, top.xaxis):
            boxes = [label.get_window_extent() for label in axis.get_ticklabels()]
            assert min(box.x0 for box in boxes) >= 0 and max(box.x1 for box in boxes) <= width
            assert min(box.y0 for box in boxes) >= 0 and max(box.y1 for box in boxes) <= height
            assert all(a.x1 + 6 < b.x0 for a, b in pairwise(boxes))
        name = [text for text in figure.texts if text.get_text() == "time"][number].get_window_extent()
        assert all(name.x1 < label.get_window_extent().x0 for label in top.xaxis.get_ticklabels())
    assert figure.legends[0].get_window_extent().x1 <= width


@pytest.mark.parametrize(("num_shots", "size"), [
    (1, (426, 240)), (14, (16, 16)), (14, (240, 426)), (14, (4096, 2160)), (700, (426, 240)),
])  # fmt: skip
def test_key_frames_of_any_size_and_films_of_any_length_are_drawn(
    tmp_path: Path, num_shots: int, size: tuple[int, int]
) -> None:
    image = Image.new("RGB", size)
    draw_timeline(tmp_path / "film.png", "film", film_scores(*film(num_shots)), lambda shot: image)
    assert (tmp_path / "film.png").stat().st_size > 1000


def test_films_without_a_scene_end_and_of_nothing_else_are_drawn() -> None:
    figure = drawn([0.0] * 30, [0] * 30, keyframes=plain_keyframe)
    assert [marks_called(figure, name) for name in (FOUND, MISSED, RIGHT, FALSE)] == [[], [], [], []]
    assert len(marks_called(drawn([1.0] * 200, [1] * 200, keyframes=plain_keyframe), FOUND)) == 200


def test_pictures_leave_no_figure_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: weakref.WeakSet[Figure] = weakref.WeakSet()

    def tracked(*arguments: Any) -> Figure:
        figure = new_figure(*arguments)
        alive.add(figure)
        assert len(alive) <= 2
        return figure

    monkeypatch.setattr("bassl.plots.style.new_figure", tracked)
    for number in range(4):
        draw_timeline(tmp_path / "film.png", "film", film_scores([0.9, 0.1], [number % 2, 1]))
        gc.collect()
    assert len(alive) == 0

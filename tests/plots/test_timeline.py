from __future__ import annotations

import gc
import warnings
import weakref
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from bassl.errors import InputError
from bassl.plots.figure import new_figure
from bassl.plots.film_scores import checked_scores
from bassl.plots.timeline import WIDTH, clock, draw_timeline, row_ranges, timeline_figure
from tests.plots.drawing import axes_called, marks_called, plain_keyframe, texts

FOUND, MISSED = "labelled scene end, found", "labelled, missed"
RIGHT, FALSE = "predicted, right", "predicted, false alarm"


def film(num_shots: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.random(num_shots), (rng.random(num_shots) < 0.15).astype(int)


def drawn(probability: Any, label: Any = None, **more: Any) -> Figure:
    keyframes = more.pop("keyframes", None)
    return timeline_figure("film", checked_scores(probability, label, **more), keyframes)


def test_every_scene_end_has_one_mark_at_the_end_of_its_shot() -> None:
    figure = drawn([0.9, 0.1, 0.2, 0.8, 0.1], [1, 0, 1, 0, 0])
    assert marks_called(figure, FOUND) == [0.5]
    assert marks_called(figure, MISSED) == [2.5]
    assert marks_called(figure, RIGHT) == [0.5]
    assert marks_called(figure, FALSE) == [3.5]


@pytest.mark.parametrize("num_shots", [20, 61, 300, 700])
def test_there_are_as_many_marks_as_scene_ends_over_all_rows(num_shots: int) -> None:
    probability, label = film(num_shots)
    figure = drawn(probability, label, threshold=0.7)
    predicted = probability >= 0.7
    assert len(marks_called(figure, FOUND) + marks_called(figure, MISSED)) == label.sum()
    assert len(marks_called(figure, RIGHT) + marks_called(figure, FALSE)) == predicted.sum()
    assert marks_called(figure, RIGHT) == (np.flatnonzero(predicted & (label == 1)) + 0.5).tolist()


def test_labelled_and_predicted_ends_differ_in_shape_and_height_and_not_only_in_colour() -> None:
    figure = drawn([0.9, 0.1, 0.8], [1, 1, 0])
    lines = {line.get_label(): line for line in axes_called(figure, "panel")[0].lines}
    assert lines[FOUND].get_marker() == lines[MISSED].get_marker() == "v"
    assert lines[RIGHT].get_marker() == lines[FALSE].get_marker() == "^"
    assert lines[FOUND].get_ydata()[0] > 1
    assert lines[RIGHT].get_ydata()[0] < 0
    assert lines[MISSED].get_markerfacecolor() == lines[FALSE].get_markerfacecolor() == "white"


def test_a_bar_a_shot_is_as_high_as_its_probability() -> None:
    probability, label = film(130)
    panels = axes_called(drawn(probability, label), "panel")
    assert len(panels) == 3
    bars = {round(p.get_x() + p.get_width() / 2): p.get_height() for a in panels for c in a.containers for p in c}
    assert len(bars) == 130
    np.testing.assert_allclose([bars[shot] for shot in range(130)], probability)


def test_rows_show_their_own_shots_and_nothing_else() -> None:
    panels = axes_called(drawn(*film(130)), "panel")
    assert [panel.get_xlim() for panel in panels] == [(-0.5, 43.5), (43.5, 87.5), (87.5, 129.5)]


def test_scene_bands_alternate_from_labelled_end_to_labelled_end() -> None:
    (panel,) = axes_called(drawn([0.1] * 8, [0, 1, 0, 0, 1, 1, 0, 0]), "panel")
    bands = [patch for patch in panel.patches if patch.get_height() == 1]
    spans = [(band.get_x(), band.get_x() + band.get_width()) for band in bands]
    assert spans == [(1.5, 4.5), (5.5, 7.5)]


def test_without_labels_predicted_ends_alone_are_marked_and_cut_the_bands() -> None:
    figure = drawn([0.1, 0.9, 0.2, 0.3])
    assert marks_called(figure, "predicted scene end") == [1.5]
    (panel,) = axes_called(figure, "panel")
    assert panel.patches[0].get_x() == 1.5
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == [
        "predicted scene end (1)", "boundary probability", "threshold 0.5",
    ]  # fmt: skip


def test_the_legend_counts_every_kind() -> None:
    (legend,) = drawn([0.9, 0.1, 0.2, 0.8, 0.1], [1, 0, 1, 0, 0], threshold=0.75).legends
    assert [text.get_text() for text in legend.get_texts()] == [
        f"{FOUND} (1)", f"{MISSED} (1)", f"{RIGHT} (1)", f"{FALSE} (1)", "boundary probability", "threshold 0.75",
    ]  # fmt: skip


def test_the_strip_shows_each_shots_keyframe_at_its_place() -> None:
    figure = drawn(*film(20), keyframes=plain_keyframe, shot_range=range(92, 112))
    (strip,) = axes_called(figure, "strip")
    (image,) = strip.images
    left, right, _, _ = image.get_extent()
    assert (left, right) == strip.get_xlim() == (-0.5, 19.5)
    pixels = np.asarray(image.get_array())
    for place in range(20):
        middle = int((place + 0.5) / 20 * pixels.shape[1])
        np.testing.assert_array_equal(pixels[:, middle], np.tile(plain_keyframe(92 + place)[0, 0], (len(pixels), 1)))


def test_tiles_of_the_strip_do_not_reach_across_a_labelled_scene_end() -> None:
    label = np.zeros(60, int)
    label[[4, 30]] = 1
    (strip,) = axes_called(drawn([0.1] * 60, label, keyframes=plain_keyframe), "strip")
    pixels = np.asarray(strip.images[0].get_array())
    changes = np.flatnonzero((np.diff(pixels[0].astype(int), axis=0) != 0).any(1)) + 1
    place_width = pixels.shape[1] / 60
    for end in (5, 31):
        assert np.abs(changes - end * place_width).min() <= 1


def test_a_long_film_reads_a_handful_of_keyframes_a_row() -> None:
    read: list[int] = []

    def keyframe(shot: int) -> None:
        read.append(shot)

    drawn([0.1] * 3000, keyframes=keyframe)
    assert len(row_ranges(3000)) == 10
    assert len(read) == 10 * 12


def test_without_keyframes_there_is_no_strip() -> None:
    assert axes_called(drawn([0.1, 0.2]), "strip") == []


def test_ticks_say_shot_numbers_below_and_times_above() -> None:
    figure = drawn([0.1] * 20, shot_range=range(92, 112), shot_seconds=np.arange(20) * 30.0 + 3500)
    (panel,) = axes_called(figure, "panel")
    assert [tick.get_text() for tick in panel.get_xticklabels()] == [str(shot) for shot in range(92, 112, 2)]
    assert panel.get_xticks().tolist() == list(range(0, 20, 2))
    (top,) = panel.child_axes
    assert [tick.get_text() for tick in top.get_xticklabels()][:3] == ["58:20", "59:20", "1:00:20"]
    assert top.get_xticks().tolist() == [place - 0.5 for place in range(0, 20, 2)]


def test_shots_with_gaps_between_them_are_labelled_with_their_own_numbers() -> None:
    (panel,) = axes_called(drawn([0.1, 0.2, 0.3], shot_range=[3, 10, 400]), "panel")
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["3", "10", "400"]


@pytest.mark.parametrize("num_shots", [1, 5, 20, 60, 61, 136, 840, 3000])
def test_rows_hold_every_shot_once_and_are_of_one_length_but_the_last(num_shots: int) -> None:
    rows = row_ranges(num_shots)
    assert [shot for start, stop in rows for shot in range(start, stop)] == list(range(num_shots))
    lengths = [stop - start for start, stop in rows]
    assert len(set(lengths[:-1])) <= 1
    assert max(lengths) == lengths[0]


@pytest.mark.parametrize(("num_shots", "most"), [(1, 1000), (5, 1000), (20, WIDTH), (500, WIDTH)])
def test_a_picture_is_never_wider_than_it_needs_to_be(num_shots: int, most: int) -> None:
    width, _ = drawn([0.1] * num_shots, keyframes=plain_keyframe).get_size_inches() * 100
    assert width <= most


@pytest.mark.parametrize("num_shots", [1, 20, 136])
def test_no_text_runs_out_of_the_picture_or_into_another(num_shots: int) -> None:
    probability, label = film(num_shots)
    figure = drawn(probability, label, keyframes=plain_keyframe, shot_seconds=np.arange(num_shots) * 40.0)
    figure.canvas.draw()
    width, height = figure.get_size_inches() * 100
    for number, panel in enumerate(axes_called(figure, "panel")):
        top = axes_called(figure, "strip")[number].child_axes[0]
        for axis in (panel.xaxis, top.xaxis):
            boxes = [label.get_window_extent() for label in axis.get_ticklabels()]
            assert min(box.x0 for box in boxes) >= 0
            assert max(box.x1 for box in boxes) <= width
            assert min(box.y0 for box in boxes) >= 0
            assert max(box.y1 for box in boxes) <= height
            assert all(a.x1 + 6 < b.x0 for a, b in pairwise(boxes))
        times = [label.get_window_extent() for label in top.xaxis.get_ticklabels()]
        name = [text for text in figure.texts if text.get_text() == "time"][number].get_window_extent()
        assert all(name.x1 < box.x0 for box in times)
    legend = figure.legends[0].get_window_extent()
    assert legend.x1 <= width


def test_a_film_of_one_shot_is_drawn(tmp_path: Path) -> None:
    draw_timeline(
        tmp_path / "one.png", title="one", probability=[0.7], label=[0], keyframes=plain_keyframe, shot_seconds=[0.0]
    )
    with Image.open(tmp_path / "one.png") as image:
        assert image.size[0] == 1000


def test_a_film_without_any_scene_end_is_drawn_with_no_mark() -> None:
    figure = drawn([0.0] * 30, [0] * 30, keyframes=plain_keyframe)
    assert [marks_called(figure, name) for name in (FOUND, MISSED, RIGHT, FALSE)] == [[], [], [], []]


def test_a_film_whose_every_shot_ends_a_scene_is_drawn() -> None:
    assert len(marks_called(drawn([1.0] * 200, [1] * 200, keyframes=plain_keyframe), FOUND)) == 200


@pytest.mark.parametrize("title", ["$\\alpha_{", "影片", "a\nb", "\u202e", "x" * 400])
def test_any_title_is_drawn_without_a_warning(title: str, tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw_timeline(tmp_path / "film.png", title=title, probability=[0.5, 0.1])
    assert (tmp_path / "film.png").stat().st_size > 1000


def test_the_title_stands_in_the_picture() -> None:
    assert "film" in texts(drawn([0.5]))


def test_bad_input_leaves_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="probability 0 is nan"):
        draw_timeline(tmp_path / "film.png", title="film", probability=[np.nan])
    with pytest.raises(InputError, match="a key-frame is float64"):
        draw_timeline(
            tmp_path / "film.png",
            title="film",
            probability=[0.1],
            keyframes=lambda shot: np.zeros((2, 2, 3)),  # type: ignore[arg-type]
        )
    assert list(tmp_path.iterdir()) == []


def test_times_are_written_as_clocks() -> None:
    assert [clock(seconds) for seconds in (0, 9.9, 61, 3599.99, 3600, 7325)] == [
        "0:00", "0:09", "1:01", "59:59", "1:00:00", "2:02:05",
    ]  # fmt: skip


def test_twenty_pictures_leave_no_figure_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: weakref.WeakSet[Figure] = weakref.WeakSet()
    made = 0

    def tracked(width: int, height: int) -> Figure:
        nonlocal made
        made += 1
        figure = new_figure(width, height)
        alive.add(figure)
        return figure

    monkeypatch.setattr("bassl.plots.figure.new_figure", tracked)
    for number in range(20):
        draw_timeline(tmp_path / "film.png", title="film", probability=[0.9, 0.1], label=[number % 2, 1])
    gc.collect()
    assert (made, len(alive)) == (20, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["film.png"]

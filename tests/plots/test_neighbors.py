from __future__ import annotations

import numpy as np

from bassl.plots.neighbors import neighbor_figure
from tests.plots.drawing import plain_keyframe, texts


def test_every_query_and_neighbour_is_shown_with_its_number() -> None:
    neighbors = np.array([[11, 12], [13, 14], [15, 16]])
    scene = np.full(17, -1)
    figure = neighbor_figure("film", [1, 2, 3], neighbors, np.full((3, 2), 0.875), plain_keyframe, scene)
    (axes,) = figure.axes
    shown = [tuple(np.asarray(image.get_array())[0, 0]) for image in axes.images]
    assert shown == [tuple(plain_keyframe(shot)[0, 0]) for shot in (1, 11, 12, 2, 13, 14, 3, 15, 16)]
    assert "shot 16   0.88" in texts(figure)
    assert axes.patches[:] == []


def test_neighbours_of_the_querys_scene_are_framed_and_unknown_scenes_never() -> None:
    scene = np.array([0, 0, 0, 1, 1, -1, -1])
    neighbors = np.array([[1, 3, 2], [4, 0, 5], [6, 0, 1]])
    (axes,) = neighbor_figure("film", [0, 3, 5], neighbors, np.zeros((3, 3)), plain_keyframe, scene).axes
    columns = sorted({image.get_extent()[0] for image in axes.images})[1:]
    frames = [(columns.index(frame.get_x()), round(frame.get_y())) for frame in axes.patches]
    assert frames == [(0, 78), (2, 78), (0, 220)]
    bold = [text.get_text().split()[1] for text in axes.texts if text.get_fontweight() == "bold"]
    assert bold == ["0", "1", "2", "3", "4", "5"]


def test_no_query_makes_an_empty_sheet() -> None:
    empty = np.zeros((0, 4), np.int64)
    assert len(neighbor_figure("film", [], empty, empty, plain_keyframe, np.zeros(3)).axes[0].images) == 0

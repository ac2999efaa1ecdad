from __future__ import annotations

import numpy as np

from bassl.plots.alignment import AlignedWindow, alignment_figure
from tests.plots.drawing import marks_called, plain_keyframe, texts

WINDOWS = [
    AlignedWindow(np.arange(17), 4, (2, 9)),
    AlignedWindow(np.arange(20, 37), 7, ()),
    AlignedWindow(np.arange(17), 4, (4,)),
    AlignedWindow(np.arange(17), 4, (5,)),
]


def test_the_pseudo_boundary_is_marked_below_and_labelled_ends_above() -> None:
    figure = alignment_figure("film", WINDOWS[:2], plain_keyframe)
    (axes,) = figure.axes
    assert marks_called(figure, "labelled scene end") == [16 + 3 * 90, 16 + 10 * 90]
    assert marks_called(figure, "pseudo-boundary") == [16 + 5 * 90, 16 + 8 * 90]
    lines = {str(line.get_label()): line for line in axes.lines[:2]}
    assert lines["labelled scene end"].get_marker() != lines["pseudo-boundary"].get_marker()
    above, below = (lines[name].get_ydata()[0] for name in ("labelled scene end", "pseudo-boundary"))
    assert above < below  # pixels count downwards
    assert len(axes.images) == 34


def test_the_distance_to_the_nearest_labelled_end_is_written() -> None:
    assert [window.distance for window in WINDOWS] == [2, None, 0, 1]
    written = texts(alignment_figure("film", WINDOWS, plain_keyframe))
    assert {"off by 2 shots", "no labelled scene end in this window", "exact", "off by 1 shot"} <= set(written)


def test_no_window_makes_an_empty_sheet() -> None:
    assert len(alignment_figure("film", [], plain_keyframe).axes[0].images) == 0

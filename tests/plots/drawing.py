"""What the tests of pictures look at: artists of a figure by their label, and key-frames of one colour each."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray


def plain_keyframe(shot: int) -> NDArray[np.uint8]:
    """A key-frame whose colour is a function of its shot, unlike that of any other below 4,000."""
    return np.full((24, 42, 3), (40 + shot % 50, 80 + shot // 50, 200), dtype=np.uint8)


def axes_called(figure: Figure, label: str) -> list[Axes]:
    return [axes for axes in figure.axes if axes.get_label() == label]


def marks_called(figure: Figure, label: str) -> list[float]:
    """Horizontal places of all markers of a name, ascending."""
    lines = [line for axes in figure.axes for line in axes.lines if line.get_label() == label]
    return sorted(float(x) for line in lines for x in np.atleast_1d(np.asarray(line.get_xdata())))


def line_called(figure: Figure, start: str) -> Line2D:
    (line,) = [line for axes in figure.axes for line in axes.lines if str(line.get_label()).startswith(start)]
    return line


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts] + [t.get_text() for axes in figure.axes for t in axes.texts]

"""A film at a glance: key-frames over shot number, boundary probability, labelled and predicted scene ends.

Rows of shots, each a strip of key-frames above a panel with one bar per shot. Triangles point down at labelled
scene ends and up at predicted ones. A pair is a hit; a hollow triangle has no partner.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bassl.errors import InputError
from bassl.plots import style
from bassl.plots.tiles import KeyframeReader, strip_pixels, strip_tiles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, MIN_WIDTH, LEFT, RIGHT, HEAD, LEGEND_LINE = 1600, 1000, 94, 26, 66, 27
MAX_SHOT_WIDTH = 150.0
STRIP_HEIGHT, PANEL_HEIGHT, TIME_HEIGHT, TICK_HEIGHT = 92, 122, 30, 48
LABEL_LANE, PREDICTED_LANE = 1.14, -0.14
MIN_TICK_DISTANCE = 78  # pixels


@dataclass(frozen=True)
class FilmScores:
    """Scored shots of one film, N in film order; made by `film_scores`.

    Attributes:
        shots: (N,) numbers in the film, ascending.
        probability: (N,) in 0..1 that a scene ends with the shot.
        is_predicted, is_labelled: (N,) bool, the latter None without labels.
        seconds: (N,) start of each shot, None where unknown.
    """

    shots: NDArray[np.int64]
    probability: NDArray[np.float64]
    is_predicted: NDArray[np.bool_]
    is_labelled: NDArray[np.bool_] | None
    seconds: NDArray[np.float64] | None
    threshold: float

    @property
    def is_scene_end(self) -> NDArray[np.bool_]:
        """Labelled scene ends, or predicted ones without labels: where strip and bands are divided."""
        return self.is_predicted if self.is_labelled is None else self.is_labelled


@dataclass(frozen=True)
class Marks:
    """One kind of scene end: its name in the legend, its shots, height in the panel, and marker."""

    name: str
    places: NDArray[np.int64]
    lane: float
    marker: dict[str, Any]


def film_scores(
    probability: ArrayLike,
    label: ArrayLike | None = None,
    threshold: float = 0.5,
    shots: ArrayLike | None = None,
    seconds: ArrayLike | None = None,
) -> FilmScores:
    """Check and collect what a timeline shows; InputError for other shapes and for values outside their range.

    Args:
        probability: (N,) in 0..1; a shot at or above the threshold counts as predicted.
        label: (N,) 1 where a scene ends with the shot, 0 where not; -1, uncertain, counts as 1 like in the benchmark.
        shots: (N,) numbers in the film, ascending; default 0 .. N - 1.
        seconds: (N,) start of each shot.
    """
    scores = np.asarray(probability, dtype=np.float64)
    if scores.ndim != 1 or not len(scores):
        raise InputError(f"probability has shape {scores.shape}; give (N,), one value per shot")
    wrong = np.flatnonzero(~((scores >= 0) & (scores <= 1)))
    if len(wrong):
        raise InputError(f"probability {wrong[0]} is {scores[wrong[0]]}; give values within 0..1")
    numbers = np.arange(len(scores)) if shots is None else np.asarray(shots, dtype=np.int64)
    labels = None if label is None else np.asarray(label)
    starts = None if seconds is None else np.asarray(seconds, dtype=np.float64)
    for name, column in (("shots", numbers), ("label", labels), ("seconds", starts)):
        if column is not None and column.shape != scores.shape:
            raise InputError(f"{name} has shape {column.shape} for {len(scores)} shots; give one value per shot")
    if labels is not None and not np.isin(labels, (-1, 0, 1)).all():
        raise InputError(f"label holds {sorted(set(labels.tolist()))}; give 1, 0 or -1 per shot")
    is_labelled = None if labels is None else labels != 0
    return FilmScores(numbers, scores, scores >= threshold, is_labelled, starts, float(threshold))


def draw_timeline(path: Path, title: str, scores: FilmScores, keyframes: KeyframeReader | None = None) -> None:
    """Write `timeline_figure` of these arguments as PNG."""
    style.save_figure(path, timeline_figure(title, scores, keyframes))


def timeline_figure(title: str, scores: FilmScores, keyframes: KeyframeReader | None = None) -> Figure:
    """Draw one film, or a part of it, at most 1600 pixels wide; long films take several rows.

    Args:
        keyframes: reads the key-frame of a shot; without it there is no strip.
    """
    # 1. sizes in pixels
    rows = row_ranges(len(scores.shots))
    num_places = rows[0][1]
    shot_width = min((WIDTH - LEFT - RIGHT) / num_places, MAX_SHOT_WIDTH)
    strip_height = STRIP_HEIGHT if keyframes is not None else 0
    time_height = TIME_HEIGHT if scores.seconds is not None else 12
    row_height = time_height + strip_height + PANEL_HEIGHT + TICK_HEIGHT
    width = max(round(shot_width * num_places) + LEFT + RIGHT, MIN_WIDTH)
    legend_lines = 1 if width == WIDTH else 2
    head = HEAD + legend_lines * LEGEND_LINE
    figure = style.new_figure(width, head + len(rows) * row_height, title)
    # 2. each row: strip, panel, axes
    for number, (start, stop) in enumerate(rows):
        top = head + number * row_height + time_height
        row_width = (stop - start) * shot_width
        panel = style.add_axes(figure, LEFT, top + strip_height, row_width, PANEL_HEIGHT)
        upper = panel
        if keyframes is not None:
            upper = style.add_axes(figure, LEFT, top, row_width, strip_height)
            _draw_strip(upper, scores, start, stop, keyframes, shot_width)
        _draw_panel(panel, scores, start, stop)
        ticks = tick_places(scores.shots, start, stop, shot_width)
        panel.set_xticks(ticks, [str(shot) for shot in scores.shots[ticks]])
        style.add_text(figure, 16, top + strip_height + PANEL_HEIGHT + 8, "shot", size=13)
        if scores.seconds is not None:
            _add_clock(upper, ticks, scores.seconds)
            style.add_text(figure, 16, top - 26, "time", size=12, color=style.FAINT_INK)
    # 3. the legend
    _add_legend(figure, scores, legend_lines)
    return figure


def row_ranges(num_shots: int) -> list[tuple[int, int]]:
    """Divide shots into rows (start, stop): one up to 60 shots, then equal ones that widen with their number."""
    per_row = max(60, round(5.5 * math.sqrt(num_shots)))
    length = math.ceil(num_shots / math.ceil(num_shots / per_row))
    return [(start, min(start + length, num_shots)) for start in range(0, num_shots, length)]


def scene_end_marks(scores: FilmScores) -> list[Marks]:
    """Sort scene ends into found, missed, right and false alarm; without labels there are predicted ones only."""
    predicted, labelled = scores.is_predicted, scores.is_labelled
    if labelled is None:
        return [_marks("predicted scene end", predicted, is_label=False, filled=True)]
    return [
        _marks("labelled scene end, found", labelled & predicted, is_label=True, filled=True),
        _marks("labelled, missed", labelled & ~predicted, is_label=True, filled=False),
        _marks("predicted, right", predicted & labelled, is_label=False, filled=True),
        _marks("predicted, false alarm", predicted & ~labelled, is_label=False, filled=False),
    ]


def tick_places(shots: NDArray[np.int64], start: int, stop: int, shot_width: float) -> NDArray[np.int64]:
    """Choose the places of a row that get a number: every 1st, 2nd, 5th, 10th ... so that numbers stay apart.

    They stand at round shot numbers unless the row leaves shots out.
    """
    steps = (factor * 10**power for power in range(9) for factor in (1, 2, 5))
    step = next(step for step in steps if step * shot_width >= MIN_TICK_DISTANCE)
    places, row = np.arange(start, stop), shots[start:stop]
    numbers = row if row[-1] - row[0] == len(row) - 1 else places
    chosen = places[numbers % step == 0]
    return chosen if len(chosen) else places[:1]


def clock(seconds: float) -> str:
    """Format seconds as m:ss, from one hour on as h:mm:ss."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _draw_strip(
    axes: Axes, scores: FilmScores, start: int, stop: int, keyframes: KeyframeReader, shot_width: float
) -> None:
    ends = np.flatnonzero(scores.is_scene_end[start:stop])
    tiles = strip_tiles(stop - start, ends.tolist(), shot_width, tile_width=STRIP_HEIGHT * 4 / 3)
    pixels = strip_pixels(tiles, scores.shots[start:stop].tolist(), keyframes, shot_width, STRIP_HEIGHT)
    axes.set_label("strip")
    axes.imshow(pixels, extent=(start - 0.5, stop - 0.5, 0, 1), aspect="auto", interpolation="antialiased")
    inner = ends[ends + start < stop - 1] + start + 0.5
    axes.vlines(inner, 0, 1, color="white", linewidth=4.5)
    axes.vlines(inner, 0, 1, color=style.INK, linewidth=1.2)
    axes.set_xlim(start - 0.5, stop - 0.5)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def _draw_panel(axes: Axes, scores: FilmScores, start: int, stop: int) -> None:
    places, row = np.arange(start, stop), slice(start, stop)
    low, high = PREDICTED_LANE - 0.16, LABEL_LANE + 0.16
    axes.set_label("panel")
    # 1. a band behind every second scene
    scene: NDArray[np.int64] = np.cumsum(scores.is_scene_end) - scores.is_scene_end
    for number in np.unique(scene[row]):
        if number % 2:
            inside = places[scene[row] == number]
            axes.axvspan(inside[0] - 0.5, inside[-1] + 0.5, facecolor=style.BAND, edgecolor="none", zorder=0)
    # 2. one bar per shot, and the threshold
    colors = np.where(scores.is_predicted[row], style.PREDICTED, style.PREDICTED_PALE)
    axes.bar(places, scores.probability[row], width=0.86, color=colors.tolist(), linewidth=0, zorder=2)
    axes.plot(places, scores.probability[row], color=style.PREDICTED, linewidth=1.6, zorder=2.5)
    axes.axhline(scores.threshold, color=style.INK, linewidth=1, linestyle=style.DASHED, zorder=3)
    # 3. scene ends
    axes.vlines(np.flatnonzero(scores.is_scene_end[row]) + start + 0.5, low, high, color=style.INK, linewidth=1.2)
    for mark in scene_end_marks(scores):
        inside = mark.places[(mark.places >= start) & (mark.places < stop)]
        lane = np.full(len(inside), mark.lane)
        axes.plot(inside + 0.5, lane, label=mark.name, clip_on=False, zorder=4, **mark.marker)
    axes.set_xlim(start - 0.5, stop - 0.5)
    axes.set_ylim(low, high)
    axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"], fontsize=12)
    axes.spines["top"].set_visible(False)


def _marks(name: str, chosen: NDArray[np.bool_], is_label: bool, filled: bool) -> Marks:
    color = style.LABELLED if is_label else style.PREDICTED
    face = color if filled else "white"
    marker = {"marker": "v" if is_label else "^", "linestyle": "none", "markersize": 10.5, "markeredgewidth": 1.8}
    marker |= {"markeredgecolor": color, "markerfacecolor": face}
    return Marks(name, np.flatnonzero(chosen), LABEL_LANE if is_label else PREDICTED_LANE, marker)


def _add_clock(axes: Axes, ticks: NDArray[np.int64], seconds: NDArray[np.float64]) -> None:
    """Write the start times of some shots along the upper edge."""
    top = axes.secondary_xaxis("top")
    top.set_xticks(ticks - 0.5, [clock(start) for start in seconds[ticks]], fontsize=12)
    top.tick_params(colors=style.FAINT_INK, length=4)
    top.spines["top"].set_visible(False)


def _add_legend(figure: Figure, scores: FilmScores, num_lines: int) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [
        *(Line2D([], [], label=f"{mark.name} ({len(mark.places)})", **mark.marker) for mark in scene_end_marks(scores)),
        Patch(color=style.PREDICTED, label="boundary probability"),
        Line2D([], [], color=style.INK, linestyle=style.DASHED, linewidth=1, label=f"threshold {scores.threshold:.3g}"),
    ]
    width, height = figure.get_size_inches() * style.DPI
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(6 / width, 1 - 47 / height), frameon=False,
        ncols=math.ceil(len(handles) / num_lines), fontsize=13, handletextpad=0.3, columnspacing=1.3,
        labelcolor=style.INK, borderaxespad=0,
    )  # fmt: skip

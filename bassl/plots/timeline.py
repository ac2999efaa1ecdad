"""A film at a glance: key-frames over shot number, boundary probability, labelled and predicted scene ends.

Rows of shots, each a strip of key-frames above a panel of bars, one a shot. Labelled scene ends are triangles
that point down from the strip, predicted ones triangles that point up from below; a pair is a hit, and what
has no partner is hollow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bassl.plots import figure as look
from bassl.plots.film_scores import FilmScores, checked_scores
from bassl.plots.strip import KeyframeReader, strip_pixels, strip_tiles

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH, LEFT, RIGHT, HEAD, LEGEND_LINE = 1600, 94, 26, 66, 27
MIN_WIDTH = 1000
MAX_PLACE_WIDTH = 150.0
STRIP_HEIGHT, PANEL_HEIGHT, TIME_HEIGHT, TICK_HEIGHT = 92, 122, 30, 48
LABEL_LANE, PREDICTED_LANE = 1.14, -0.14
LEAST_TICK_DISTANCE = 78  # pixels


def draw_timeline(
    path: Path,
    *,
    title: str,
    probability: ArrayLike,
    label: ArrayLike | None = None,
    threshold: float = 0.5,
    keyframes: KeyframeReader | None = None,
    shot_range: Sequence[int] | None = None,
    shot_seconds: ArrayLike | None = None,
) -> None:
    """Write `timeline_figure` of these arguments as PNG, whole or not at all."""
    scores = checked_scores(probability, label, threshold, shot_range, shot_seconds)
    look.save_figure(path, timeline_figure(title, scores, keyframes))


def timeline_figure(title: str, scores: FilmScores, keyframes: KeyframeReader | None = None) -> Figure:
    """The picture of one film or a part of it, at most 1600 pixels wide; long films go over several rows.

    keyframes: shot number -> its key-frame, uint8 (H, W, 3) or a Pillow image, None where it lacks; without
    it there is no strip. Tiles of the strip are cut where labelled scenes end (predicted ones without
    labels).
    """
    rows = row_ranges(len(scores.shots))
    places = rows[0][1]
    place_width = min((WIDTH - LEFT - RIGHT) / places, MAX_PLACE_WIDTH)
    plot_width = round(place_width * places)
    strip_height = STRIP_HEIGHT if keyframes is not None else 0
    time_height = TIME_HEIGHT if scores.seconds is not None else 12
    row_height = time_height + strip_height + PANEL_HEIGHT + TICK_HEIGHT
    width = max(plot_width + LEFT + RIGHT, MIN_WIDTH)
    legend_lines = 1 if width == WIDTH else 2
    head = HEAD + legend_lines * LEGEND_LINE
    figure = look.new_figure(width, head + len(rows) * row_height)
    look.add_text(figure, 16, 14, title, size=17, weight="bold")
    for number, (start, stop) in enumerate(rows):
        top = head + number * row_height + time_height
        row_width = (stop - start) * place_width
        strip = None
        if keyframes is not None:
            strip = look.add_axes(figure, LEFT, top, row_width, strip_height)
            _draw_strip(strip, scores, start, stop, keyframes, place_width)
        panel = look.add_axes(figure, LEFT, top + strip_height, row_width, PANEL_HEIGHT)
        panel.set_label("panel")
        _draw_panel(panel, scores, start, stop)
        _mark_shots(panel, scores, start, stop, place_width)
        look.add_text(figure, 16, top + strip_height + PANEL_HEIGHT + 8, "shot", size=13)
        if scores.seconds is not None:
            _mark_time(panel if strip is None else strip, scores, start, stop, place_width)
            look.add_text(figure, 16, top - 26, "time", size=12, color=look.FAINT_INK)
    _add_legend(figure, scores, legend_lines)
    return figure


def row_ranges(num_shots: int) -> list[tuple[int, int]]:
    """First place and the one behind the last of each row: one row up to 60 shots, else rows about as wide as
    their number asks for, all of one length but the last."""
    per_row = max(60, round(5.5 * math.sqrt(num_shots)))
    num_rows = math.ceil(num_shots / per_row)
    length = math.ceil(num_shots / num_rows)
    return [(start, min(start + length, num_shots)) for start in range(0, num_shots, length)]


def _scene_ends(scores: FilmScores) -> NDArray[np.bool_]:
    return scores.is_predicted if scores.is_labelled is None else scores.is_labelled


def _draw_strip(
    axes: Axes, scores: FilmScores, start: int, stop: int, keyframes: KeyframeReader, place_width: float
) -> None:
    ends = np.flatnonzero(_scene_ends(scores)[start:stop])
    tiles = strip_tiles(stop - start, ends.tolist(), place_width, tile_width=STRIP_HEIGHT * 4 / 3)
    pixels = strip_pixels(tiles, scores.shots[start:stop].tolist(), keyframes, place_width, STRIP_HEIGHT)
    axes.set_label("strip")
    axes.imshow(pixels, extent=(start - 0.5, stop - 0.5, 0, 1), aspect="auto", interpolation="antialiased")
    ends = ends[ends + start < stop - 1] + start
    axes.vlines(ends + 0.5, 0, 1, color="white", linewidth=4.5)
    axes.vlines(ends + 0.5, 0, 1, color=look.INK, linewidth=1.2)
    axes.set_xlim(start - 0.5, stop - 0.5)
    axes.set_yticks([])
    axes.set_xticks([])
    for side in axes.spines.values():
        side.set_visible(False)


def _draw_panel(axes: Axes, scores: FilmScores, start: int, stop: int) -> None:
    places = np.arange(start, stop)
    low, high = PREDICTED_LANE - 0.16, LABEL_LANE + 0.16
    scene_ends = _scene_ends(scores)
    scene: NDArray[np.int64] = np.cumsum(scene_ends) - scene_ends  # number of each shot's scene
    for number in range(int(scene[start]), int(scene[stop - 1]) + 1):
        inside = places[scene[start:stop] == number]
        if number % 2:
            axes.axvspan(inside[0] - 0.5, inside[-1] + 0.5, facecolor=look.BAND, edgecolor="none", zorder=0)
    above = scores.is_predicted[start:stop]
    for chosen, color in ((~above, look.PREDICTED_PALE), (above, look.PREDICTED)):
        axes.bar(
            places[chosen],
            scores.probability[start:stop][chosen],
            width=0.86,
            color=color,
            linewidth=0,
            zorder=2,
        )
    axes.plot(places, scores.probability[start:stop], color=look.PREDICTED, linewidth=1.6, zorder=2.5)
    axes.axhline(scores.threshold, color=look.INK, linewidth=1, linestyle=(0, (5, 3)), zorder=3)
    ends = np.flatnonzero(scene_ends[start:stop]) + start
    axes.vlines(ends + 0.5, low, high, color=look.INK, linewidth=1.2, zorder=3)
    for mark in scene_end_marks(scores):
        inside = mark.places[(mark.places >= start) & (mark.places < stop)]
        axes.plot(
            inside + 0.5,
            np.full(len(inside), mark.lane),
            label=mark.name,
            clip_on=False,
            zorder=4,
            **mark.style,
        )
    axes.set_xlim(start - 0.5, stop - 0.5)
    axes.set_ylim(low, high)
    axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    axes.spines["top"].set_visible(False)


class SceneEndMarks(NamedTuple):
    """One kind of scene end: its name in the legend, the places that have it, height in a panel, and how it
    is drawn."""

    name: str
    places: NDArray[np.int64]
    lane: float
    style: dict[str, Any]


def scene_end_marks(scores: FilmScores) -> list[SceneEndMarks]:
    """Found and missed labelled ends, right and false predicted ones; without labels predicted ones alone."""
    predicted, labelled = scores.is_predicted, scores.is_labelled
    if labelled is None:
        return [_marks("predicted scene end", predicted, labelled=False, filled=True)]
    return [
        _marks("labelled scene end, found", labelled & predicted, labelled=True, filled=True),
        _marks("labelled, missed", labelled & ~predicted, labelled=True, filled=False),
        _marks("predicted, right", predicted & labelled, labelled=False, filled=True),
        _marks("predicted, false alarm", predicted & ~labelled, labelled=False, filled=False),
    ]


def _marks(name: str, chosen: NDArray[np.bool_], labelled: bool, filled: bool) -> SceneEndMarks:
    color = look.LABELLED if labelled else look.PREDICTED
    style = {
        "marker": "v" if labelled else "^",
        "linestyle": "none",
        "markersize": 10.5,
        "markeredgecolor": color,
        "markerfacecolor": color if filled else "white",
        "markeredgewidth": 1.8,
    }
    return SceneEndMarks(name, np.flatnonzero(chosen), LABEL_LANE if labelled else PREDICTED_LANE, style)


def _tick_places(scores: FilmScores, start: int, stop: int, place_width: float) -> NDArray[np.int64]:
    """Places of a row that are labelled: every 1st, 2nd, 5th, 10th, ... shot, so that labels keep their
    distance; at round shot numbers where no shot is left out."""
    steps = [factor * 10**power for power in range(6) for factor in (1, 2, 5)]
    step = next(step for step in steps if step * place_width >= LEAST_TICK_DISTANCE)
    places = np.arange(start, stop)
    shots = scores.shots[start:stop]
    numbers = shots if shots[-1] - shots[0] == len(shots) - 1 else places
    chosen = places[numbers % step == 0]
    return chosen if len(chosen) else places[:1]


def _mark_shots(axes: Axes, scores: FilmScores, start: int, stop: int, place_width: float) -> None:
    ticks = _tick_places(scores, start, stop, place_width)
    axes.set_xticks(ticks, [str(shot) for shot in scores.shots[ticks]], fontsize=13)


def _mark_time(axes: Axes, scores: FilmScores, start: int, stop: int, place_width: float) -> None:
    assert scores.seconds is not None
    ticks = _tick_places(scores, start, stop, place_width)
    top = axes.secondary_xaxis("top")
    top.set_xticks(
        ticks - 0.5, [clock(seconds) for seconds in scores.seconds[ticks]], fontsize=12, color=look.FAINT_INK
    )
    top.tick_params(colors=look.FAINT_INK, length=4)
    top.spines["top"].set_visible(False)


def clock(seconds: float) -> str:
    """Seconds as m:ss, from an hour on as h:mm:ss."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def _add_legend(figure: Figure, scores: FilmScores, lines: int) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [
        Line2D([], [], label=f"{mark.name} ({len(mark.places)})", **mark.style) for mark in scene_end_marks(scores)
    ]
    handles.append(Patch(color=look.PREDICTED, label="boundary probability"))
    handles.append(
        Line2D(
            [],
            [],
            color=look.INK,
            linewidth=1,
            linestyle=(0, (5, 3)),
            label=f"threshold {scores.threshold:.3g}",
        )
    )
    width, height = figure.get_size_inches() * look.DPI
    figure.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(6 / width, 1 - 47 / height), frameon=False,
        ncols=math.ceil(len(handles) / lines), fontsize=13, handletextpad=0.3, columnspacing=1.3,
        labelcolor=look.INK, borderaxespad=0,
    )  # fmt: skip

"""Draw docs/scene_posterior.png: `python3 -m benchmarks.scene_posterior_picture --output FILE.png`.

The sample film's shots, compared by colour alone: the upper half of the similarity matrix with its diagonal laid
flat, the scenes found on it, the posterior below, and a key-frame of each labelled scene.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

import bassl
from bassl.model.colour import colour_histogram
from bassl.model.relative_similarity import centered_features
from bassl.model.scene_posterior import boundary_posterior, scene_threshold

FILM = "big_buck_bunny"
FOLDER = Path(bassl.__file__).parent / "data" / FILM
REACH = 44  # shots apart, at most, that are drawn
WIDTH, HEIGHT, DPI = 1200, 735, 100
LEFT, RIGHT = 66, 24
INK, FAINT, FOUND, LABELLED = "#1a1a1a", "#555555", "#0072b2", "#c04a00"


def main(argv: Sequence[str] | None = None) -> int:
    """Draw the picture; return the exit status."""
    arguments = _parser().parse_args(argv)
    images, is_end = load_film()
    features = colour_histogram(images).mean(1)
    figure = Figure(figsize=(WIDTH / DPI, HEIGHT / DPI), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    draw(figure, features, is_end, images[:, 1])
    figure.savefig(arguments.output)
    with Image.open(arguments.output) as picture:
        picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(arguments.output, optimize=True)
    return 0


def load_film() -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return key-frames (S, 3, H, W, 3) of the sample film and, (S,), where its labelled scenes end."""
    paths = sorted((FOLDER / "240P_frames" / FILM).glob("*.jpg"))
    frames = np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths])
    labels = np.loadtxt(FOLDER / "scene318" / "label318" / f"{FILM}.txt", dtype=int)[:, 1]
    return frames.reshape(-1, 3, *frames.shape[1:]), np.append(labels == 1, True)


def draw(
    figure: Figure, features: NDArray[np.float32], is_end: NDArray[np.bool_], keyframes: NDArray[np.uint8]
) -> None:
    """Draw everything on a figure: features (S, D), labelled ends (S,) and key-frames (S, H, W, 3)."""
    posterior = boundary_posterior(features)
    threshold = scene_threshold(posterior)
    found = np.flatnonzero(np.append(posterior[:-1] >= threshold, True))
    true = np.flatnonzero(is_end)

    matrix = _axes(figure, top=64, height=REACH / 2 * (WIDTH - LEFT - RIGHT) / len(features), num_shots=len(features))
    _draw_similarity(matrix, features)
    for start, end in zip([0, *(found[:-1] + 1)], found, strict=True):
        matrix.plot([start, (start + end + 1) / 2, end + 1], [0, end + 1 - start, 0], color=FOUND, lw=1.6)
    matrix.axis("off")
    _text(figure, 10, "How scenes show in the similarity of shots: Big Buck Bunny, 136 shots, compared by colour", 14)
    _text(
        figure, 36, "Dark: two shots look alike. Follow both slopes down to find the two. Blue: the scenes found.", 11
    )

    curve = _axes(figure, top=290, height=220, num_shots=len(features))
    centres = np.arange(len(features) - 1) + 1.0  # a scene ends on the line between two shots
    curve.vlines(centres, 0, posterior[:-1], color=FOUND, lw=3)
    curve.axhline(threshold, color=FAINT, lw=1, ls="--")
    curve.text(60, threshold + 0.02, "threshold", ha="center", size=11, color=FAINT)
    for end in true[:-1]:
        fill = LABELLED if end in found else "white"
        curve.plot(end + 1, 1.08, "v", color=LABELLED, markerfacecolor=fill, markersize=9, clip_on=False)
        curve.axvline(end + 1, color=LABELLED, lw=0.8, alpha=0.5, zorder=0)
    curve.text(34, 0.93, "labelled end: \u25bc found  \u25bd missed", ha="center", size=10, color=LABELLED)
    curve.set(ylim=(0, 1.02), yticks=(0, 0.5, 1))
    curve.set_ylabel("P(scene ends)", size=12, color=INK)
    curve.set_xlabel("shot", size=12, color=INK)
    curve.spines[["top", "right"]].set_visible(False)

    _draw_scenes(figure, true, keyframes)


def _draw_similarity(axes: Axes, features: NDArray[np.float32]) -> None:
    unit = centered_features(features)
    first, second = np.triu_indices(len(unit), 1)
    near = second - first <= REACH
    first, second = first[near], second[near]
    middle, apart = (first + second + 1) / 2, (second - first).astype(float)
    corners = np.array([[-0.5, 0], [0, 1], [0.5, 0], [0, -1]])
    squares = np.stack([middle, apart], axis=1)[:, None] + corners
    cells = PolyCollection(squares, array=(unit[first] * unit[second]).sum(1), cmap="Greys", clim=(0, 0.8))
    cells.set(edgecolor="face", linewidth=0.2)
    axes.add_collection(cells)
    axes.set_ylim(0, REACH)


def _draw_scenes(figure: Figure, true: NDArray[np.int64], keyframes: NDArray[np.uint8]) -> None:
    starts = np.append(0, true[:-1] + 1)
    gap, width = 6, (WIDTH - LEFT - RIGHT + 6) / len(true)
    height = (width - gap) * keyframes.shape[1] / keyframes.shape[2]
    for place, (start, end) in enumerate(zip(starts, true, strict=True)):
        axes = figure.add_axes(
            ((LEFT + place * width) / WIDTH, 1 - (636 + height) / HEIGHT, (width - gap) / WIDTH, height / HEIGHT)
        )
        axes.imshow(keyframes[(start + end) // 2], aspect="auto")
        axes.set_title(f"{start}-{end}", size=10, color=INK, pad=4)
        axes.axis("off")
    _text(figure, 590, "The twelve labelled scenes, with their shots", 11, color=LABELLED)
    _text(figure, HEIGHT - 28, "Big Buck Bunny (c) 2008 Blender Foundation, www.bigbuckbunny.org, CC BY 3.0", 9)


def _axes(figure: Figure, top: float, height: float, num_shots: int) -> Axes:
    width = WIDTH - LEFT - RIGHT
    axes = figure.add_axes((LEFT / WIDTH, 1 - (top + height) / HEIGHT, width / WIDTH, height / HEIGHT))
    axes.set_xlim(0, num_shots)
    axes.tick_params(labelsize=11, colors=INK)
    return axes


def _text(figure: Figure, top: float, text: str, size: float, color: str = INK) -> None:
    figure.text(LEFT / WIDTH, 1 - top / HEIGHT, text, size=size, color=color, va="top")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m benchmarks.scene_posterior_picture", description=__doc__)
    parser.add_argument("--output", type=Path, required=True, metavar="FILE.png")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())

"""How well do colour alone, and edges alone, tell the scenes of a data set apart? Nothing is trained.

`python3 -m bassl.procedural.baselines FOLDER` prints the AP, over every labelled shot, of the training-free scorer
(`bassl.model.similarity`) on three kinds of hand-made shot features, beside the share of boundaries, which is what
guessing gets. Works on any folder in MovieNet's layout.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from bassl.dataset.annotation import Annotations, read_annotations
from bassl.errors import InputError
from bassl.finetune.metrics import ShotPredictions, scene_metrics
from bassl.model.similarity import boundary_probabilities
from bassl.prepare.layout import NUM_KEYFRAMES, Layout

Features = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]
WINDOW = 8  # shots on either side of a boundary
COLOR_BINS, DIRECTIONS = 4, 18
LONG_SIDE = 96  # pixels


def mean_color(image: Pixels) -> Features:
    """Mean red, green and blue, (3,)."""
    return image.reshape(-1, 3).mean(0) / 255


def color_histogram(image: Pixels) -> Features:
    """Share of the pixels in each of 4 x 4 x 4 colours, (64,)."""
    red, green, blue = (image.reshape(-1, 3).astype(np.int64) * COLOR_BINS // 256).T
    number = (red * COLOR_BINS + green) * COLOR_BINS + blue
    return np.bincount(number, minlength=COLOR_BINS**3) / len(number)


def edge_directions(image: Pixels) -> Features:
    """How much of the edges points into each of 18 directions, (18,); no colour, no brightness."""
    down, right = np.gradient(image.astype(np.float64).mean(2))
    strength, direction = np.hypot(down, right), np.arctan2(down, right) % np.pi
    number = np.minimum((direction / np.pi * DIRECTIONS).astype(np.int64), DIRECTIONS - 1)
    total = np.bincount(number.ravel(), strength.ravel(), DIRECTIONS)
    return total / max(total.sum(), 1e-9)


KINDS: dict[str, Callable[[Pixels], Features]] = {
    "mean colour": mean_color,
    "colour histogram": color_histogram,
    "edge directions": edge_directions,
}


def baseline_precisions(layout: Layout, kinds: Sequence[str] = tuple(KINDS)) -> dict[str, float]:
    """AP in 0..1 by kind of feature, and under "chance" the share of boundaries, over all labelled films.

    Raises InputError for labels without a boundary, and for a key-frame that cannot be read or has no edges.
    """
    path = layout.annotation_file("trainvaltest")
    notes = read_annotations(path)
    if not (notes.label != 0).any():
        raise InputError(f"{path} holds no scene boundary, so there is nothing to find; give more or longer films")
    probability = {kind: np.zeros(len(notes)) for kind in kinds}
    for film in range(len(notes.films)):
        rows = np.flatnonzero(notes.film == film)
        for kind, features in _film_features(layout, notes, film, kinds).items():
            centred = torch.from_numpy(features - features.mean(0))
            probability[kind][rows] = boundary_probabilities(centred, WINDOW).numpy()[notes.shot[rows]]
    precisions = {
        kind: scene_metrics(ShotPredictions(notes.film, notes.shot, found, notes.label), None)["AP"]
        for kind, found in probability.items()
    }
    return precisions | {"chance": float((notes.label != 0).mean())}


def _film_features(layout: Layout, notes: Annotations, film: int, kinds: Sequence[str]) -> dict[str, Features]:
    """(num_shots, D) of each kind, the mean over key-frames."""
    found: dict[str, list[Features]] = {kind: [] for kind in kinds}
    folder = layout.keyframes / notes.films[film]
    for shot in range(int(notes.num_shots[film])):
        images = [_read(folder / f"shot_{notes.shot_id(film, shot)}_img_{k}.jpg") for k in range(NUM_KEYFRAMES)]
        for kind in kinds:
            found[kind].append(np.mean([KINDS[kind](image) for image in images], axis=0))
    return {kind: np.stack(rows) for kind, rows in found.items()}


def _read(path: Path) -> Pixels:
    try:
        with Image.open(path) as image:
            image.draft("RGB", (LONG_SIDE, LONG_SIDE))
            image.thumbnail((LONG_SIDE, LONG_SIDE))
            pixels = np.asarray(image.convert("RGB"))
        if min(pixels.shape[:2]) < 2:
            raise OSError(f"{pixels.shape[1]}x{pixels.shape[0]} pixels have no edges")
        return pixels
    except OSError as error:
        raise InputError(f"key-frame {path} cannot be read ({error}); see bassl check-data") from error


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        found = baseline_precisions(Layout.of(arguments.folder))
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write("".join(f"{name:18}{100 * value:7.2f}\n" for name, value in found.items()))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python3 -m bassl.procedural.baselines", description=__doc__)
    parser.add_argument("folder", type=Path, help="a data set in MovieNet's layout")
    return parser


if __name__ == "__main__":
    sys.exit(main())

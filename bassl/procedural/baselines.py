"""Measure how well colour alone, and edges alone, separate the scenes of a data set; nothing is trained.

`python3 -m bassl.procedural.baselines FOLDER` prints the AP of the training-free scorer (`bassl.model.similarity`)
over all labelled shots, for three kinds of hand-made shot features, beside chance: the fraction of boundaries. It
reads any folder in MovieNet's layout.
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

from bassl.console import run_command
from bassl.dataset.annotation import read_annotations
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
    """Return the mean of red, green and blue, (3,) in 0..1."""
    return image.reshape(-1, 3).mean(0) / 255


def color_histogram(image: Pixels) -> Features:
    """Return the fraction of pixels in each of 4 x 4 x 4 colours, (64,)."""
    red, green, blue = (image.reshape(-1, 3).astype(np.int64) * COLOR_BINS // 256).T
    number = (red * COLOR_BINS + green) * COLOR_BINS + blue
    return np.bincount(number, minlength=COLOR_BINS**3) / len(number)


def edge_directions(image: Pixels) -> Features:
    """Return the fraction of edge strength in each of 18 directions, (18,), without colour and brightness."""
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


def baseline_precisions(layout: Layout) -> dict[str, float]:
    """Return the AP in 0..1 of each kind of feature over all labelled films, and under "chance" that of guessing.

    Raises InputError for labels without a boundary, and for a key-frame that cannot be read.
    """
    path = layout.annotation_file("trainvaltest")
    annotations = read_annotations(path)
    if not (annotations.label != 0).any():
        raise InputError(f"{path} holds no scene boundary; give more or longer films")
    probability = {kind: np.zeros(len(annotations)) for kind in KINDS}
    for film, name in enumerate(annotations.films):
        rows = np.flatnonzero(annotations.film == film)
        shot_ids = [annotations.shot_id(film, shot) for shot in range(int(annotations.num_shots[film]))]
        for kind, features in _film_features(layout.keyframes / name, shot_ids).items():
            centred = torch.from_numpy(features - features.mean(0))
            probability[kind][rows] = boundary_probabilities(centred, WINDOW).numpy()[annotations.shot[rows]]
    precisions = {}
    for kind, scores in probability.items():
        predictions = ShotPredictions(annotations.film, annotations.shot, scores, annotations.label)
        precisions[kind] = scene_metrics(predictions, None)["AP"]
    return precisions | {"chance": float((annotations.label != 0).mean())}


def _film_features(folder: Path, shot_ids: Sequence[str]) -> dict[str, Features]:
    """Return (num_shots, D) features of each kind, the mean over a shot's key-frames."""
    columns: dict[str, list[Features]] = {kind: [] for kind in KINDS}
    for shot_id in shot_ids:
        images = [_read(folder / f"shot_{shot_id}_img_{number}.jpg") for number in range(NUM_KEYFRAMES)]
        for kind, features_of in KINDS.items():
            columns[kind].append(np.mean([features_of(image) for image in images], axis=0))
    return {kind: np.stack(rows) for kind, rows in columns.items()}


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
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(prog="python3 -m bassl.procedural.baselines", description=__doc__)
    parser.add_argument("folder", type=Path, help="a data set in MovieNet's layout")
    layout = Layout.of(parser.parse_args(argv).folder)

    def work() -> int:
        precisions = baseline_precisions(layout)
        sys.stdout.write("".join(f"{name:18}{100 * value:7.2f}\n" for name, value in precisions.items()))
        return 0

    return run_command(work, "measure again")


if __name__ == "__main__":
    sys.exit(main())

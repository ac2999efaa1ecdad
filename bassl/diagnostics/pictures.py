"""The pictures of a finished run, each made from what lies on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from bassl.config.paths import data_paths
from bassl.config.schema import Finetune
from bassl.dataset.shot_files import read_known_shot_frames
from bassl.diagnostics.run import FinishedRun
from bassl.diagnostics.splits import split_figure, split_windows
from bassl.errors import InputError
from bassl.finetune.metrics import average_precision, precision_recall_curve
from bassl.plots.curves import distance_figure, knn_figure, loss_figure
from bassl.plots.film_timelines import draw_film_timelines, film_keyframes
from bassl.plots.neighbors import nearest_shots, neighbor_figure
from bassl.plots.precision_recall import precision_recall_figure
from bassl.plots.scalars import read_scalars
from bassl.plots.strip import KeyframeReader

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NUM_NEIGHBORS = 6
Picture = Callable[[FinishedRun, int, int], "Figure"]
"""Run, film (index into its annotations' films), number of examples -> picture. InputError where something it
needs is missing."""


def losses(run: FinishedRun, film: int, num_examples: int) -> Figure:
    """Training loss and its terms."""
    return loss_figure(read_scalars(run.folder), f"Training loss: {run.folder.name}")


def knn(run: FinishedRun, film: int, num_examples: int) -> Figure:
    """k-NN precision over epochs."""
    return knn_figure(read_scalars(run.folder))


def boundary_distance(run: FinishedRun, film: int, num_examples: int) -> Figure:
    """The pseudo-boundary's distance to the nearest true boundary over epochs."""
    return distance_figure(read_scalars(run.folder))


def precision_recall(run: FinishedRun, film: int, num_examples: int) -> Figure:
    """Precision and recall over all test films, with the threshold in use."""
    assert isinstance(run.config, Finetune), "a pre-training run predicts nothing"
    rows = run.predictions.deduplicated(run.config.TEST.UNCERTAIN_LABEL)
    curve = precision_recall_curve(rows.probability, rows.label)
    ap = average_precision(rows.probability, rows.label)
    chance = float(rows.label.mean())
    return precision_recall_figure(curve.recall, curve.precision, curve.threshold, chance, ap, run.threshold)


def neighbors(run: FinishedRun, film: int, num_examples: int) -> Figure:
    """Nearest neighbours of some labelled shots in the feature store."""
    labels = run.labels(film)
    queries = _spread(labels.shots, num_examples)
    shots, cosines = nearest_shots(run.features(film), queries, NUM_NEIGHBORS)
    title = f"Nearest shots: {run.annotations.films[film]}"
    return neighbor_figure(title, queries, shots, cosines, _keyframes(run, film), labels.scene)


def splits(run: FinishedRun, film: int, num_examples: int) -> Figure:
    """Pseudo-boundaries of windows around labelled scene ends."""
    labels, features = run.labels(film), run.features(film)
    with torch.no_grad():
        embeddings = run.projection(features)
    centers = _spread(np.flatnonzero(labels.is_boundary), num_examples) or _spread(labels.shots, num_examples)
    windows = split_windows(embeddings, labels.is_boundary, centers, *run.window)
    # Centres near a film's end share one window.
    windows = list({int(window.shots[0]): window for window in windows}.values())
    return split_figure(f"Pseudo-boundaries: {run.annotations.films[film]}", windows, _keyframes(run, film))


def pictures_of(run: FinishedRun) -> dict[str, Picture]:
    """Every picture of a run's kind but the timelines, by the name of its file."""
    pretrained: dict[str, Picture] = {"knn": knn, "boundary_distance": boundary_distance}
    own = {"precision_recall": precision_recall} if isinstance(run.config, Finetune) else pretrained
    return {"loss": losses, **own, "neighbors": neighbors, "splits": splits}


def timelines(run: FinishedRun, folder: Path, max_films: int) -> list[Path]:
    """Write the timelines of the test films; returns the files, none for a pre-training run, which predicts
    nothing."""
    config = run.config
    if not isinstance(config, Finetune):
        return []
    frames = read_known_shot_frames(data_paths(config).shots, run.annotations.films)
    by_index = {index: frames[name] for index, name in enumerate(run.annotations.films) if name in frames}
    return draw_film_timelines(
        folder,
        run.predictions,
        run.keyframes,
        by_index,
        threshold=run.threshold,
        fps=config.TEST.FPS,
        max_films=max_films,
    )


def _keyframes(run: FinishedRun, film: int) -> KeyframeReader:
    reader = film_keyframes(run.keyframes, film)
    if reader is None:
        name = run.annotations.films[film]
        raise InputError(f"no key-frames of {name} in {run.keyframes.root}; set config.DATA_PATH or config.IMG_PATH")
    return reader


def _spread(shots: NDArray[np.int64], number: int) -> list[int]:
    """At most `number` of the shots, evenly spread over them."""
    if not len(shots) or number < 1:
        return []
    chosen = np.linspace(0, len(shots) - 1, min(number, len(shots))).round().astype(int)
    return [int(shot) for shot in shots[chosen]]

"""The pictures of a finished run, made from its files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from bassl.config.paths import data_paths
from bassl.dataset.shot_files import read_known_shot_frames
from bassl.dataset.window import pretrain_window
from bassl.diagnostics.run import FinishedRun
from bassl.errors import InputError
from bassl.finetune.metrics import average_precision, precision_recall_curve
from bassl.plots.alignment import AlignedWindow, alignment_figure
from bassl.plots.curves import distance_figure, knn_figure, loss_figure
from bassl.plots.film_timelines import draw_film_timelines, film_keyframes
from bassl.plots.neighbors import neighbor_figure
from bassl.plots.precision_recall import precision_recall_figure
from bassl.plots.scalars import read_scalars
from bassl.plots.tiles import KeyframeReader
from bassl.pretrain.alignment import pseudo_boundary

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NUM_NEIGHBORS = 6


def pictures_of(run: FinishedRun, film: int, num_examples: int) -> dict[str, Callable[[], Figure]]:
    """Map the name of each picture but the timelines to what makes it, which raises InputError if data is missing.

    Args:
        film: film of the sheets, an index into the annotations' films.
        num_examples: rows of a sheet.
    """
    pictures: dict[str, Callable[[], Figure]] = {
        "loss": lambda: loss_figure(read_scalars(run.folder), f"Training loss: {run.folder.name}")
    }
    if run.is_finetuning:
        pictures["precision_recall"] = lambda: precision_recall(run)
    else:
        pictures["knn"] = lambda: knn_figure(read_scalars(run.folder))
        pictures["boundary_distance"] = lambda: distance_figure(read_scalars(run.folder))
    pictures["neighbors"] = lambda: neighbors(run, film, num_examples)
    pictures["splits"] = lambda: alignment(run, film, num_examples)
    return pictures


def precision_recall(run: FinishedRun) -> Figure:
    """Draw precision and recall over all test films, with the threshold in use."""
    rows = run.predictions.deduplicated(run.finetuning.TEST.UNCERTAIN_LABEL)
    curve = precision_recall_curve(rows.probability, rows.label)
    return precision_recall_figure(
        curve.recall,
        curve.precision,
        curve.threshold,
        chance=float(rows.label.mean()),
        average_precision=average_precision(rows.probability, rows.label),
        chosen=run.threshold,
    )


def neighbors(run: FinishedRun, film: int, num_examples: int) -> Figure:
    """Draw the nearest neighbours of some labelled shots in the feature store."""
    labels = run.labels(film)
    queries = _evenly_spread(labels.shots, num_examples)
    shots, cosines = nearest_shots(run.features(film), queries, NUM_NEIGHBORS)
    title = f"Nearest shots: {run.annotations.films[film]}"
    return neighbor_figure(title, queries, shots.numpy(), cosines.numpy(), _keyframes(run, film), labels.scene)


def alignment(run: FinishedRun, film: int, num_examples: int) -> Figure:
    """Draw the pseudo-boundaries of windows around labelled scene ends, or around any shots without them."""
    labels = run.labels(film)
    with torch.no_grad():
        embeddings = run.projection(run.features(film))
    ends = np.flatnonzero(labels.is_boundary)
    centers = _evenly_spread(ends if len(ends) else labels.shots, num_examples)
    windows = align_windows(embeddings, labels.is_boundary, centers, *run.window)
    distinct = {int(window.shots[0]): window for window in windows}  # centres near a film's end share a window
    title = f"Pseudo-boundaries: {run.annotations.films[film]}"
    return alignment_figure(title, list(distinct.values()), _keyframes(run, film))


def draw_timelines(run: FinishedRun, folder: Path, max_films: int) -> list[Path]:
    """Write the timelines of the test films and return the files; none for a pre-training run."""
    if not run.is_finetuning:
        return []
    films = run.annotations.films
    known = read_known_shot_frames(data_paths(run.finetuning).shots, films)
    frames = {index: known[name] for index, name in enumerate(films) if name in known}
    settings: dict[str, Any] = {"threshold": run.threshold, "fps": run.finetuning.TEST.FPS, "max_films": max_films}
    return draw_film_timelines(folder, run.predictions, run.keyframes, frames, **settings)


def nearest_shots(features: Tensor, queries: Sequence[int], num_neighbors: int) -> tuple[Tensor, Tensor]:
    """Return the other shots of a film nearest to each query and their cosines, both (Q, k), best first.

    Args:
        features: (num_shots, D), of any length.
        queries: Q shots of the film.
        num_neighbors: k; all other shots of a shorter film.
    """
    rows = torch.as_tensor(list(queries), dtype=torch.int64)
    unit = normalize(features.float(), dim=1)
    cosine = unit[rows] @ unit.T
    cosine[torch.arange(len(rows)), rows] = -torch.inf
    best = cosine.topk(min(num_neighbors, len(features) - 1), dim=1)
    return best.indices, best.values


def align_windows(
    embeddings: Tensor, is_boundary: NDArray[np.bool_], centers: Sequence[int], neighbor_size: int, interval: int
) -> list[AlignedWindow]:
    """Align the pre-training window around each centre with its first and last shot (BaSSL, section 3.2).

    Args:
        embeddings: (num_shots, E) outputs of the NCE head, of any length.
        is_boundary: (num_shots,) labelled scene ends.
        centers: shots of the film.
        neighbor_size, interval: shots on either side, and shots from one position to the next.
    """
    if not len(centers):
        return []
    shots = np.stack([pretrain_window(center, len(embeddings), neighbor_size, interval) for center in centers])
    dense = normalize(embeddings.float(), dim=1)[torch.from_numpy(shots)]
    boundaries = pseudo_boundary(dense[:, [0, -1]], dense).tolist()
    return [
        AlignedWindow(window, boundary, _labelled_positions(window, is_boundary))
        for window, boundary in zip(shots, boundaries, strict=True)
    ]


def _labelled_positions(window: NDArray[np.int64], is_boundary: NDArray[np.bool_]) -> tuple[int, ...]:
    """Return positions p such that a scene ends from shot p of the window on, before shot p + 1."""
    pairs = pairwise(window.tolist())
    return tuple(position for position, (shot, after) in enumerate(pairs) if is_boundary[shot:after].any())


def _keyframes(run: FinishedRun, film: int) -> KeyframeReader:
    reader = film_keyframes(run.keyframes, film)
    if reader is None:
        name = run.annotations.films[film]
        raise InputError(f"no key-frames of {name} in {run.keyframes.root}; set config.DATA_PATH or config.IMG_PATH")
    return reader


def _evenly_spread(shots: NDArray[np.int64], number: int) -> list[int]:
    """Choose at most `number` of the shots, evenly spread over them."""
    chosen = np.linspace(0, len(shots) - 1, min(number, len(shots))).round().astype(int)
    return shots[chosen].tolist()

"""Feeding of fine-tuning: the features of a batch of windows, from one table or from a file per shot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from bassl.dataset.annotation import Annotations
from bassl.dataset.features import FeatureTable
from bassl.dataset.movienet import LabelledWindows
from bassl.dataset.sampler import EpochSampler, SampleKey
from bassl.dataset.window import clipped_windows
from benchmarks.data import DIMENSION, film_sizes, write_annotations, write_per_shot, write_store
from benchmarks.measure import Row, Settings, compared, in_turns, one_thread

NEIGHBORS = 8


@dataclass(frozen=True)
class Films:
    """The same labelled films for both sides: features in one table, and in a file per shot."""

    rows: Annotations
    table: FeatureTable
    files: Path
    batch_size: int

    @property
    def windows(self) -> LabelledWindows:
        """The windows as rows of the table."""
        return LabelledWindows(self.rows, self.table.first)

    @property
    def sampler(self) -> EpochSampler:
        """The order of an epoch."""
        return EpochSampler(len(self.rows), self.batch_size, rank=0, world_size=1, seed=0)


def run(settings: Settings) -> list[Row]:
    """Time a batch on one core, files in the page cache."""
    sizes = film_sizes(settings.pick(quick=2, full=10), settings.pick(quick=80, full=12_000))
    films = write_films(settings.folder, sizes, batch_size=settings.pick(quick=16, full=1024))
    windows, keys = films.windows, list(films.sampler)[: films.batch_size]
    target = torch.empty(films.batch_size, 2 * NEIGHBORS + 1, DIMENSION)
    source = torch.rand_like(target)
    sides = {
        "ours": lambda: from_table(windows, films.table, keys),
        "reference": lambda: from_files(films, keys),
        "floor": lambda: target.copy_(source),
    }
    with one_thread():
        seconds = in_turns(sides, settings)
    note = "one core, page cache warm; floor: copying as many bytes from one place to another"
    return [
        compared("feeding of fine-tuning", seconds, per=len(keys), unit="us a sample", scale=1e6, goal=100, note=note)
    ]


def write_films(folder: Path, sizes: dict[str, int], batch_size: int, dimension: int = DIMENSION) -> Films:
    """Write films with labels and both layouts of their features."""
    store = write_store(folder / "features", sizes, dimension)
    rows = write_annotations(folder / "anno.ndjson", sizes).with_num_shots(sizes, "the store")
    return Films(rows, store.table(list(sizes)), write_per_shot(folder / "files", store), batch_size)


def from_table(windows: LabelledWindows, table: FeatureTable, keys: Sequence[SampleKey]) -> tuple[Tensor, Tensor]:
    """Return features (B, S, D) and labels (B,) of a batch, the package's way."""
    batch = windows.__getitems__(keys)
    return table.gather(batch.shots), batch.label


def from_files(films: Films, keys: Sequence[SampleKey]) -> tuple[Tensor, Tensor]:
    """Return the same from a file per shot, read one by one for each sample."""
    data = WindowFiles(films)
    features, labels = zip(*(data[key] for key in keys), strict=True)
    return torch.stack(features), torch.tensor(labels)


class WindowFiles(Dataset[tuple[Tensor, int]]):
    """Windows (S, D) and their labels, read from a file per shot."""

    def __init__(self, films: Films) -> None:
        self.folder, self.rows = films.files, films.rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, key: SampleKey) -> tuple[Tensor, int]:
        rows, film = self.rows, self.rows.film[key.row]
        shots = clipped_windows(rows.shot[[key.row]], rows.num_shots[[film]], NEIGHBORS, 1)[0]
        folder = self.folder / rows.films[film]
        features = [np.load(folder / f"shot_{shot:04d}.npy") for shot in shots.tolist()]
        return torch.from_numpy(np.stack(features)), int(rows.label[key.row])

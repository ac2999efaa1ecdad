"""Feeding of fine-tuning: the features of a batch of windows, from one table or from a file a shot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bassl.dataset.annotation import Annotations
from bassl.dataset.features import FeatureTable
from bassl.dataset.movienet import LabelledWindows
from bassl.dataset.sampler import EpochSampler, SampleKey
from bassl.dataset.window import WindowSpec, clipped_windows
from benchmarks.material import film_sizes, write_annotations, write_shot_by_shot, write_store
from benchmarks.measure import Row, Settings, compared, in_turns

NEIGHBORS = 8


def run(settings: Settings) -> list[Row]:
    """A batch on one core, files in the page cache."""
    sizes = film_sizes(settings.pick(quick=2, full=10), settings.pick(quick=80, full=12_000))
    batch_size = settings.pick(quick=16, full=1024)
    store = write_store(settings.folder / "features", sizes)
    files = write_shot_by_shot(settings.folder / "files", store)
    rows = write_annotations(settings.folder / "anno.ndjson", sizes).with_num_shots(sizes, "the store")
    table = store.table(list(sizes))
    windows = LabelledWindows(rows, table.first, WindowSpec(NEIGHBORS))
    keys = list(EpochSampler(len(rows), batch_size, rank=0, world_size=1, seed=0))[:batch_size]
    room = torch.empty(batch_size, 2 * NEIGHBORS + 1, store.dimension)
    contiguous = torch.rand_like(room)
    sides = {
        "ours": lambda: from_table(windows, table, keys),
        "reference": lambda: from_files(files, rows, keys),
        "floor": lambda: room.copy_(contiguous),
    }
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        seconds = in_turns(sides, settings)
    finally:
        torch.set_num_threads(threads)
    note = "one core, page cache warm; floor: copying as many bytes from one place to another"
    return [compared("feeding of fine-tuning", seconds, batch_size, "us a sample", 100, note, scale=1e6)]


def from_table(windows: LabelledWindows, table: FeatureTable, keys: Sequence[SampleKey]) -> tuple[Tensor, Tensor]:
    """Features (B, S, D) and labels (B,) of a batch, the package's way."""
    batch = windows.__getitems__(keys)
    return table.gather(batch.shots), batch.label


def from_files(folder: Path, rows: Annotations, keys: Sequence[SampleKey]) -> tuple[Tensor, Tensor]:
    """The same from a file a shot, read one by one for each sample, then put together."""
    samples = [sample_from_files(folder, rows, key.row) for key in keys]
    return torch.stack([features for features, _ in samples]), torch.tensor([label for _, label in samples])


def sample_from_files(folder: Path, rows: Annotations, row: int) -> tuple[Tensor, int]:
    """One window (S, D) and its label."""
    film = rows.film[row]
    shots = clipped_windows(rows.shot[row : row + 1], rows.num_shots[[film]], NEIGHBORS, 1)[0]
    name = rows.films[film]
    features = [np.load(folder / name / f"shot_{shot:04d}.npy") for shot in shots.tolist()]
    return torch.from_numpy(np.stack(features)), int(rows.label[row])

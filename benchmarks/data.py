"""The data that is measured on: key-frames of the shipped film, and features and annotations made from a seed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from bassl.config.paths import PACKAGE
from bassl.dataset.annotation import Annotations, read_annotations
from bassl.dataset.features import FeatureStore, FeatureWriter
from bassl.dataset.keyframes import Keyframes

SAMPLE = PACKAGE / "data" / "big_buck_bunny"
SAMPLE_SHOTS = 136
FULL_SHOTS, FULL_FILMS, TEST_FILMS = 507_530, 318, 64
"""Shots and films of MovieNet-SSeg."""
POSITIVES = 0.08
DIMENSION = 2048


def sample_keyframes() -> Keyframes:
    """Return the shipped film: 136 shots, key-frames of 426 x 240 pixels as in MovieNet."""
    return Keyframes(SAMPLE / "240P_frames", read_annotations(SAMPLE / "anno" / "anno.pretrain.ndjson"))


def write_film_copies(folder: Path, num_films: int, num_shots: int) -> Path:
    """Write a data set in MovieNet's layout, made of links to the first shots of the shipped film."""
    sizes = {f"film{number:03d}": num_shots + 1 for number in range(num_films)}
    for film in sizes:
        link = folder / "240P_frames" / film
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(SAMPLE / "240P_frames" / SAMPLE.name, target_is_directory=True)
    for split in ("pretrain", "trainvaltest"):
        write_annotations(folder / "anno" / f"anno.{split}.ndjson", sizes)
    return folder


def film_sizes(num_films: int, num_shots: int, seed: int = 0) -> dict[str, int]:
    """Return films of unequal length, as real ones are, that have `num_shots` together."""
    weights = np.random.default_rng(seed).uniform(0.4, 1.6, num_films)
    sizes = np.floor(weights / weights.sum() * num_shots).astype(int)
    sizes[: num_shots - sizes.sum()] += 1
    return {f"tt{film:07d}": int(size) for film, size in enumerate(sizes)}


def scene_labels(num_shots: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return boundary labels of all shots of a film except the last, (num_shots - 1,)."""
    labels = (rng.random(num_shots - 1) < POSITIVES).astype(np.int64)
    labels[min(3, len(labels) - 1)] = 1
    return labels


def film_features(num_shots: int, rng: np.random.Generator, dimension: int = DIMENSION) -> npt.NDArray[np.float32]:
    """Return features in the range of an encoder's, (num_shots, dimension)."""
    return rng.random((num_shots, dimension), dtype=np.float32)


def write_store(folder: Path, sizes: Mapping[str, int], dimension: int = DIMENSION) -> FeatureStore:
    """Write a feature store in the package's layout."""
    rng = np.random.default_rng(0)
    writer = FeatureWriter(folder, dimension, "float32", {"model": None})
    writer.begin()
    for name, num_shots in sizes.items():
        writer.write(name, film_features(num_shots, rng, dimension))
    writer.finish(dict(sizes))
    return FeatureStore.open(folder)


def write_per_shot(folder: Path, store: FeatureStore) -> Path:
    """Write the same features in the reference's layout: a folder per film, a file per shot."""
    for name in store.num_shots:
        (folder / name).mkdir(parents=True)
        for shot, features in enumerate(store.film(name)):
            np.save(folder / name / f"shot_{shot:04d}.npy", features)
    return folder


def write_annotations(path: Path, sizes: Mapping[str, int]) -> Annotations:
    """Write labelled rows of films, without the last shot of each, and read them."""
    rng = np.random.default_rng(0)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for name, num_shots in sizes.items():
            for shot, label in enumerate(scene_labels(num_shots, rng).tolist()):
                row = {"video_id": name, "shot_id": f"{shot:04d}", "num_shot": num_shots - 1, "boundary_label": label}
                file.write(json.dumps(row) + "\n")
    return read_annotations(path)


def shot_frames(num_shots: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return the first and last frame of each shot, (num_shots, 2)."""
    ends = np.cumsum(rng.integers(24, 200, num_shots))
    return np.stack([np.concatenate([[0], ends[:-1]]), ends - 1], axis=1)

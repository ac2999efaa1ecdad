"""Datasets over MovieNet's layout, one per job; they return plain tensors and draw only from seeded generators."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from bassl.dataset.annotation import UNKNOWN_SCENE, Annotations
from bassl.dataset.augmentation import (
    AugmentationSettings,
    AugmentParams,
    concatenate_params,
    crop,
    draw_params,
    stack_params,
)
from bassl.dataset.keyframes import NUM_KEYFRAMES, Keyframes
from bassl.dataset.sampler import SampleKey
from bassl.dataset.transform import resize_and_crop
from bassl.dataset.window import (
    MASK_PROBABILITY,
    WindowSpec,
    clipped_windows,
    draw_mask,
    draw_temporal_neighbor,
    pretrain_window,
)
from bassl.errors import InputError

MAX_FULL_SIZE_SHOTS = 16  # whose key-frames are in memory at once before they are resized


class PretrainBatch(NamedTuple):
    """Pre-training samples; a single sample has no dimension B.

    keyframes: cropped, uint8 (B, V, 3, H, W): the sparse views and then the dense window, or two views.
    draws: the augmentation of each image that remains for the device, on the host.
    mask: (B, S), 1 for a shot that masked shot modelling hides.
    """

    keyframes: Tensor
    draws: AugmentParams
    mask: Tensor


def collate_pretrain(samples: Sequence[PretrainBatch]) -> PretrainBatch:
    """Stack samples; images stay channels-last in memory, and a data worker stacks straight into shared memory."""
    images = default_collate([sample.keyframes.permute(0, 2, 3, 1) for sample in samples])
    draws = stack_params([sample.draws for sample in samples])
    return PretrainBatch(images.permute(0, 1, 4, 2, 3), draws, default_collate([sample.mask for sample in samples]))


class PretrainShots(Dataset[PretrainBatch]):
    """One sample per annotated shot: the window around it with its sparse views, or two views.

    Args:
        keyframes: of the annotated films.
        settings: distributions of the augmentation.
        seed: decides every draw, together with the epoch and the row.
        sampling: "window"; "instance" for one key-frame twice; "temporal" for key-frames of two shots.
        sparse: positions of the window that get a second view.
        window: shape of the window.
        masking_probability: of each shot.

    Raises InputError for a film of one shot with temporal sampling.
    """

    def __init__(
        self,
        keyframes: Keyframes,
        settings: AugmentationSettings,
        *,
        seed: int,
        sampling: str = "window",
        sparse: Sequence[int] = (0, 16),
        window: WindowSpec = WindowSpec(),  # noqa: B008
        masking_probability: float = MASK_PROBABILITY,
    ) -> None:
        assert sampling in ("window", "instance", "temporal"), sampling
        annotations = keyframes.annotations
        single = np.flatnonzero(annotations.num_shots < 2)
        if sampling == "temporal" and len(single):
            raise InputError(
                f"film {annotations.films[single[0]]} has a single shot, so the method temporal finds no other shot "
                "in it; leave the film out of the annotations"
            )
        self.keyframes, self.annotations, self.settings, self.seed = keyframes, annotations, settings, seed
        self.sampling, self.sparse, self.window = sampling, list(sparse), window
        self.masking_probability = masking_probability

    def __len__(self) -> int:
        return len(self.annotations)

    def __getitem__(self, key: SampleKey) -> PretrainBatch:
        rng = np.random.default_rng((self.seed, key.epoch, key.row))
        film, shot = int(self.annotations.film[key.row]), int(self.annotations.shot[key.row])
        num_shots, window = int(self.annotations.num_shots[film]), self.window
        # 1. which shots, and one key-frame of each
        if self.sampling == "window":
            shots = pretrain_window(shot, num_shots, window.size, window.interval)
        elif self.sampling == "temporal":
            shots = np.array([shot, draw_temporal_neighbor(shot, num_shots, window.size, window.interval, rng)])
        else:
            shots = np.array([shot])
        images = self.keyframes.read(film, shots.tolist(), rng.integers(NUM_KEYFRAMES, size=len(shots)).tolist())
        # 2. sequences of images, each augmented in one way
        if self.sampling == "window":
            sequences = [[images[position] for position in self.sparse], images] if self.sparse else [images]
        else:
            sequences = [images[:1], images[-1:]]
        # 3. the augmentation: all draws, then the crop
        height, width = images[0].shape[-2:]
        draws = [draw_params(len(sequence), height, width, self.settings, rng) for sequence in sequences]
        crops = [crop(images, draw.box[0], self.settings.size) for images, draw in zip(sequences, draws, strict=True)]
        mask = draw_mask(len(shots), rng, self.masking_probability)
        return PretrainBatch(torch.cat(crops), concatenate_params(draws), torch.from_numpy(mask))


class FilmChunk(NamedTuple):
    """Consecutive shots of a film at test time.

    film: index into the films of the annotations.
    shots: (n,) their numbers.
    scenes: (n,) scene of each shot in its film.
    keyframes: (n, K, 3, H, W) uint8, resized and cropped.
    is_last: whether the film ends with this chunk.
    """

    film: int
    shots: Tensor
    scenes: Tensor
    keyframes: Tensor
    is_last: bool


class FilmChunks(Dataset[FilmChunk]):
    """The annotated shots of some films, film by film, in chunks.

    Args:
        keyframes: of the annotated films.
        films: indices into the films of the annotations.
        chunk_size: shots per chunk, at most.
        resize, crop: test-time transform, in pixels.
        all_shots: take every shot of a film, with or without a row, as extraction does.
        never_empty: hold one empty chunk if there are no films, because every rank has to take part in validation.
    """

    def __init__(
        self,
        keyframes: Keyframes,
        films: Sequence[int],
        *,
        chunk_size: int,
        resize: int,
        crop: int,
        all_shots: bool = False,
        never_empty: bool = False,
    ) -> None:
        self.annotations, self.keyframes, self.resize, self.crop = keyframes.annotations, keyframes, resize, crop
        scene_numbers = self.annotations.scene_numbers()
        self._chunks: list[tuple[int, np.ndarray, np.ndarray, bool]] = []
        for film in films:
            rows = np.flatnonzero(self.annotations.film == film)
            rows = rows[np.argsort(self.annotations.shot[rows])]
            shots, scenes = self.annotations.shot[rows], scene_numbers[rows]
            if all_shots:
                shots = np.arange(self.annotations.num_shots[film])
                scenes = np.full(len(shots), UNKNOWN_SCENE)
            for start in range(0, len(shots), chunk_size):
                part = slice(start, start + chunk_size)
                self._chunks.append((film, shots[part], scenes[part], start + chunk_size >= len(shots)))
        if never_empty and not self._chunks:
            self._chunks.append((0, np.empty(0, np.int64), np.empty(0, np.int64), False))

    def __len__(self) -> int:
        return len(self._chunks)

    @property
    def num_shots(self) -> int:
        """Shots in all chunks."""
        return sum(len(shots) for _, shots, _, _ in self._chunks)

    def __getitem__(self, index: int) -> FilmChunk:
        film, shots, scenes, is_last = self._chunks[index]
        small = torch.empty((0, NUM_KEYFRAMES, 3, self.crop, self.crop), dtype=torch.uint8)
        if len(shots):
            small = _read_small(self.keyframes, film, shots.tolist(), self.resize, self.crop)
        return FilmChunk(film, torch.as_tensor(shots), torch.as_tensor(scenes), small, is_last)


def _read_small(keyframes: Keyframes, film: int, shots: Sequence[int], resize: int, crop: int) -> Tensor:
    """Read the key-frames of some shots under the test-time transform: (n, K, 3, crop, crop) uint8."""
    images = keyframes.read_all(film, shots)
    return resize_and_crop(images.flatten(0, 1), resize, crop).unflatten(0, images.shape[:2])


class WindowBatch(NamedTuple):
    """Fine-tuning samples.

    row: (B,) rows of the annotation file.
    label: (B,), -1 uncertain.
    shots: (B, S) the shots of each window, as rows of the feature table or, with raw key-frames, of `keyframes`.
    keyframes: uint8 (U, K, 3, H, W), each shot of the batch once; None with features.
    """

    row: Tensor
    label: Tensor
    shots: Tensor
    keyframes: Tensor | None = None


class LabelledWindows(Dataset[WindowBatch]):
    """Windows around labelled shots as rows of a feature table, fetched a whole batch at a time.

    first: (F,) first row of each of the annotations' films in the table.
    """

    def __init__(self, annotations: Annotations, first: np.ndarray, window: WindowSpec = WindowSpec()) -> None:  # noqa: B008
        self.annotations, self.first, self.window = annotations, first, window

    def __len__(self) -> int:
        return len(self.annotations)

    def __getitems__(self, keys: Sequence[SampleKey | int]) -> WindowBatch:
        rows = _rows(keys)
        film, windows = _windows(self.annotations, rows, self.window)
        return _window_batch(self.annotations, rows, windows + self.first[film][:, None])


class RawWindows(Dataset[WindowBatch]):
    """Windows around labelled shots as key-frames (USE_RAW_SHOT), fetched a whole batch at a time.

    Windows of neighbouring rows share nearly all shots, so each shot of a batch is read and encoded once.
    """

    def __init__(
        self,
        keyframes: Keyframes,
        *,
        resize: int,
        crop: int,
        window: WindowSpec = WindowSpec(),  # noqa: B008
    ) -> None:
        self.annotations, self.keyframes, self.resize, self.crop = keyframes.annotations, keyframes, resize, crop
        self.window = window

    def __len__(self) -> int:
        return len(self.annotations)

    @property
    def shot_bytes(self) -> int:
        """Bytes of a shot's key-frames in a batch."""
        return NUM_KEYFRAMES * 3 * self.crop**2

    def max_shots(self, batch_size: int, in_order: bool) -> int:
        """Return the most shots that a batch can hold; in_order: of consecutive rows, else of any rows."""
        if not in_order:
            return batch_size * self.window.num_shots
        rows = np.arange(len(self))
        return max(len(self._shots(rows[at : at + batch_size])[0]) for at in range(0, len(self), batch_size))

    def _shots(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return film and number of each shot in the windows of some rows, (U, 2), and where each window has it."""
        film, windows = _windows(self.annotations, rows, self.window)
        length = int(self.annotations.num_shots.max())
        unique, inverse = np.unique(film[:, None] * length + windows, return_inverse=True)
        return np.stack([unique // length, unique % length], axis=1), inverse.reshape(windows.shape)

    def __getitems__(self, keys: Sequence[SampleKey | int]) -> WindowBatch:
        rows = _rows(keys)
        shots, windows = self._shots(rows)
        keyframes = torch.empty((len(shots), NUM_KEYFRAMES, 3, self.crop, self.crop), dtype=torch.uint8)
        for film in np.unique(shots[:, 0]).tolist():
            of_film = np.flatnonzero(shots[:, 0] == film)
            for part in np.split(of_film, range(MAX_FULL_SIZE_SHOTS, len(of_film), MAX_FULL_SIZE_SHOTS)):
                numbers = shots[part, 1].tolist()
                keyframes[part[0] : part[-1] + 1] = _read_small(self.keyframes, film, numbers, self.resize, self.crop)
        return _window_batch(self.annotations, rows, windows, keyframes)


def _rows(keys: Sequence[SampleKey | int]) -> np.ndarray:
    return np.asarray([key.row if isinstance(key, SampleKey) else key for key in keys])


def _windows(annotations: Annotations, rows: np.ndarray, window: WindowSpec) -> tuple[np.ndarray, np.ndarray]:
    """Return the film of each row, (B,), and its window of shot numbers, (B, S)."""
    film = annotations.film[rows]
    return film, clipped_windows(annotations.shot[rows], annotations.num_shots[film], window.size, window.interval)


def _window_batch(
    annotations: Annotations, rows: np.ndarray, shots: np.ndarray, keyframes: Tensor | None = None
) -> WindowBatch:
    label = torch.from_numpy(annotations.label[rows]).long()
    return WindowBatch(torch.from_numpy(rows), label, torch.from_numpy(shots), keyframes)

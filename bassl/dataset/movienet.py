"""One Dataset per job over MovieNet's layout; each yields plain tensors and draws only what a seed decides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from bassl.dataset.annotation import UNKNOWN_SCENE, Annotations
from bassl.dataset.augmentation import AugmentationSettings, ViewDraw, crop, draw_view, join_views, stack_views
from bassl.dataset.keyframes import NUM_KEYFRAMES, Keyframes
from bassl.dataset.sampler import SampleKey
from bassl.dataset.transform import resize_and_crop
from bassl.dataset.window import clipped_windows, draw_mask, draw_temporal_neighbor, pretrain_window
from bassl.errors import InputError

SHOTS_AT_A_TIME = 16  # shots whose key-frames are held in full size


class PretrainBatch(NamedTuple):
    """Pre-training samples, before (one sample, no B) and after collation.

    keyframes: cropped, uint8 (B, V, 3, H, W): the sparse views and then the dense window, or two views. draws: how
    each is augmented on the device, on the host. mask: (B, S), 1 a masked shot.
    """

    keyframes: Tensor
    draws: ViewDraw
    mask: Tensor


def collate_pretrain(samples: Sequence[PretrainBatch]) -> PretrainBatch:
    """A batch of samples; images stay channels-last in memory. A data worker stacks straight into shared memory."""
    images = default_collate([sample.keyframes.permute(0, 2, 3, 1) for sample in samples])
    draws = stack_views([sample.draws for sample in samples])
    return PretrainBatch(images.permute(0, 1, 4, 2, 3), draws, default_collate([sample.mask for sample in samples]))


class PretrainShots(Dataset[PretrainBatch]):
    """One sample per annotated shot: the window around it and its sparse views, or two views of it.

    sampling: "window", "instance" or "temporal"; sparse: positions of the window that get a second view.
    """

    def __init__(
        self,
        annotations: Annotations,
        keyframes: Keyframes,
        settings: AugmentationSettings,
        seed: int,
        sampling: str = "window",
        sparse: Sequence[int] = (0, 16),
        neighbor_size: int = 8,
        neighbor_interval: int = 1,
        masking_probability: float = 0.15,
    ) -> None:
        assert sampling in ("window", "instance", "temporal"), sampling
        alone = np.flatnonzero(annotations.num_shots < 2)
        if sampling == "temporal" and len(alone):
            raise InputError(
                f"film {annotations.films[alone[0]]} has a single shot, so the method temporal finds no other shot "
                "in it; leave the film out of the annotations"
            )
        self.annotations, self.keyframes, self.settings, self.seed = annotations, keyframes, settings, seed
        self.sampling, self.sparse = sampling, list(sparse)
        self.neighbor_size, self.neighbor_interval = neighbor_size, neighbor_interval
        self.masking_probability = masking_probability

    def __len__(self) -> int:
        return len(self.annotations)

    def __getitem__(self, key: SampleKey) -> PretrainBatch:
        rng = np.random.default_rng((self.seed, key.epoch, key.row))
        film, shot = int(self.annotations.film[key.row]), int(self.annotations.shot[key.row])
        num_shots = int(self.annotations.num_shots[film])
        if self.sampling == "window":
            shots = pretrain_window(shot, num_shots, self.neighbor_size, self.neighbor_interval)
        elif self.sampling == "temporal":
            other = draw_temporal_neighbor(shot, num_shots, self.neighbor_size, self.neighbor_interval, rng)
            shots = np.asarray([shot, other])
        else:
            shots = np.asarray([shot])
        images = self.keyframes.read(film, shots.tolist(), rng.integers(NUM_KEYFRAMES, size=len(shots)).tolist())
        if self.sampling == "window":
            sequences = [[images[position] for position in self.sparse], images] if self.sparse else [images]
        else:  # the same drawn key-frame twice, or that of another shot
            sequences = [images[:1], images[-1:]]
        height, width = images[0].shape[-2:]
        draws = [draw_view(len(sequence), height, width, self.settings, rng) for sequence in sequences]
        crops = [
            crop(sequence, draw.box[0], self.settings.size) for sequence, draw in zip(sequences, draws, strict=True)
        ]
        mask = draw_mask(len(shots), rng, self.masking_probability)
        return PretrainBatch(torch.cat(crops), join_views(draws), torch.from_numpy(mask))


class FilmChunk(NamedTuple):
    """Consecutive shots of a film at test time.

    film: index into the annotations' films. shots: (n,) numbers. scenes: (n,) scene of each shot in its film.
    keyframes: (n, K, 3, H, W) uint8, resized and cropped. is_last: whether the film ends with it.
    """

    film: int
    shots: Tensor
    scenes: Tensor
    keyframes: Tensor
    is_last: bool


class FilmChunks(Dataset[FilmChunk]):
    """The annotated shots of some films, film by film, in chunks of at most `chunk_size` shots.

    all_shots: every shot of a film (0 to its last), whether it has a row or not, as extraction needs it.
    never_empty: without films, hold one chunk of no shots: a rank without films has to take part in validation.
    """

    def __init__(
        self,
        annotations: Annotations,
        keyframes: Keyframes,
        films: Sequence[int],
        chunk_size: int,
        resize: int,
        crop: int,
        all_shots: bool = False,
        never_empty: bool = False,
    ) -> None:
        self.annotations, self.keyframes, self.resize, self.crop = annotations, keyframes, resize, crop
        self._scenes = scene_numbers(annotations)
        rows = {film: np.flatnonzero(annotations.film == film) for film in films}
        self._chunks: list[tuple[int, np.ndarray, np.ndarray, bool]] = []
        for film in films:
            ordered = rows[film][np.argsort(annotations.shot[rows[film]])]
            shots, scenes = annotations.shot[ordered], self._scenes[ordered]
            if all_shots:
                shots = np.arange(annotations.num_shots[film])
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
        if not len(shots):
            nothing = torch.empty((0, NUM_KEYFRAMES, 3, self.crop, self.crop), dtype=torch.uint8)
            return FilmChunk(film, torch.as_tensor(shots), torch.as_tensor(scenes), nothing, is_last)
        images = self.keyframes.read_all(film, shots.tolist())
        small = resize_and_crop(images.flatten(0, 1), self.resize, self.crop).unflatten(0, images.shape[:2])
        return FilmChunk(film, torch.as_tensor(shots), torch.as_tensor(scenes), small, is_last)


class WindowBatch(NamedTuple):
    """Fine-tuning samples. row: (B,) rows of the annotation file. label: (B,), -1 uncertain.

    shots: (B, S), where the window's features come from: rows of the feature table, or, with raw key-frames, of
    `keyframes`, uint8 (U, K, 3, H, W), which holds each shot of the batch once.
    """

    row: Tensor
    label: Tensor
    shots: Tensor
    keyframes: Tensor | None = None


class LabelledWindows(Dataset[WindowBatch]):
    """Windows around labelled shots as rows of a feature table, fetched a whole batch at a time.

    first: (F,) first row of each of the annotations' films in the table.
    """

    def __init__(
        self, annotations: Annotations, first: np.ndarray, neighbor_size: int = 8, neighbor_interval: int = 1
    ) -> None:
        self.annotations, self.first = annotations, first
        self.neighbor_size, self.neighbor_interval = neighbor_size, neighbor_interval

    def __len__(self) -> int:
        return len(self.annotations)

    def __getitems__(self, keys: Sequence[SampleKey | int]) -> WindowBatch:
        notes = self.annotations
        rows = np.asarray([key.row if isinstance(key, SampleKey) else key for key in keys])
        film = notes.film[rows]
        windows = clipped_windows(notes.shot[rows], notes.num_shots[film], self.neighbor_size, self.neighbor_interval)
        shots = windows + self.first[film][:, None]
        return WindowBatch(torch.from_numpy(rows), torch.from_numpy(notes.label[rows]).long(), torch.from_numpy(shots))


class RawWindows(Dataset[WindowBatch]):
    """Windows around labelled shots as key-frames (USE_RAW_SHOT), a whole batch at a time.

    Windows of neighbouring rows share nearly all their shots, so each shot of a batch is read, kept and encoded once.
    """

    def __init__(
        self,
        annotations: Annotations,
        keyframes: Keyframes,
        resize: int,
        crop: int,
        neighbor_size: int = 8,
        neighbor_interval: int = 1,
    ) -> None:
        self.annotations, self.keyframes, self.resize, self.crop = annotations, keyframes, resize, crop
        self.neighbor_size, self.neighbor_interval = neighbor_size, neighbor_interval

    def __len__(self) -> int:
        return len(self.annotations)

    @property
    def shot_bytes(self) -> int:
        """Bytes of a shot's key-frames in a batch."""
        return NUM_KEYFRAMES * 3 * self.crop**2

    def most_shots(self, batch_size: int, in_order: bool) -> int:
        """The most shots that a batch may hold; in_order: of consecutive rows, else of any."""
        if not in_order:
            return batch_size * (2 * self.neighbor_size + 1)
        rows = np.arange(len(self))
        return max(len(self._shots(rows[at : at + batch_size])[0]) for at in range(0, len(self), batch_size))

    def _shots(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Film and number of each shot in the windows of some rows, (U, 2), and where the windows' shots are in it."""
        notes, film = self.annotations, self.annotations.film[rows]
        windows = clipped_windows(notes.shot[rows], notes.num_shots[film], self.neighbor_size, self.neighbor_interval)
        length = int(notes.num_shots.max())
        unique, where = np.unique(film[:, None] * length + windows, return_inverse=True)
        return np.stack([unique // length, unique % length], axis=1), where.reshape(windows.shape)

    def __getitems__(self, keys: Sequence[SampleKey | int]) -> WindowBatch:
        rows = np.asarray([key.row if isinstance(key, SampleKey) else key for key in keys])
        found, where = self._shots(rows)
        keyframes = torch.empty((len(found), NUM_KEYFRAMES, 3, self.crop, self.crop), dtype=torch.uint8)
        for film in np.unique(found[:, 0]).tolist():
            of_film = np.flatnonzero(found[:, 0] == film)
            for part in np.split(of_film, range(SHOTS_AT_A_TIME, len(of_film), SHOTS_AT_A_TIME)):
                images = self.keyframes.read_all(film, found[part, 1].tolist())
                small = resize_and_crop(images.flatten(0, 1), self.resize, self.crop)
                keyframes[part[0] : part[-1] + 1] = small.unflatten(0, images.shape[:2])
        label = torch.from_numpy(self.annotations.label[rows]).long()
        return WindowBatch(torch.from_numpy(rows), label, torch.from_numpy(where), keyframes)


def scene_numbers(annotations: Annotations) -> np.ndarray:
    """Scene of each row in its film, (R,): as annotated, else counted from the boundary labels (-1 counts as 1)."""
    scenes = annotations.scene.copy()
    for film in np.unique(annotations.film[scenes == UNKNOWN_SCENE]):
        rows = np.flatnonzero(annotations.film == film)
        rows = rows[np.argsort(annotations.shot[rows])]
        ends = np.abs(annotations.label[rows])
        scenes[rows] = np.cumsum(ends) - ends
    return scenes

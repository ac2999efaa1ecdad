"""Procedural films as a data set in MovieNet's layout: drawn here, laid out by `bassl.prepare`."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from bassl.errors import InputError
from bassl.labels.label_files import write_label_file
from bassl.prepare.film import JPEG_QUALITY, partial_folder, remove_film, remove_partial_films
from bassl.prepare.films import check_settings
from bassl.prepare.layout import Layout, keyframe_name, lock_target, write_shot_file
from bassl.prepare.movienet import Built, build_annotations
from bassl.prepare.splits import draw_splits, write_split_file
from bassl.procedural.difficulty import DEFAULT, Difficulty
from bassl.procedural.picture import Camera
from bassl.procedural.screenplay import SHORTEST_SCENE, write_screenplay
from bassl.training.processes import end_with_parent

JOB = "bassl.procedural"
SMALLEST, LARGEST = 16, 2048  # pixels; of the largest a view takes two GB to draw


@dataclass(frozen=True)
class DataSet:
    """What decides a data set, to the byte. num_shots: of each film. width, height: of a key-frame, pixels.

    shares: of the films in train, val and test. Raises InputError for numbers that cannot work.
    """

    num_films: int = 20
    num_shots: int = 120
    seed: int = 0
    difficulty: float = DEFAULT
    width: int = 160
    height: int = 90
    shares: tuple[float, float, float] = (0.6, 0.2, 0.2)

    def __post_init__(self) -> None:
        Difficulty.of(self.difficulty)
        if self.num_films < 1 or self.num_shots < SHORTEST_SCENE:
            raise InputError(
                f"{self.num_films} films of {self.num_shots} shots cannot work; give a film of {SHORTEST_SCENE} or more"
            )
        if self.seed < 0:
            raise InputError(f"seed {self.seed} cannot work; give 0 or more")
        if min(self.width, self.height) < SMALLEST:
            raise InputError(
                f"key-frames of {self.width}x{self.height} are too small; give {SMALLEST}x{SMALLEST} or more"
            )
        if max(self.width, self.height) > LARGEST:
            raise InputError(
                f"key-frames of {self.width}x{self.height} are too large; give {LARGEST}x{LARGEST} or less"
            )

    @property
    def films(self) -> list[str]:
        """Names."""
        return [f"procedural_{film:03d}" for film in range(self.num_films)]

    def as_json(self) -> dict[str, Any]:
        """The settings as plain values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def write_data_set(target: Path, data: DataSet, num_processes: int = 1, progress_bar: bool = False) -> Built:
    """Write key-frames, shot files, labels, splits and annotations of all films; those that are there stay.

    A film is there if its shot file, its labels and its folder of key-frames are. Raises InputError for a target that
    was begun with other settings, or holds other key-frames, ChildProcessError where a process was killed.
    """
    layout = Layout.of(target)
    splits = draw_splits(data.films, data.shares, data.seed)
    with lock_target(target, JOB):
        remove_partial_films(target)
        check_settings(target, {"source": "procedural films", **data.as_json()})
        missing = [film for film, name in enumerate(data.films) if not _is_there(layout, name)]
        with _mapped(num_processes) as mapped:
            drawn = mapped(partial(write_film, target, data), missing)
            for _ in tqdm(drawn, "drawing", len(missing), unit="film", disable=not progress_bar):
                pass
        write_split_file(layout.split, splits)
        return build_annotations(layout)


def _is_there(layout: Layout, name: str) -> bool:
    files = (layout.shots / f"{name}.txt", layout.labels / f"{name}.txt")
    return all(path.is_file() for path in files) and (layout.keyframes / name).is_dir()


def write_film(target: Path, data: DataSet, number: int) -> None:
    """Draw one film and write its key-frames, its labels and last its shot file, which says that it is done."""
    layout, name = Layout.of(target), data.films[number]
    film = write_screenplay(data.seed, number, data.num_shots, data.difficulty)
    camera, folder = Camera(film, data.width, data.height), partial_folder(target, name)
    remove_film(target, name)
    folder.mkdir(parents=True)
    try:
        for shot in range(data.num_shots):
            for keyframe, pixels in enumerate(camera.keyframes(shot)):
                Image.fromarray(pixels).save(folder / keyframe_name(shot, keyframe), "JPEG", quality=JPEG_QUALITY)
        folder.rename(layout.keyframes / name)
        write_label_file(layout.labels / f"{name}.txt", film.labels)
        write_shot_file(layout.shots / f"{name}.txt", film.frames)
    except BaseException:
        remove_film(target, name)
        raise


@contextmanager
def _mapped(num_processes: int) -> Iterator[Any]:
    """`map`, over several processes where there are to be some."""
    if num_processes == 1:
        yield map
        return
    context = multiprocessing.get_context("forkserver")
    try:
        with ProcessPoolExecutor(num_processes, context, end_with_parent) as pool:
            yield pool.map
    except BrokenProcessPool as error:
        raise ChildProcessError("a process that drew films was killed, for want of memory perhaps") from error

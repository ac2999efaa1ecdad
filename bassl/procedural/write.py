"""Write drawn films as a data set in MovieNet's layout."""

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
from bassl.procedural.difficulty import DEFAULT
from bassl.procedural.picture import Camera
from bassl.procedural.shot_plan import plan_film
from bassl.training.processes import end_with_parent

JOB = "bassl.procedural"
SOURCE = "procedural films, version 2"  # changes whenever equal settings give other films
MIN_SIDE, MAX_SIDE = 16, 2048  # pixels; a view of the largest takes two GB to draw


@dataclass(frozen=True)
class DataSet:
    """Settings of a data set, which determine every byte of it; InputError for invalid ones.

    Attributes:
        num_shots: of each film.
        width, height: of a key-frame in pixels.
        shares: fractions of the films in train, val and test.
    """

    num_films: int = 20
    num_shots: int = 120
    seed: int = 0
    difficulty: float = DEFAULT
    width: int = 160
    height: int = 90
    shares: tuple[float, float, float] = (0.6, 0.2, 0.2)

    def __post_init__(self) -> None:
        if self.num_films < 1:
            raise InputError(f"a data set of {self.num_films} films is empty; give 1 or more")
        if not MIN_SIDE <= min(self.width, self.height) <= max(self.width, self.height) <= MAX_SIDE:
            size = f"{self.width}x{self.height}"
            raise InputError(f"key-frames of {size} cannot be drawn; give sides of {MIN_SIDE} to {MAX_SIDE} pixels")
        plan_film(self.seed, 0, self.num_shots, self.difficulty)
        draw_splits(self.films, self.shares, self.seed)

    @property
    def films(self) -> list[str]:
        """Names of the films."""
        return [f"procedural_{film:03d}" for film in range(self.num_films)]


def write_data_set(target: Path, data: DataSet, num_processes: int = 1, progress_bar: bool = False) -> Built:
    """Write key-frames, shot files, labels, splits and annotations; films that are complete are kept.

    Raises InputError for a target that was begun with other settings or holds other key-frames, and
    ChildProcessError where a process was killed.
    """
    layout = Layout.of(target)
    settings = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(data).items()}
    with lock_target(target, JOB):
        remove_partial_films(target)
        check_settings(target, {"source": SOURCE, **settings})
        missing = [film for film, name in enumerate(data.films) if not _is_complete(layout, name)]
        with _film_map(num_processes) as film_map:
            drawn = film_map(partial(write_film, target, data), missing)
            for _ in tqdm(drawn, "drawing", len(missing), unit="film", disable=not progress_bar):
                pass
        write_split_file(layout.split, draw_splits(data.films, data.shares, data.seed))
        return build_annotations(layout)


def _is_complete(layout: Layout, name: str) -> bool:
    files = (layout.shots / f"{name}.txt", layout.labels / f"{name}.txt")
    return all(path.is_file() for path in files) and (layout.keyframes / name).is_dir()


def write_film(target: Path, data: DataSet, number: int) -> None:
    """Draw one film and write its key-frames, its labels and last its shot file, which marks it as complete."""
    layout, name = Layout.of(target), data.films[number]
    film = plan_film(data.seed, number, data.num_shots, data.difficulty)
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
def _film_map(num_processes: int) -> Iterator[Any]:
    """Provide `map` over one or several processes."""
    if num_processes == 1:
        yield map
        return
    context = multiprocessing.get_context("forkserver")
    try:
        with ProcessPoolExecutor(num_processes, context, end_with_parent) as pool:
            yield pool.map
    except BrokenProcessPool as error:
        raise ChildProcessError("a process that drew films was killed, perhaps for lack of memory") from error

"""Segmenting many films: one bad film does not stop the rest, and several devices share them out."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from tqdm import tqdm

from bassl.console import setup_logging
from bassl.errors import InputError
from bassl.segment.analyse import analyse
from bassl.segment.api import finish
from bassl.segment.cache import Cache
from bassl.segment.reference import ModelReference
from bassl.segment.results import write_results
from bassl.segment.scenes import Segmentation
from bassl.training.processes import end_with_parent
from bassl.video.extras import MissingExtra
from bassl.video.settings import ShotSettings

if TYPE_CHECKING:
    from multiprocessing.queues import Queue

    from bassl.segment.model import SceneModel

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """A film, its results' folder, and how its shots are found. labels: file with its true scenes."""

    film: Path
    folder: Path
    shots: ShotSettings
    labels: Path | None = None


@dataclass(frozen=True)
class Options:
    """What is the same for all films of a call.

    formats: as `write_formats` takes. ffmpeg: the program that cuts clips, None for no clips.
    """

    reference: ModelReference
    device: str
    cache: Path | None
    formats: tuple[str, ...]
    threshold: float | None = None
    num_scenes: int | None = None
    ffmpeg: str | None = None
    show_progress: bool = False


@dataclass(frozen=True)
class Outcome:
    """What came of a film.

    written: its files; removed: names of files of an earlier call that went; error: why it failed, in a sentence,
    None where it did not.
    """

    task: Task
    segmentation: Segmentation | None = None
    written: tuple[Path, ...] = ()
    removed: tuple[str, ...] = ()
    error: str | None = None


class ModelError(InputError):
    """The model cannot be had, so no film can be segmented."""


class ModelLoader:
    """Loads the model when the first film needs it, and then no more."""

    def __init__(self, reference: ModelReference, device: str) -> None:
        self._reference, self._device = reference, device
        self._model: SceneModel | None = None

    def __call__(self) -> SceneModel:
        """The model. Raises ModelError where it cannot be loaded."""
        if self._model is None:
            from bassl.segment.model import load_reference

            try:
                self._model = load_reference(self._reference, self._device)
            except InputError as error:
                raise ModelError(str(error)) from error
        return self._model


def segment_films(tasks: Sequence[Task], options: Options, devices: Sequence[str]) -> Iterator[Outcome]:
    """Segment and write every film, and tell what came of each as soon as it is done.

    devices: a process on each where there are several, and then films come in the order in which they end.

    Raises:
        ModelError: the model cannot be loaded.
        MissingExtra: a library that reads films is not installed.
    """
    if len(devices) == 1 or len(tasks) == 1:
        load = ModelLoader(options.reference, devices[0])
        for task in tasks:
            yield segment_film(task, options, load)
    else:
        yield from _in_processes(tasks, options, devices)


def segment_film(task: Task, options: Options, load: ModelLoader) -> Outcome:
    """Segment and write one film; whatever is wrong with it is in the outcome.

    Raises ModelError and MissingExtra, which concern all films.
    """
    try:
        cache = Cache(options.cache)
        analysed = analyse(task.film, options.reference, load, task.shots, cache, options.show_progress)
        segmentation = finish(analysed, options.threshold, options.num_scenes, task.labels)
        shot_list = None if task.shots.given is None else task.shots.given.path
        given = [path for path in (task.labels, shot_list) if path is not None]
        written = write_results(
            segmentation, task.folder, options.formats, options.ffmpeg, given, options.show_progress
        )
    except (ModelError, MissingExtra):
        raise
    except InputError as error:
        return Outcome(task, error=str(error))
    except OSError as error:
        return Outcome(task, error=f"{error.filename or task.folder}: {error.strerror or error}")
    except Exception as error:
        log.exception("%s failed in a way that is a fault of bassl", task.film)
        return Outcome(task, error=f"fault of bassl ({type(error).__name__}: {error}); please report it")
    return Outcome(task, segmentation, written.files, written.removed)


_load: ModelLoader | None = None  # of this worker process


def _in_processes(tasks: Sequence[Task], options: Options, devices: Sequence[str]) -> Iterator[Outcome]:
    context = multiprocessing.get_context("spawn")
    free: Queue[str] = context.Queue()
    for device in devices:
        free.put(device)
    num_processes = min(len(devices), len(tasks))
    others = multiprocessing.active_children()
    with ProcessPoolExecutor(num_processes, context, _start_worker, (free, options.reference)) as pool:
        largest_first = sorted(tasks, key=lambda task: -_size(task.film))
        waiting: dict[Future[Outcome], Task] = {pool.submit(_work, task, options): task for task in largest_first}
        try:
            for done in tqdm(as_completed(waiting), "films", len(waiting), disable=not options.show_progress):
                try:
                    yield done.result()
                except BrokenProcessPool:
                    what = "a process died, perhaps for want of memory or of a damaged film; try it with --device cpu"
                    yield Outcome(waiting[done], error=what)
        except BaseException:  # no model, an interrupt, or nobody wants the rest
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                if process not in others:
                    process.terminate()
            raise


def _start_worker(free: Queue[str], reference: ModelReference) -> None:
    global _load
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt reaches all processes; the parent ends this one
    signal.signal(signal.SIGTERM, _stop)
    end_with_parent()
    setup_logging(logging.WARNING)
    _load = ModelLoader(reference, free.get())


def _stop(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _work(task: Task, options: Options) -> Outcome:
    assert _load is not None
    try:
        return segment_film(task, options, _load)
    except SystemExit as stopped:  # everything has been tidied up; the pool would go on with the next film
        os._exit(int(stopped.code or 0))


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0

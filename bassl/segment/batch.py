"""Segment many films: a bad film does not stop the rest, and several devices share them out."""

from __future__ import annotations

import logging
import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.queues import Queue
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from bassl.console import setup_logging
from bassl.segment.api import FilmResult, Options, model_loader, segment_film
from bassl.segment.model_files import ModelSpec

if TYPE_CHECKING:
    from bassl.segment.model import SceneModel


def segment_films(films: Sequence[Options], devices: Sequence[str]) -> Iterator[FilmResult]:
    """Segment and write films of one model, and yield each result as soon as it is there.

    With several devices, each has a process, and results come in the order in which films are done.

    Raises:
        ModelError, MissingExtra: concern all films.
    """
    if len(devices) == 1 or len(films) == 1:
        load = model_loader(films[0].model, devices[0])
        for options in films:
            yield segment_film(options, load)
        return
    context = multiprocessing.get_context("spawn")
    free: Queue[str] = context.Queue()
    for device in devices:
        free.put(device)
    largest_first = sorted(films, key=lambda options: -_size(options.film))
    pool = ProcessPoolExecutor(min(len(devices), len(films)), context, _start_worker, (free, films[0].model))
    try:
        waiting = {pool.submit(_work, options): options for options in largest_first}
        for done in tqdm(as_completed(waiting), "films", len(waiting), disable=not films[0].show_progress):
            try:
                yield done.result()
            except BrokenProcessPool:
                reason = "a process died, perhaps out of memory or of a damaged film; try it with --device cpu"
                yield FilmResult(waiting[done], error=reason)
        pool.shutdown()
    finally:  # after an error or an interrupt, nobody waits for the workers
        workers = list((pool._processes or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in workers:
            worker.terminate()


_load: Callable[[], SceneModel] | None = None  # of this worker process


def _start_worker(free: Queue[str], spec: ModelSpec) -> None:
    global _load
    from bassl.training.processes import end_with_parent

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent ends this one
    end_with_parent()
    setup_logging(logging.WARNING)
    _load = model_loader(spec, free.get())


def _work(options: Options) -> FilmResult:
    assert _load is not None
    return segment_film(options, _load)


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0

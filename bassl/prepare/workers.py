"""Films shared out over processes: a film that breaks its process breaks nothing else."""

from __future__ import annotations

import errno
import logging
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from typing import Any

from tqdm import tqdm

from bassl.errors import InputError
from bassl.labels.findings import ERROR, WARNING, Finding
from bassl.prepare.film import FilmJob, partial_folder, prepare_film
from bassl.training.processes import end_with_parent

log = logging.getLogger(__name__)
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
PRELOADED = ["bassl.prepare.workers", "bassl.video.cuts", "bassl.video.keyframes", "scenedetect", "PIL.Image"]


@dataclass
class _Running:
    job: FilmJob
    process: BaseProcess
    done: int = 0
    total: int = 0
    has_answered: bool = False


def prepare_films(jobs: Sequence[FilmJob], num_processes: int, progress_bar: bool = False) -> list[Finding]:
    """Prepare films, each in a process of its own, at most `num_processes` at a time; returns what went wrong.

    Raises OSError when the disk is full: then no film can succeed. However it ends, no process stays behind.
    """
    context = multiprocessing.get_context("forkserver")  # a process a film, without importing everything for each
    context.set_forkserver_preload(PRELOADED)
    waiting = deque(jobs)
    running: dict[Connection, _Running] = {}
    found: list[Finding] = []
    bar = tqdm(desc=f"0 of {len(jobs)} films", unit="frame", unit_scale=True, total=0, disable=not progress_bar)
    num_done = 0
    try:
        while waiting or running:
            while waiting and len(running) < num_processes:
                receiver, one = _start(waiting.popleft(), context)
                running[receiver] = one
            for ready in wait(list(running)):
                assert isinstance(ready, Connection)
                one = running[ready]
                try:
                    kind, content = ready.recv()
                except EOFError:
                    num_done += 1
                    found += _ended(one)
                    del running[ready]
                    ready.close()
                    bar.set_description(f"{num_done} of {len(jobs)} films")
                else:
                    found += _heard(one, kind, content, bar)
    finally:
        bar.close()
        for receiver, one in running.items():
            one.process.terminate()
            one.process.join()
            receiver.close()
    return found


def _start(job: FilmJob, context: ForkServerContext) -> tuple[Connection, _Running]:
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(job, sender), daemon=True)
    process.start()
    sender.close()
    return receiver, _Running(job, process)


def _heard(one: _Running, kind: str, content: Any, bar: Any) -> list[Finding]:
    name = one.job.name
    if kind == "progress":
        done, total = content
        bar.total += total - one.total
        bar.update(done - one.done)
        one.done, one.total = done, total
        return []
    one.has_answered = True
    if kind == "full":
        number, path = content
        raise OSError(number, os.strerror(number), path)
    if kind == "failed":
        return [Finding(ERROR, "films that failed", name, content)]
    assert kind == "done", kind
    bar.total += max(one.done, one.total) - one.total
    bar.update(one.total - one.done if one.total > one.done else 0)
    log.info("%s: done", name)
    return [Finding(WARNING, "damaged films", name, f"{one.job.source}: {text}") for text in content]


def _ended(one: _Running) -> list[Finding]:
    """The connection is closed: the process has ended, or is about to."""
    one.process.join()
    if one.has_answered:
        return []
    text = f"{one.job.source} ended the process that read it (status {one.process.exitcode})"
    return [Finding(ERROR, "films that failed", one.job.name, text)]


def _work(job: FilmJob, sender: Connection) -> None:
    """A process's life: prepare one film, tell how it went."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt reaches all processes; the parent ends this one
    end_with_parent()
    try:
        warnings = prepare_film(job, lambda done, total: sender.send(("progress", (done, total))))
    except InputError as error:
        sender.send(("failed", str(error)))
    except OSError as error:
        path = error.filename or str(partial_folder(job.target, job.name))
        is_full = error.errno in DISK_FULL
        sender.send(("full", (error.errno, path)) if is_full else ("failed", f"{job.source}: {error}"))
    except Exception as error:  # whatever it is, it is this film's, and the others can do without it
        log.exception("%s", job.source)
        sender.send(("failed", f"{job.source}: {type(error).__name__}: {error}; please report this"))
    else:
        sender.send(("done", warnings))

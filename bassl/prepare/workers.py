"""Prepare films in processes: a film that crashes its process costs no other film."""

from __future__ import annotations

import errno
import logging
import multiprocessing
import signal
from collections import deque
from collections.abc import Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from tqdm import tqdm

from bassl.errors import InputError
from bassl.labels.findings import ERROR, WARNING, Finding
from bassl.prepare.film import FilmJob, partial_folder, prepare_film
from bassl.training.processes import end_with_parent

log = logging.getLogger(__name__)
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
PRELOADED = ["bassl.prepare.workers", "bassl.video.cuts", "bassl.video.keyframes", "scenedetect", "PIL.Image"]


def prepare_films(jobs: Sequence[FilmJob], num_processes: int, progress_bar: bool = False) -> list[Finding]:
    """Prepare films, at most `num_processes` at a time, each in its own process, and return findings.

    No process outlives the call. Raises OSError if the disk is full, as no film can succeed then.
    """
    context = multiprocessing.get_context("forkserver")  # imports are done once, not per film
    context.set_forkserver_preload(PRELOADED)
    waiting = deque(jobs)
    running: dict[Connection, tuple[FilmJob, BaseProcess]] = {}
    findings: list[Finding] = []
    with tqdm(desc="preparing", total=len(jobs), unit="film", disable=not progress_bar) as bar:
        try:
            while waiting or running:
                while waiting and len(running) < num_processes:
                    receiver, sender = context.Pipe(duplex=False)
                    process: BaseProcess = context.Process(target=_work, args=(waiting[0], sender), daemon=True)
                    process.start()
                    sender.close()
                    running[receiver] = waiting.popleft(), process
                for receiver in set(running).intersection(wait(list(running))):
                    findings += _receive(receiver, *running[receiver])
                    del running[receiver]
                    bar.update()
        finally:
            for receiver, (_, process) in running.items():
                process.terminate()
                process.join()
                receiver.close()
    return findings


def _receive(receiver: Connection, job: FilmJob, process: BaseProcess) -> list[Finding]:
    """Return what a process reports of its film when it ends. Raises OSError if the disk is full."""
    try:
        outcome = receiver.recv()
    except EOFError:
        process.join()
        outcome = InputError(f"{job.source} crashed the process that read it (status {process.exitcode})")
    process.join()
    receiver.close()
    if isinstance(outcome, OSError):
        raise outcome
    if isinstance(outcome, InputError):
        return [Finding(ERROR, "films that failed", job.name, str(outcome))]
    log.info("%s: done", job.name)
    return [Finding(WARNING, "damaged films", job.name, f"{job.source}: {text}") for text in outcome]


def _work(job: FilmJob, sender: Connection) -> None:
    """Prepare one film in this process and send its warnings, an InputError, or an OSError if the disk is full."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all processes; the parent ends this one
    end_with_parent()
    outcome: list[str] | Exception
    try:
        outcome = prepare_film(job)
    except InputError as error:
        outcome = error
    except OSError as error:
        path = error.filename or str(partial_folder(job.target, job.name))
        is_full = error.errno in DISK_FULL
        outcome = OSError(error.errno, error.strerror, path) if is_full else InputError(f"{job.source}: {error}")
    except Exception as error:  # a bug costs this film, not the others
        log.exception("%s", job.source)
        outcome = InputError(f"{job.source}: {type(error).__name__}: {error}; please report this")
    sender.send(outcome)

"""Run the steps of a sweep, one process each and several runs at a time if requested."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import FrameType
from typing import IO, Any

from tqdm import tqdm

from bassl.config.paths import PACKAGE
from bassl.errors import Preempted
from bassl.sweep.folder import DONE, FAILED, WAITING, StepRecord, SweepFolder, annotation_hashes
from bassl.sweep.runs import Run, Step
from bassl.sweep.table import format_seconds
from bassl.training.processes import signal_on_parent_exit

log = logging.getLogger(__name__)
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
POLL = 0.1  # seconds between two looks at the processes


@dataclass
class _Job:
    """A step at work, with the steps after it."""

    run: Run
    step: Step
    later: list[Step]
    record: StepRecord
    process: subprocess.Popen[bytes]
    output: IO[bytes]
    started: float


class Stopped(Exception):
    """A signal asked the sweep to stop."""


def execute(
    runs: Sequence[Run],
    folder: SweepFolder,
    *,
    jobs: int = 1,
    devices: Sequence[str] = (),
    show_progress: bool = False,
    after_run: Callable[[], Any] = lambda: None,
) -> None:
    """Run every step that is not done, those of a run in order, `jobs` runs at a time.

    A failed step ends its run and no other; its record says why. On Ctrl-C, SIGTERM and SIGUSR1 the steps at work
    get the signal, save and end; KeyboardInterrupt or Preempted is raised.

    Args:
        devices: CUDA devices, one per job.
        after_run: called when a run has ended.
    """
    waiting = deque((run, steps) for run in runs if (steps := folder.remaining(run)))
    total, left = sum(len(run.steps) for run in runs), sum(len(steps) for _, steps in waiting)
    active: dict[int, _Job] = {}
    bar = tqdm(total=total, initial=total - left, desc="sweep", unit="step", disable=not show_progress)
    with bar, _stop_signals() as received:
        try:
            while waiting or active:
                # 1. fill free slots
                for slot in range(jobs):
                    if slot not in active and waiting:
                        run, steps = waiting.popleft()
                        active[slot] = _start(run, steps, folder, devices[slot : slot + 1])
                bar.set_postfix_str(", ".join(f"{job.run.name} {job.step.name}" for job in active.values()))
                # 2. wait for a step to end
                ended = [slot for slot, job in active.items() if job.process.poll() is not None]
                if not ended:
                    time.sleep(POLL)
                # 3. record it and start the next step of its run
                for slot in ended:
                    job = active.pop(slot)
                    is_done = _finish(job, folder)
                    bar.update(1 if is_done else 1 + len(job.later))
                    with bar.external_write_mode(file=sys.stderr):
                        _log_end(job, folder)
                    if is_done and job.later:
                        active[slot] = _start(job.run, job.later, folder, devices[slot : slot + 1])
                    else:
                        after_run()
        except BaseException:
            _stop(active.values(), received[0] if received else signal.SIGTERM)
            raise


def _start(run: Run, steps: Sequence[Step], folder: SweepFolder, device: Sequence[str]) -> _Job:
    step, later = steps[0], list(steps[1:])
    # 1. record the attempt
    folder.refuse_mixing(run, step)  # annotations may change during the days of a sweep
    attempts = folder.record(run.name, step.name).attempts + 1
    record = StepRecord(WAITING, attempts, settings=step.settings, annotations=annotation_hashes(step))
    folder.write_record(run.name, step.name, record)
    # 2. open its output
    path = folder.output_path(run.name, step.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    output = path.open("ab")
    output.write(f"$ {shlex.join(step.command)}\n".encode())
    output.flush()
    # 3. start it
    paths = [str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    if device:
        environment["CUDA_VISIBLE_DEVICES"] = device[0]
    process = subprocess.Popen(
        [sys.executable, *step.command[1:]],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env=environment,
        start_new_session=True,  # Ctrl-C reaches the sweep alone, which lets the step save
        preexec_fn=signal_on_parent_exit(signal.SIGTERM),  # upon which training saves, if the sweep is killed
    )
    return _Job(run, step, later, record, process, output, time.monotonic())


def _finish(job: _Job, folder: SweepFolder) -> bool:
    """Record how a step ended and return whether it is done; Stopped if a signal to the step made it save and end."""
    job.output.close()
    status, seconds = job.process.returncode, round(time.monotonic() - job.started, 2)
    if status == Preempted.EXIT_STATUS:
        raise Stopped(f"{job.run.name} was stopped by a signal and has saved")
    error = None if status == 0 else _error_of(job, folder, status)
    job.record = replace(job.record, status=DONE if error is None else FAILED, seconds=seconds, error=error)
    folder.write_record(job.run.name, job.step.name, job.record)
    return error is None


def _error_of(job: _Job, folder: SweepFolder, status: int) -> str:
    """Return the last `error:` line of a failed step's output, or else its last line."""
    text = folder.output_path(job.run.name, job.step.name).read_text(encoding="utf-8", errors="replace")
    last_attempt = text.rsplit("\n$ ", 1)[-1].replace("\r", "\n").splitlines()[1:]
    lines = [line.strip() for line in last_attempt if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
    return errors[-1] if errors else ": ".join([how, *lines[-1:]])


def _log_end(job: _Job, folder: SweepFolder) -> None:
    name = f"{job.run.name}: {job.step.name}"
    if job.record.status == DONE:
        log.info("%s done in %s", name, format_seconds(job.record.seconds or 0.0))
    else:
        log.error("%s failed: %s (see %s)", name, job.record.error, folder.output_path(job.run.name, job.step.name))


def _stop(jobs: Any, number: int) -> None:
    """Let the steps at work save and end; they are resumed by the next sweep."""
    for job in jobs:
        if job.process.poll() is None:
            job.process.send_signal(number)
    for job in jobs:
        job.process.wait()
        job.output.close()


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Turn SIGTERM and SIGUSR1 into Preempted; yield the list that gets the number of the signal."""
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        if not received:
            received.append(number)
            raise Stopped(f"stopped by {signal.Signals(number).name}")

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    previous = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield received
    except Stopped as stop:
        raise Preempted(f"{stop}; run the same command to resume") from None
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)

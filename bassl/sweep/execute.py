"""Runs the steps of a sweep, one process each and several runs at once if asked for. What fails is noted, the
rest goes on."""

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
from bassl.sweep.table import shown_seconds
from bassl.training.processes import signal_on_parent_exit

log = logging.getLogger(__name__)
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)
POLL = 0.1  # seconds between two looks at the processes


@dataclass
class _Active:
    """A run at work: its step, the steps after it, and the process."""

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
    lock: int,
    *,
    jobs: int = 1,
    devices: Sequence[str] = (),
    show_progress: bool = False,
    after_run: Callable[[], Any] = lambda: None,
) -> None:
    """Do every step that is not done, each run's in order and `jobs` runs at a time.

    A step that fails ends its run and no other; `folder` knows which did, and why. devices: CUDA devices to
    share the runs out over. after_run is called when a run has come to its end. On Ctrl-C, SIGTERM and
    SIGUSR1 the steps at work are told, save themselves and end, and KeyboardInterrupt or Preempted goes on.
    """
    waiting = deque((run, steps) for run in runs if (steps := folder.remaining(run)))
    total, left = sum(len(run.steps) for run in runs), sum(len(steps) for _, steps in waiting)
    active: dict[int, _Active] = {}
    bar = tqdm(total=total, initial=total - left, desc="sweep", unit="step", disable=not show_progress)
    with bar, _signals() as received:
        try:
            while waiting or active:
                for slot in range(jobs):
                    if slot not in active and waiting:
                        run, steps = waiting.popleft()
                        active[slot] = _start(run, steps, folder, lock, devices[slot : slot + 1])
                        bar.set_postfix_str(_at_work(active.values()))
                ended = [slot for slot, one in active.items() if one.process.poll() is not None]
                if not ended:
                    time.sleep(POLL)
                for slot in ended:
                    one = active.pop(slot)
                    finished = _finish(one, folder)
                    bar.update(1 if finished else 1 + len(one.later))
                    _tell(one, folder, bar, finished)
                    if finished and one.later:
                        active[slot] = _start(one.run, one.later, folder, lock, devices[slot : slot + 1])
                    else:
                        after_run()
                    bar.set_postfix_str(_at_work(active.values()))
        except BaseException:
            _stop(active, folder, received[0] if received else signal.SIGTERM)
            raise


def command(step: Step) -> list[str]:
    """The step as one would type it."""
    return ["python3", "-m", step.module, *step.arguments]


def _start(run: Run, steps: Sequence[Step], folder: SweepFolder, lock: int, device: Sequence[str]) -> _Active:
    step, later = steps[0], list(steps[1:])
    folder.refuse_mixing(run, step)  # a sweep takes days, in which its annotations may change
    record = StepRecord(
        WAITING,
        folder.record(run, step).attempts + 1,
        settings=step.settings,
        annotations=annotation_hashes(step),
    )
    folder.note(run, step, record)
    path = folder.output(run, step)
    path.parent.mkdir(parents=True, exist_ok=True)
    output = path.open("ab")
    output.write(f"$ {shlex.join(command(step))}\n".encode())
    output.flush()
    paths = [str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    if device:
        environment["CUDA_VISIBLE_DEVICES"] = device[0]
    process = subprocess.Popen(
        [sys.executable, "-m", step.module, *step.arguments],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        env=environment,
        pass_fds=(lock,),
        start_new_session=True,  # Ctrl-C reaches the sweep alone, which lets the step save itself
        preexec_fn=signal_on_parent_exit(signal.SIGTERM),  # upon which training saves itself
    )
    return _Active(run, step, later, record, process, output, time.monotonic())


def _finish(one: _Active, folder: SweepFolder) -> bool:
    """Write down how a step ended; whether it is done. Raises Preempted where it was stopped by a signal and
    saved."""
    one.output.close()
    status, seconds = one.process.returncode, time.monotonic() - one.started
    if status == Preempted.EXIT_STATUS:
        raise Stopped(f"{one.run.name} was stopped by a signal and has saved itself")
    if status == 0:
        folder.note(one.run, one.step, replace(one.record, status=DONE, seconds=round(seconds, 2)))
        return True
    error = _last_words(folder, one, status)
    folder.note(one.run, one.step, replace(one.record, status=FAILED, seconds=round(seconds, 2), error=error))
    return False


def _last_words(folder: SweepFolder, one: _Active, status: int) -> str:
    """What a step that failed said in the end: its `error:` line, else its last one."""
    text = folder.output(one.run, one.step).read_text(encoding="utf-8", errors="replace")
    said = text.rsplit("\n$ ", 1)[-1].replace("\r", "\n").splitlines()[1:]
    lines = [line.strip() for line in said if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    how = f"killed by {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"
    return errors[-1] if errors else f"{how}: {lines[-1]}" if lines else how


def _tell(one: _Active, folder: SweepFolder, bar: Any, finished: bool) -> None:
    record = folder.record(one.run, one.step)
    if finished:
        line = f"{one.run.name}: {one.step.name} done in {shown_seconds(record.seconds or 0.0)}"
    else:
        line = f"{one.run.name}: {one.step.name} failed: {record.error} (see {folder.output(one.run, one.step)})"
    with bar.external_write_mode(file=sys.stderr):
        log.log(logging.INFO if finished else logging.ERROR, line)


def _at_work(active: Any) -> str:
    return ", ".join(f"{one.run.name} {one.step.name}" for one in active)


def _stop(active: dict[int, _Active], folder: SweepFolder, number: int) -> None:
    """Let the steps at work save themselves and end; what they have done stays, and is gone on from."""
    for one in active.values():
        if one.process.poll() is None:
            one.process.send_signal(number)
    for one in active.values():
        one.process.wait()
        one.output.close()


@contextmanager
def _signals() -> Iterator[list[int]]:
    """Turn SIGTERM and SIGUSR1 into Stopped; the list tells which it was."""
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        if not received:
            received.append(number)
            raise Stopped(f"stopped by {signal.Signals(number).name}")

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield received
    except Stopped as stop:
        raise Preempted(f"{stop}; the same command goes on from here") from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

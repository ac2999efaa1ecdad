"""A soak: tiny runs are killed at random moments and started again until they are done; then nothing may be missing.

    python3 -m tests.soak --kills 300 [--jobs pretrain finetune extract prepare] [--seed 0] [--folder DIR]

Every run is forked from this process, which has imported everything, so that a start costs milliseconds. It prints how
often, where and by what each job was killed, and ends with status 1 and what differs where a result is not that of a
run that was left alone. DIR needs a gigabyte and is best in memory (/dev/shm): each step is written to disk.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from bassl.errors import Preempted
from tests.soak_jobs import JOBS, PHASES, START, Job, phase, prepared, trace

HANGS_AFTER = 180.0  # seconds


@dataclass
class Tally:
    """What was done to a job."""

    kills: Counter[str] = field(default_factory=Counter)
    places: Counter[str] = field(default_factory=Counter)
    runs: int = 0
    half_written: int = 0
    saved: int = 0
    different: list[str] = field(default_factory=list)


class Attempt:
    """One process of a run, forked."""

    def __init__(self, main: Callable[[list[str]], int], argv: list[str], log: Path) -> None:
        phase[0] = START
        self.log, self.started = log, time.monotonic()
        self.status: int | None = None
        self.pid = os.fork()
        if self.pid == 0:
            os._exit(_live(main, argv, log))

    def has_ended(self) -> bool:
        """Whether it is over; then `status` says how, as `subprocess` does."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self.status = os.waitstatus_to_exitcode(status) if pid else None
        return self.status is not None

    def wait(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Wait for its end, at most so long or until something else is so; whether it has ended."""
        deadline = time.monotonic() + seconds
        while not self.has_ended() and time.monotonic() < deadline and not until():
            time.sleep(0.002)
        return self.has_ended()

    def finish(self) -> int:
        """Its status, once it has ended by itself."""
        if not self.wait(HANGS_AFTER):
            os.kill(self.pid, signal.SIGKILL)
            raise SystemExit(f"hangs: {self.log}\n{self.log.read_text()[-3000:]}")
        assert self.status is not None
        return self.status

    def kill(
        self, number: signal.Signals, rng: random.Random, place: Callable[[], str], whole: float, work: float
    ) -> str | None:
        """Send a signal at a random moment, mostly one at work; where it fell, None where it came too late."""
        if rng.random() < 0.7:
            self.wait(HANGS_AFTER, until=lambda: place() != PHASES[START])
            over = self.wait(rng.uniform(0, 0.8 * work))
        else:
            over = self.wait(rng.uniform(0, whole))
        if over:
            return None
        os.kill(self.pid, number)
        where = place()
        self.finish()
        return where


def _live(main: Callable[[list[str]], int], argv: list[str], log: Path) -> int:
    try:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for stream in (1, 2):
            os.dup2(output, stream)
        status = main(argv)
        sys.stdout.flush()
        sys.stderr.flush()
        return status
    except BaseException:
        os.write(2, traceback.format_exc().encode())
        return 70


def left_alone(job: Job, data: Path, out: Path) -> tuple[dict[str, Any], float, float]:
    """The results of a run that nobody disturbs, its seconds, and those after its start."""
    attempt = Attempt(job.main, job.arguments(data, out), out.with_suffix(".log"))
    attempt.wait(HANGS_AFTER, until=lambda: job.place(out) != PHASES[START])
    begun = time.monotonic()
    check(attempt, {0})
    return job.results(out), time.monotonic() - attempt.started, time.monotonic() - begun


def check(attempt: Attempt, allowed: set[int]) -> int:
    """The attempt's status, if it is an allowed one."""
    status = attempt.finish()
    if status not in allowed:
        raise SystemExit(f"status {status}: {attempt.log}\n{attempt.log.read_text()[-3000:]}")
    return status


class Soak:
    """Runs of a job that are killed, and the results of one that was left alone."""

    def __init__(self, job: Job, kills: int, folder: Path) -> None:
        self.job, self.kills, self.folder, self.tally = job, kills, folder, Tally()
        self.data = job.data(folder)
        alone = prepared(job, folder / f"{job.name}-alone")
        self.expected, self.whole, self.work = left_alone(job, self.data, alone)
        say(f"{job.name}: {self.whole:.1f} s left alone, of these {self.work:.1f} s at work")

    @property
    def is_over(self) -> bool:
        """Whether there were as many kills as were asked for."""
        return self.tally.kills.total() >= self.kills

    def run(self, rng: random.Random) -> None:
        """Kill a run until it is done, and compare what it leaves."""
        job, tally = self.job, self.tally
        tally.runs += 1
        out = prepared(job, self.folder / f"{job.name}-{tally.runs}")
        one_run(job, self.kills, rng, self.data, out, tally, self.whole, self.work)
        found, wanted = job.results(out), self.expected
        different = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
        tally.different += [f"{job.name}, run {tally.runs}: {name}" for name in different]
        say(f"{job.name}: {tally.kills.total()} kills, {tally.runs} runs, {len(tally.different)} differences")
        if not different:
            job.remove(out)


def one_run(
    job: Job, kills: int, rng: random.Random, data: Path, out: Path, tally: Tally, whole: float, work: float
) -> None:
    """Start a run again and again until it is done, and once more after that."""
    log, first = out.with_suffix(".log"), True
    while True:
        argv = job.arguments(data, out) + ([] if first else job.resumed) + rng.choice(job.variants)
        attempt, first = Attempt(job.main, argv, log), False
        if tally.kills.total() < kills:
            number = rng.choices([signal.SIGKILL, signal.SIGTERM], [4, 1])[0]
            place = attempt.kill(number, rng, lambda: job.place(out), whole, work)
            if place is not None and check(attempt, {0, -number, Preempted.EXIT_STATUS}) != 0:
                tally.kills[number.name] += 1
                tally.places[place] += 1
                tally.half_written += job.has_half_written(out)
                tally.saved += attempt.status == Preempted.EXIT_STATUS
                continue
        check(attempt, {0})
        if job.resumed:
            check(Attempt(job.main, job.arguments(data, out) + job.resumed, log), {0})
        return


def table(tallies: dict[str, Tally]) -> str:
    """What was done, as Markdown."""
    lines = ["| job | kills | runs | where they fell | left half-written | different at the end |", "|---" * 6 + "|"]
    for name, tally in tallies.items():
        kills = ", ".join(f"{count} {kind}" for kind, count in sorted(tally.kills.items()))
        kills += f" ({tally.saved} saved and left with 75)" if tally.saved else ""
        places = ", ".join(f"{place} {count}" for place, count in tally.places.most_common())
        different = len(tally.different) or "nothing"
        lines.append(f"| {name} | {kills} | {tally.runs} | {places} | {tally.half_written} | {different} |")
    return "\n".join(lines)


def say(text: str) -> None:
    """Tell how far it is."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=300, help="in all; default: %(default)s")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no run after these")
    parser.add_argument("--jobs", nargs="+", choices=sorted(JOBS), default=list(JOBS))
    parser.add_argument("--seed", type=int, default=0, help="of the moments; default: %(default)s")
    parser.add_argument("--folder", type=Path, help="for the runs; default: a temporary one, which is removed")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    trace()
    rng, started = random.Random(arguments.seed), time.monotonic()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        kills = -(-arguments.kills // len(arguments.jobs))
        soaks = [Soak(JOBS[name], kills, Path(folder)) for name in arguments.jobs]
        while not all(one.is_over for one in soaks) and time.monotonic() - started < 60 * arguments.minutes:
            for one in soaks:
                if not one.is_over:
                    one.run(rng)
    tallies = {one.job.name: one.tally for one in soaks}
    sys.stdout.write(f"{table(tallies)}\n{time.monotonic() - started:.0f} s\n")
    different = [line for tally in tallies.values() for line in tally.different]
    sys.stdout.write("".join(f"different: {line}\n" for line in different))
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())

"""What a benchmark gets and gives: settings, rows of the table, and timing of both sides in turns."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import torch

Value = TypeVar("Value")
CPU = torch.device("cpu")


@dataclass(frozen=True)
class Settings:
    """How to measure. folder: an empty one for files. clock: "wall", or "cpu" for processor seconds of this process.

    On a machine that others use as well, processor seconds with one thread are the steadier measure; they leave data
    workers out, so nothing is given to workers then. `quick` makes everything small: it shows that the benchmarks run,
    and its numbers mean nothing.
    """

    folder: Path
    device: torch.device = CPU
    quick: bool = False
    threads: int = 1
    clock: str = "wall"

    @property
    def rounds(self) -> int:
        """How often each side runs."""
        return self.pick(quick=1, full=5)

    @property
    def num_workers(self) -> int:
        """Data workers of a side that has any."""
        return 0 if self.quick or self.clock == "cpu" else self.threads

    def pick(self, quick: Value, full: Value) -> Value:
        """The size of something."""
        return quick if self.quick else full


@dataclass(frozen=True)
class Row:
    """A line of the table. ours, reference, floor: in `unit`, None where there is none.

    ratio: how often ours goes into the reference, from pairs of neighbouring runs, or what else the goal is about.
    goal: what to reach, in words; reached: whether it was, None where nothing was asked. note: how to read it.
    """

    work: str
    unit: str
    ours: float | None
    reference: float | None = None
    ratio: float | None = None
    goal: str = ""
    reached: bool | None = None
    floor: float | None = None
    note: str = ""


def in_turns(
    sides: Mapping[str, Callable[[], object]], settings: Settings, rounds: int | None = None, warm_up: bool = True
) -> dict[str, list[float]]:
    """Seconds of each side, run A B A B ..., so that whatever slows the machine down slows both."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    if warm_up and not settings.quick:
        for side in sides.values():
            side()
    for _ in range(rounds or settings.rounds):
        for name, side in sides.items():
            seconds[name].append(timed(side, settings))
    return seconds


def timed(work: Callable[[], object], settings: Settings) -> float:
    """Seconds of one call, until the device has finished."""
    clock = time.process_time if settings.clock == "cpu" else time.perf_counter
    _wait(settings.device)
    start = clock()
    work()
    _wait(settings.device)
    return clock() - start


def compared(
    work: str,
    seconds: Mapping[str, list[float]],
    per: int,
    unit: str,
    goal: float | None = None,
    note: str = "",
    scale: float = 1e3,
) -> Row:
    """A row of times "ours", "reference" and, where measured, "floor", each of `per` items; unit is seconds / scale."""
    ratio = statistics.median(theirs / mine for mine, theirs in zip(seconds["ours"], seconds["reference"], strict=True))
    ours, reference = (statistics.median(seconds[name]) * scale / per for name in ("ours", "reference"))
    floor = statistics.median(seconds["floor"]) * scale / per if "floor" in seconds else None
    asked = "" if goal is None else f"{goal:g} x"
    return Row(work, unit, ours, reference, ratio, asked, None if goal is None else ratio >= goal, floor, note)


def machine(settings: Settings) -> dict[str, Any]:
    """Where and when this runs, and how busy the machine is with other work."""
    return {
        "date": datetime.now().astimezone().isoformat(timespec="minutes"),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "gpu": torch.cuda.get_device_name(settings.device) if settings.device.type == "cuda" else None,
        "threads": settings.threads,
        "clock": settings.clock,
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "quick": settings.quick,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def resident() -> int:
    """Bytes of memory that this process occupies now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _processor() -> str:
    details = Path("/proc/cpuinfo")
    if details.is_file():
        lines = details.read_text().splitlines()
        names = {line.split(":")[1].strip() for line in lines if line.startswith("model name")}
        vector = [
            flag
            for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16")
            if any(flag in line.split() for line in lines)
        ]
        return f"{', '.join(names)} ({' '.join(vector)})"
    return platform.processor()

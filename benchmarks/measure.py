"""What a benchmark receives and returns: settings, rows of the table, and the timing of both sides in turns."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import torch

Value = TypeVar("Value")
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Settings:
    """How to measure.

    Attributes:
        folder: Empty folder for files.
        quick: Make everything small. This shows that the benchmarks run; the numbers mean nothing.
    """

    folder: Path
    device: torch.device = torch.device("cpu")
    quick: bool = False
    threads: int = 1

    @property
    def on_gpu(self) -> bool:
        """Whether the models run on a GPU."""
        return self.device.type == "cuda"

    @property
    def num_workers(self) -> int:
        """Data workers of a side that uses any."""
        return 0 if self.quick else self.threads

    @property
    def training_overrides(self) -> list[str]:
        """Configuration of a training run with all its files in the folder."""
        return [
            f"config.DATA_PATH={self.folder / 'data'}",
            f"config.CKPT_PATH={self.folder / 'ckpt'}",
            f"config.LOG_PATH={self.folder / 'logs'}",
            f"config.TRAINER.accelerator={self.device.type}",
            "config.DISTRIBUTED.NUM_PROC_PER_NODE=1",
            "config.TRAINER.progress_bar=false",
            "config.SEED=0",
        ]

    def pick(self, quick: Value, full: Value) -> Value:
        """Return a size for the mode."""
        return quick if self.quick else full


@dataclass(frozen=True)
class Row:
    """A line of the table.

    Attributes:
        ours, reference, floor: In `unit`; None if not measured. The floor is what the hardware would allow.
        ratio: Reference over ours, from pairs of neighbouring runs, or as the note says.
        goal: What to reach, in words.
        reached: Whether it was; None without a goal.
        note: How to read the row.
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
    sides: Mapping[str, Callable[[], object]], settings: Settings, rounds: int = 5, warm_up: bool = True
) -> dict[str, list[float]]:
    """Return the seconds of each side, run A B A B, so that a slower machine slows both. Quick mode runs one round."""
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    if warm_up and not settings.quick:
        for side in sides.values():
            side()
    for _ in range(settings.pick(quick=1, full=rounds)):
        for name, side in sides.items():
            seconds[name].append(timed(side, settings))
    return seconds


def timed(work: Callable[[], object], settings: Settings) -> float:
    """Return the seconds of one call, until the device has finished."""
    _wait(settings.device)
    start = time.perf_counter()
    work()
    _wait(settings.device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def marginal_seconds(run: Callable[[int], object], few: int, many: int) -> float:
    """Return the wall seconds per unit between a short and a long run, so that the start does not count."""
    seconds = []
    for count in (few, many):
        start = time.perf_counter()
        run(count)
        seconds.append(time.perf_counter() - start)
    return (seconds[1] - seconds[0]) / (many - few)


def run_python(*arguments: str, threads: int) -> subprocess.CompletedProcess[str]:
    """Run Python in the repository and keep its output."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread, as a data worker does."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def compared(
    work: str,
    seconds: Mapping[str, list[float]],
    *,
    per: int,
    unit: str,
    scale: float = 1e3,
    goal: float | None = None,
    note: str = "",
) -> Row:
    """Return the row of the sides "ours", "reference" and, if measured, "floor".

    Args:
        per: Items that each measurement covers.
        scale: Units per second.
        goal: Ratio to reach.
    """
    ratio = statistics.median(theirs / ours for ours, theirs in zip(seconds["ours"], seconds["reference"], strict=True))
    medians = {name: statistics.median(values) * scale / per for name, values in seconds.items()}
    return Row(
        work,
        unit,
        medians["ours"],
        reference=medians["reference"],
        ratio=ratio,
        goal="" if goal is None else f"{goal:g} x",
        reached=None if goal is None else ratio >= goal,
        floor=medians.get("floor"),
        note=note,
    )


def machine(settings: Settings) -> dict[str, Any]:
    """Return where and when this runs, and how busy the machine is."""
    return {
        "date": datetime.now().astimezone().isoformat(timespec="minutes"),
        "processor": f"{_processor()}, {os.cpu_count()} cores",
        "gpu": torch.cuda.get_device_name(settings.device) if settings.on_gpu else None,
        "threads": settings.threads,
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
        "quick": settings.quick,
        "python": platform.python_version(),
        "torch": torch.__version__,
    }


def _processor() -> str:
    details = Path("/proc/cpuinfo")
    if not details.is_file():
        return platform.processor()
    lines = details.read_text().splitlines()
    names = {line.split(":")[1].strip() for line in lines if line.startswith("model name")}
    flags = {flag for line in lines if line.startswith("flags") for flag in line.split()}
    vector = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
    return f"{', '.join(sorted(names))} ({' '.join(vector)})"

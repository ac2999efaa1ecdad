"""Several processes on this machine: how fast they exchange gradients, and a run of them."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import multiprocessing

from benchmarks.measure import Settings, timed

ROOT = Path(__file__).parents[1]
ON_A_CPU = 2
"""Processes that are measured where there is no GPU."""


@dataclass(frozen=True)
class Exchange:
    """link: bytes a second that a process exchanges with the others, in a ring; latency: seconds an exchange adds."""

    num_processes: int
    link: float
    latency: float


def num_processes(settings: Settings) -> int:
    """One a GPU; on a CPU two, which share its cores."""
    return torch.cuda.device_count() if settings.device.type == "cuda" else ON_A_CPU


def share_of(settings: Settings) -> Settings:
    """The settings of one of the processes: on a CPU its share of the cores, and time on the wall, as they wait."""
    return replace(settings, threads=max(1, settings.threads // num_processes(settings)), clock="wall")


def exchange(settings: Settings, num_bytes: float) -> Exchange | None:
    """Rate at which so many bytes are summed over processes, by gloo on a CPU and NCCL on GPUs; None for a single GPU."""
    count = num_processes(settings)
    if count < 2:
        return None
    full, nothing = in_processes(_all_reduce, settings, count, int(num_bytes) // 4)[0]
    return exchange_of(count, num_bytes, full, nothing)


def exchange_of(count: int, num_bytes: float, full: float, nothing: float) -> Exchange:
    """From seconds of an all-reduce of that many bytes and of a single number, as `benchmarks.cost` counts them."""
    return Exchange(count, 2 * (count - 1) / count * num_bytes / max(full - nothing, 1e-9), nothing)


def in_processes(function: Callable[..., Any], settings: Settings, count: int, *arguments: Any) -> list[Any]:
    """What `function(settings of the process, *arguments)` gives in processes side by side, as JSON, by rank."""
    folder = settings.folder / f"processes{time.monotonic_ns()}"
    folder.mkdir(parents=True)
    multiprocessing.spawn(_run_rank, (count, share_of(settings), folder, function, arguments), count)
    return [json.loads((folder / f"{rank}.json").read_text(encoding="utf-8")) for rank in range(count)]


def _run_rank(
    rank: int, count: int, settings: Settings, folder: Path, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    torch.set_num_threads(settings.threads)
    on_gpu = settings.device.type == "cuda"
    device = torch.device("cuda", rank) if on_gpu else settings.device
    if on_gpu:
        torch.cuda.set_device(device)
    own = replace(settings, device=device, folder=folder / f"rank{rank}")
    own.folder.mkdir()
    dist.init_process_group(
        "nccl" if on_gpu else "gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=count
    )
    try:
        dist.barrier()
        found = function(own, *arguments)
        (folder / f"{rank}.json").write_text(json.dumps(found), encoding="utf-8")
        dist.barrier()
    finally:
        dist.destroy_process_group()


def _all_reduce(settings: Settings, numbers: int) -> tuple[float, float]:
    """Median seconds of an all-reduce of that many 32-bit numbers, and of one."""
    seconds = []
    for size in (numbers, 1):
        buffer = torch.zeros(size, device=settings.device)
        rounds = [timed(lambda: dist.all_reduce(buffer), settings) for _ in range(settings.pick(quick=3, full=12))]  # noqa: B023
        seconds.append(statistics.median(rounds[2:]))
    return seconds[0], seconds[1]


def run_seconds(overrides: Sequence[str], settings: Settings, num_steps: int) -> float:
    """Wall seconds of the pre-training command in several processes, of so many steps."""
    name = f"run{time.monotonic_ns()}"
    more = [
        f"config.DISTRIBUTED.NUM_PROC_PER_NODE={num_processes(settings)}",
        "config.MODEL.use_sync_bn=false",  # its exchanges are none that the cost model counts
        f"config.TRAINER.max_steps={num_steps}",
        "config.TRAINER.max_epochs=1000000",
        f"config.EXPR_NAME={name}",
    ]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(share_of(settings).threads)}
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "bassl.pretrain.main", *overrides, *more],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return time.perf_counter() - start

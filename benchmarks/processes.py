"""Several processes on this machine: how fast they exchange gradients, and a run of them."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import multiprocessing

from benchmarks.measure import Settings, run_python, timed

CPU_PROCESSES = 2
"""Processes that are measured where there is no GPU."""


@dataclass(frozen=True)
class Exchange:
    """Bytes per second that a process exchanges with the others in a ring, and seconds that an exchange adds."""

    num_processes: int
    link: float
    latency: float


def num_processes(settings: Settings) -> int:
    """Return one process per GPU, or two on a CPU, which share its cores."""
    return torch.cuda.device_count() if settings.on_gpu else CPU_PROCESSES


def share_of(settings: Settings) -> Settings:
    """Return the settings of one process, with its share of the cores."""
    return replace(settings, threads=max(1, settings.threads // num_processes(settings)))


def exchange(settings: Settings, num_bytes: float) -> Exchange | None:
    """Time the sum of so many bytes over processes, by gloo on a CPU and NCCL on GPUs; None for a single GPU."""
    count = num_processes(settings)
    if count < 2:
        return None
    full, empty = in_processes(_all_reduce_seconds, settings, int(num_bytes) // 4)[0]
    return exchange_of(count, num_bytes, full, empty)


def exchange_of(count: int, num_bytes: float, full: float, empty: float) -> Exchange:
    """Return what `benchmarks.cost` reads, from the seconds of an all-reduce of `num_bytes` and of a single number."""
    return Exchange(count, 2 * (count - 1) / count * num_bytes / max(full - empty, 1e-9), empty)


def in_processes(function: Callable[..., Any], settings: Settings, *arguments: Any) -> list[Any]:
    """Call `function(settings, *arguments)` in processes side by side; return the results, as JSON, by rank."""
    count = num_processes(settings)
    folder = settings.folder / f"processes{time.monotonic_ns()}"
    folder.mkdir(parents=True)
    multiprocessing.spawn(_run_rank, (count, share_of(settings), folder, function, arguments), count)
    return [json.loads((folder / f"{rank}.json").read_text(encoding="utf-8")) for rank in range(count)]


def _run_rank(
    rank: int, count: int, settings: Settings, folder: Path, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    torch.set_num_threads(settings.threads)
    device = torch.device("cuda", rank) if settings.on_gpu else settings.device
    if settings.on_gpu:
        torch.cuda.set_device(device)
    own = replace(settings, device=device, folder=folder / f"rank{rank}")
    own.folder.mkdir()
    backend, method = "nccl" if settings.on_gpu else "gloo", f"file://{folder / 'meeting'}"
    dist.init_process_group(backend, init_method=method, rank=rank, world_size=count)
    try:
        dist.barrier()
        result = function(own, *arguments)
        (folder / f"{rank}.json").write_text(json.dumps(result), encoding="utf-8")
        dist.barrier()
    finally:
        dist.destroy_process_group()


def _all_reduce_seconds(settings: Settings, count: int) -> list[float]:
    """Return the median seconds of an all-reduce of `count` 32-bit numbers, and of one."""
    seconds = []
    for size in (count, 1):
        buffer = torch.zeros(size, device=settings.device)
        rounds = [timed(lambda: dist.all_reduce(buffer), settings) for _ in range(settings.pick(quick=3, full=12))]  # noqa: B023
        seconds.append(statistics.median(rounds[2:]))
    return seconds


def pretrain(overrides: Sequence[str], settings: Settings) -> None:
    """Run the pre-training command in several processes."""
    more = [
        f"config.DISTRIBUTED.NUM_PROC_PER_NODE={num_processes(settings)}",
        "config.MODEL.use_sync_bn=false",  # the cost model does not count its exchanges
    ]
    done = run_python("-m", "bassl.pretrain.main", *overrides, *more, threads=share_of(settings).threads)
    assert done.returncode == 0, done.stderr

"""Run a function in several gloo processes on this machine, as the ranks of a run."""

from __future__ import annotations

import os
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import multiprocessing
from torch.multiprocessing import ProcessRaisedException

TIMEOUT = 120.0
PRELOADED = ["torch", "torchvision", "pytorch_lightning", "bassl.pretrain.module", "bassl.finetune.module"]
"""Imported once in the server that the processes are forked from, and not by each of them."""


def run_in_processes(
    function: Callable[..., Any], num_processes: int, *arguments: Any, timeout: float = TIMEOUT
) -> list[Any]:
    """What `function(*arguments)` returns in each of the processes, by rank, on CPU with one thread each.

    `function` must be importable and its result something that `torch.save` writes. The processes meet at a
    port that the system picks and this process holds, so none can be lost between choosing and using it.

    Raises:
        RuntimeError: a process raised; the message is the traceback of the first that did, and not of those
            that lost their connection to it.
        TimeoutError: not done after `timeout` seconds; the processes are killed.
    """
    multiprocessing.set_forkserver_preload(PRELOADED)
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    with tempfile.TemporaryDirectory() as folder:
        context = multiprocessing.start_processes(
            _run_rank,
            args=(num_processes, store.port, folder, timeout, function, arguments),
            nprocs=num_processes,
            join=False,
            start_method="forkserver",
        )
        deadline = time.monotonic() + timeout
        try:
            # Each join returns once some process has ended, True once all have.
            while not context.join(timeout=max(0.0, deadline - time.monotonic())):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{num_processes} processes not done after {timeout} s")
        except ProcessRaisedException as error:
            raise RuntimeError((Path(folder) / "error").read_text()) from error
        finally:
            for process in context.processes:
                process.kill()
                process.join()
        files = [Path(folder) / f"{rank}.pt" for rank in range(num_processes)]
        return [torch.load(file, weights_only=False) for file in files]


def _run_rank(
    rank: int,
    num_processes: int,
    port: int,
    folder: str,
    timeout: float,
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> None:
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(num_processes))
    try:
        store = dist.TCPStore("127.0.0.1", port, is_master=False, timeout=timedelta(seconds=timeout))
        dist.init_process_group("gloo", store=store, rank=rank, world_size=num_processes)
        torch.save(function(*arguments), Path(folder) / f"{rank}.pt")
        dist.barrier()  # nobody leaves while another still needs it
    except Exception:
        with suppress(FileExistsError), (Path(folder) / "error").open("x") as first:
            first.write(f"rank {rank}: {traceback.format_exc()}")
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()

"""How much memory there is, and how many data workers it holds the batches of."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

USABLE = 0.75  # share of the memory that batches may take: key-frames are read through the page cache
LIMITS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def machine_memory() -> int:
    """Bytes of memory of this machine, or of the container that the process runs in."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [path.read_text().strip() for path in LIMITS if path.is_file()]
    return min([memory, *(int(limit) for limit in limits if limit.isdigit())])


def shared_memory() -> int | None:
    """Free bytes of /dev/shm, through which data workers hand batches over; None where there is none to fill."""
    return shutil.disk_usage("/dev/shm").free if Path("/dev/shm").is_dir() else None


def workers_that_fit(asked: int, batch_bytes: int, num_processes: int) -> int:
    """Data workers, at most `asked`, whose batches fit in memory, a batch each beside the one in use; -1: not even it.

    num_processes: those that share the machine.
    """
    in_memory = int(machine_memory() * USABLE) // num_processes // batch_bytes - 1
    shared = shared_memory()
    handed_over = asked if shared is None else shared // num_processes // batch_bytes
    return min(asked, in_memory, max(0, handed_over))

"""How fast files are read from the disk they lie on: `python3 -m benchmarks.storage FOLDER`, for `benchmarks.cost --storage`."""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

ROUNDS = 3
FROM_DISK = 0.9
"""Part of the bytes that has to come from the disk for the rate to be the disk's."""


@dataclass(frozen=True)
class Reading:
    """rate: bytes a second of all readers together. from_disk: whether they came from the disk, None where nobody says."""

    rate: float
    from_disk: bool | None

    @property
    def note(self) -> str:
        """What the rate is one of, in words."""
        return {
            True: "page cache dropped before",
            False: "from memory, since the page cache could not be dropped: the disk is slower",
            None: "page cache dropped before, if the system does so: nothing here says whether it did",
        }[self.from_disk]


def read_rate(files: Sequence[Path], num_readers: int, rounds: int = ROUNDS) -> Reading:
    """Read whole files, as data workers do, from a disk whose cache of them is dropped before each round."""
    rates, shares = [], []
    with ThreadPoolExecutor(num_readers) as readers:
        for _ in range(rounds):
            for file in files:
                drop_from_cache(file)
            before, start = bytes_from_disk(), time.perf_counter()
            num_bytes = sum(readers.map(lambda file: len(file.read_bytes()), files))
            rates.append(num_bytes / (time.perf_counter() - start))
            after = bytes_from_disk()
            shares.append(None if before is None or after is None else (after - before) / num_bytes)
    known = [share for share in shares if share is not None]
    return Reading(statistics.median(rates), min(known) >= FROM_DISK if known else None)


def drop_from_cache(file: Path) -> None:
    """Ask the system to forget what it holds of a file in memory; does nothing where it cannot be asked."""
    if not hasattr(os, "posix_fadvise"):
        return
    handle = os.open(file, os.O_RDONLY)
    try:
        os.fsync(handle)  # what is not on the disk yet would stay
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(handle)


def bytes_from_disk() -> int | None:
    """Bytes that the disk has given this process so far; None where the system does not count them."""
    counts = Path("/proc/self/io")
    if not counts.is_file():
        return None
    return next(int(line.split()[1]) for line in counts.read_text().splitlines() if line.startswith("read_bytes:"))


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    arguments = _parser().parse_args(argv)
    files = list(islice((file for file in arguments.folder.rglob("*") if file.is_file()), arguments.most_files))
    if not files:
        sys.stderr.write(f"error: no files in {arguments.folder}; give the folder of the key-frames\n")
        return 2
    found = read_rate(files, arguments.readers)
    sys.stdout.write(f"{found.rate / 1e6:.0f} MB/s, {len(files)} files; {found.note}\n")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks.storage", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of key-frames, read with all that is below it")
    parser.add_argument("--most-files", type=int, default=20_000, help="read no more than that many, each three times")
    parser.add_argument("--readers", type=int, default=os.cpu_count(), help="files that are read at a time")
    return parser


if __name__ == "__main__":
    sys.exit(main())

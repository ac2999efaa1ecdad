"""Reading rate of a disk, for `benchmarks.cost --storage`: `python3 -m benchmarks.storage FOLDER`."""

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

FROM_DISK = 0.9
"""Fraction of the bytes that must come from the disk for the rate to be the disk's."""
NOTES = {
    True: "page cache dropped before",
    False: "from memory, since the page cache could not be dropped: the disk is slower",
    None: "page cache dropped before, if the system does so: nothing here says whether it did",
}


@dataclass(frozen=True)
class Reading:
    """Bytes per second of all readers together, and whether they came from the disk; None: unknown."""

    rate: float
    from_disk: bool | None

    @property
    def note(self) -> str:
        """How to read the rate."""
        return NOTES[self.from_disk]


def read_rate(files: Sequence[Path], num_readers: int, rounds: int = 3) -> Reading:
    """Read whole files as data workers do, from a disk whose page cache is dropped before each round."""
    rates, fractions = [], []
    with ThreadPoolExecutor(num_readers) as readers:
        for _ in range(rounds):
            for file in files:
                drop_from_cache(file)
            before, start = bytes_from_disk(), time.perf_counter()
            num_bytes = sum(readers.map(lambda file: len(file.read_bytes()), files))
            rates.append(num_bytes / (time.perf_counter() - start))
            after = bytes_from_disk()
            if before is not None and after is not None:
                fractions.append((after - before) / num_bytes)
    return Reading(statistics.median(rates), min(fractions) >= FROM_DISK if fractions else None)


def drop_from_cache(file: Path) -> None:
    """Ask the system to drop a file from its page cache; do nothing where it cannot be asked."""
    if not hasattr(os, "posix_fadvise"):
        return
    with file.open("rb") as opened:
        os.fsync(opened.fileno())  # unwritten pages would stay
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def bytes_from_disk() -> int | None:
    """Return the bytes that this process has read from disks so far; None where the system does not count them."""
    counts = Path("/proc/self/io")
    if not counts.is_file():
        return None
    return next(int(line.split()[1]) for line in counts.read_text().splitlines() if line.startswith("read_bytes:"))


def main(argv: Sequence[str] | None = None) -> int:
    """Print the rate of a folder's disk; return the exit status."""
    parser = argparse.ArgumentParser(prog="python3 -m benchmarks.storage", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of key-frames, read with all that is below it")
    parser.add_argument("--most-files", type=int, default=20_000, help="read at most so many, three times each")
    parser.add_argument("--readers", type=int, default=os.cpu_count(), help="files that are read at a time")
    arguments = parser.parse_args(argv)
    files = list(islice((file for file in arguments.folder.rglob("*") if file.is_file()), arguments.most_files))
    if not files:
        sys.stderr.write(f"error: no files in {arguments.folder}; give the folder of the key-frames\n")
        return 2
    reading = read_rate(files, arguments.readers)
    sys.stdout.write(f"{reading.rate / 1e6:.0f} MB/s, {len(files)} files; {reading.note}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

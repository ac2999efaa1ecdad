"""Video files on disk: their suffixes, and hashes that identify them."""

from __future__ import annotations

import hashlib
from pathlib import Path

SUFFIXES = frozenset(
    (
        *(".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".mxf"),
        *(".ogv", ".ts", ".vob", ".webm", ".wmv"),
    )
)
NUM_SAMPLES, SAMPLE_BYTES = 16, 65536


def fingerprint(path: Path) -> str:
    """Hash a file's size, modification time, and 16 samples of its bytes including the first and last."""
    status = path.stat()
    return _sampled(path, status.st_size, f"{status.st_size} {status.st_mtime_ns}")


def content_of(path: Path) -> str:
    """Hash the samples alone; a copy has the same hash."""
    return _sampled(path, path.stat().st_size)


def _sampled(path: Path, size: int, about: str = "") -> str:
    digest = hashlib.sha256(about.encode())
    with path.open("rb") as file:
        for sample in range(NUM_SAMPLES):
            file.seek(max(0, size - SAMPLE_BYTES) * sample // (NUM_SAMPLES - 1))
            digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()

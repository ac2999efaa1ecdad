"""Video files on disk: by which endings a folder's are told, and a hash by which one is known again."""

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
    """Hash of a file's size, time of change and sixteen samples of its bytes, first and last among them."""
    status = path.stat()
    digest = hashlib.sha256(f"{status.st_size} {status.st_mtime_ns}".encode())
    with path.open("rb") as file:
        for sample in range(NUM_SAMPLES):
            file.seek(max(0, status.st_size - SAMPLE_BYTES) * sample // (NUM_SAMPLES - 1))
            digest.update(file.read(SAMPLE_BYTES))
    return digest.hexdigest()

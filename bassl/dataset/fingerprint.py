"""Which data a run read: hashes that tell another release, a changed label or another set of key-frames."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bassl.dataset.features import FeatureStore
from bassl.dataset.keyframes import Keyframes
from bassl.files import sha256_of


def fingerprint(
    annotations: Path, splits: Sequence[str], keyframes: Keyframes | None = None, store: FeatureStore | None = None
) -> dict[str, Any]:
    """What goes into `environment.json` about the data of a run.

    annotations: folder; of `anno.<split>.ndjson` in it the SHA-256 of the whole file. keyframes: SHA-256 over name and
    bytes of the first key-frame of each film, as hashing millions of files would take hours. store: SHA-256 of its
    index, which names the model that made it.
    """
    found: dict[str, Any] = {"annotations": str(annotations)}
    found["sha256"] = {
        name: sha256_of(annotations / name) for name in sorted({f"anno.{split}.ndjson" for split in splits})
    }
    if keyframes is not None:
        found["keyframes"] = {"folder": str(keyframes.root), "first_of_films_sha256": first_keyframes(keyframes)}
    if store is not None:
        index = store.folder / "index.json"
        found["features"] = {"folder": str(store.folder), "sha256": sha256_of(index) if index.is_file() else None}
    return found


def first_keyframes(keyframes: Keyframes) -> str:
    """SHA-256 over names and bytes of every film's first key-frame."""
    digest = hashlib.sha256()
    for film, name in enumerate(keyframes.annotations.films):
        path = keyframes.path(film, 0, 0)
        digest.update(f"{name}/{path.name}\n".encode())
        digest.update(bytes.fromhex(sha256_of(path)) if path.is_file() else b"missing")
    return digest.hexdigest()

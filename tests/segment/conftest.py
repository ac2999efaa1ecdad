from __future__ import annotations

from pathlib import Path

import pytest

from tests.segment.models import SMALL, save_finetuned
from tests.video.clips import write_clip


@pytest.fixture(scope="session")
def film(tmp_path_factory) -> Path:
    """A film of five shots with sound, at 23.976 frames a second."""
    from fractions import Fraction

    path = tmp_path_factory.mktemp("films") / "a film.mp4"
    return write_clip(path, (30, 40, 25, 35, 30), Fraction(24000, 1001), audio_seconds=6.6)


@pytest.fixture(scope="session")
def model_path(tmp_path_factory) -> Path:
    """A fine-tuned model that knows its threshold."""
    return save_finetuned(tmp_path_factory.mktemp("ckpt") / "tiny" / "last.ckpt", threshold=0.5, transform=SMALL)


@pytest.fixture(autouse=True)
def _no_cache_of_the_user(tmp_path, monkeypatch):
    monkeypatch.setenv("BASSL_CACHE", str(tmp_path / "cache"))

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.segment.models import SMALL, save_finetuned
from tests.video.clips import COLOURS, write_clip


@pytest.fixture(scope="session")
def film(tmp_path_factory) -> Path:
    """A film of five shots with sound, at 23.976 frames per second."""
    from fractions import Fraction

    path = tmp_path_factory.mktemp("films") / "a film.mp4"
    return write_clip(path, (30, 40, 25, 35, 30), Fraction(24000, 1001), audio_seconds=6.6)


@pytest.fixture(scope="session")
def model_path(tmp_path_factory) -> Path:
    """A fine-tuned model with a stored threshold."""
    return save_finetuned(tmp_path_factory.mktemp("ckpt") / "tiny" / "last.ckpt", threshold=0.5, transform=SMALL)


@pytest.fixture
def data_folder(tmp_path) -> Path:
    """Key-frames of two films in MovieNet's layout: 12 shots of three colours each, 24 frames per shot."""
    data = tmp_path / "data"
    for film in ("tt01", "tt02"):
        folder = data / "240P_frames" / film
        folder.mkdir(parents=True)
        for shot in range(12):
            image = Image.fromarray(np.full((24, 40, 3), COLOURS[shot // 4], np.uint8))
            for number in range(3):
                image.save(folder / f"shot_{shot:04d}_img_{number}.jpg")
        shots = data / "scene318" / "shot_movie318" / f"{film}.txt"
        shots.parent.mkdir(parents=True, exist_ok=True)
        shots.write_text("".join(f"{24 * n} {24 * n + 23} 0 0 0\n" for n in range(12)))
    return data


@pytest.fixture(autouse=True)
def _own_caches_and_no_network(tmp_path, monkeypatch):
    def no_network(*_arguments, **_named):
        raise OSError("no network")

    monkeypatch.setenv("BASSL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("urllib.request.urlopen", no_network)

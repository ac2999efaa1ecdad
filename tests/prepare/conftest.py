from __future__ import annotations

from pathlib import Path

import pytest

from tests.prepare.clips import make_clip
from tests.prepare.making import LENGTHS


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """A folder of three films, of 3, 4 and 2 shots."""
    for seed, (name, lengths) in enumerate(LENGTHS.items()):
        make_clip(tmp_path / "films" / f"{name}.mp4", lengths, seed=seed)
    return tmp_path / "films"

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.prepare.making import LENGTHS, prepare
from tests.video.clips import write_clip


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`films`, three films of 3, 4 and 2 shots, and `data`, what `bassl prepare films` makes of them."""
    root = tmp_path_factory.mktemp("made")
    (root / "films").mkdir()
    for name, lengths in LENGTHS.items():
        write_clip(root / "films" / f"{name}.mp4", lengths)
    assert prepare(root / "films", "--output", root / "data") == 0
    return root


@pytest.fixture
def films(tmp_path: Path, made_once: Path) -> Path:
    """A copy of the films."""
    return Path(shutil.copytree(made_once / "films", tmp_path / "films"))


@pytest.fixture
def data(tmp_path: Path, made_once: Path) -> Path:
    """A copy of the data set."""
    return Path(shutil.copytree(made_once / "data", tmp_path / "data"))

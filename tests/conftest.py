"""What every test may use: one tiny data set, and reproducible random examples."""

from __future__ import annotations

from pathlib import Path

import hypothesis
import pytest

from tests.movienet import write_movienet

# The same examples each time and no time limit an example: a test passes or fails by what the code does.
hypothesis.settings.register_profile("tests", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("tests")


@pytest.fixture(scope="session")
def tiny_movienet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of three films in MovieNet's layout (`tests.movienet.FILMS`); read-only by convention."""
    return write_movienet(tmp_path_factory.mktemp("data") / "movienet")

"""A data set whose key-frames can be identified by their colour."""

from __future__ import annotations

from pathlib import Path

import pytest

from bassl.dataset.annotation import Annotations, read_annotations
from bassl.dataset.keyframes import Keyframes
from tests.movienet import write_movienet

CODED_FILMS = {"long": 40, "shortest": 24, "tiny": 5}


@pytest.fixture(scope="session")
def coded_movienet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of `CODED_FILMS` in MovieNet's layout, with plain key-frames for `tests.movienet.decoded`."""
    return write_movienet(tmp_path_factory.mktemp("coded") / "movienet", CODED_FILMS, coded=True)


@pytest.fixture
def coded_keyframes(coded_movienet: Path) -> Keyframes:
    """Key-frames of the coded films, with the rows for pre-training: every shot."""
    rows = read_annotations(coded_movienet / "anno" / "anno.pretrain.ndjson")
    return Keyframes(coded_movienet / "240P_frames", rows)


@pytest.fixture
def labelled(coded_movienet: Path) -> Annotations:
    """Labelled rows of all coded films: every shot but each film's last."""
    return read_annotations(coded_movienet / "anno" / "anno.trainvaltest.ndjson")

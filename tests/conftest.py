"""Fixtures of all tests: one tiny data set, one finished run on it, and reproducible random examples."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests import runs
from tests.movienet import write_movienet

# The same examples each time, without a time limit: a test passes or fails by what the code does.
hypothesis.settings.register_profile("tests", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("tests")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run files with slow tests first, so that no core waits for the last long one."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """Restore logging after each test; a command sets it up for the whole process."""
    root = logging.getLogger()
    handlers, levels = root.handlers[:], {logger: logger.level for logger in _loggers()}
    yield
    root.handlers[:] = handlers
    for logger in _loggers():
        logger.setLevel(levels.get(logger, logging.NOTSET))


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse a locked folder soon."""
    monkeypatch.setattr("bassl.files.LOCK_PATIENCE", 0.2)


def _loggers() -> list[logging.Logger]:
    known = logging.getLogger().manager.loggerDict.values()
    return [logging.getLogger(), *(logger for logger in known if isinstance(logger, logging.Logger))]


@pytest.fixture(scope="session")
def tiny_movienet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of three films in MovieNet's layout (`tests.movienet.FILMS`); read-only by convention."""
    return write_movienet(tmp_path_factory.mktemp("data") / "movienet")


@pytest.fixture(scope="session")
def finished(tiny_movienet: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output of pre-training, extraction and fine-tuning under the name devel; read-only by convention."""
    from bassl.finetune import main as finetune
    from bassl.pretrain import extract_shot_repr as extract
    from bassl.pretrain import main as pretrain

    out = tmp_path_factory.mktemp("finished")
    assert pretrain.main([*runs.pretrain_overrides(tiny_movienet, out), *runs.PRETRAINING]) == 0
    assert extract.main([*runs.extract_overrides(tiny_movienet, out), "config.LOAD_FROM=devel"]) == 0
    assert finetune.main([*runs.finetune_overrides(tiny_movienet, out), *runs.FINETUNING]) == 0
    return out


@pytest.fixture
def features_of(finished: Path, tmp_path: Path) -> Path:
    """Writable output folder with the pre-training and the features of the finished run."""
    for part in ("pretrain", "features"):
        shutil.copytree(finished / part, tmp_path / part)
    return tmp_path

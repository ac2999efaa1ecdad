"""What every test may use: one tiny data set, and reproducible random examples."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from tests.movienet import write_movienet

# The same examples each time and no time limit an example: a test passes or fails by what the code does.
hypothesis.settings.register_profile("tests", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("tests")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: where a core has a file at a time, none waits for the last long one."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """A command sets up logging for its whole process; give every test back what it had."""
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

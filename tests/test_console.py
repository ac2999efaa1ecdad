from __future__ import annotations

import io
import logging
import sys

import pytest
from tqdm import tqdm

from bassl.console import StandardError, print_final, setup_logging

log = logging.getLogger("bassl.somewhere")


def test_a_line_goes_where_standard_error_is_now(monkeypatch: pytest.MonkeyPatch) -> None:
    earlier = io.StringIO()
    monkeypatch.setattr(sys, "stderr", earlier)
    setup_logging()
    log.info("first")
    assert earlier.getvalue() == "first\n"
    earlier.close()
    now = io.StringIO()
    monkeypatch.setattr(sys, "stderr", now)
    setup_logging()
    log.info("second")
    assert now.getvalue() == "second\n"


def test_speaking_twice_changes_the_level_only(capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging()
    setup_logging(logging.WARNING)
    log.info("unheard")
    log.warning("heard")
    assert capsys.readouterr().err == "heard\n"
    assert sum(isinstance(handler, StandardError) for handler in logging.getLogger().handlers) == 1


def test_libraries_that_chatter_only_warn(capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging()
    logging.getLogger("tensorboard").info("Directory watcher advancing")
    logging.getLogger("lightning_fabric.utilities.distributed").info("Initializing distributed: GLOBAL_RANK: 0")
    logging.getLogger("pytorch_lightning.utilities").warning("heard")
    assert capsys.readouterr().err == "heard\n"


def test_the_last_sentence_stands_on_a_line_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    with tqdm(total=4, desc="pre-training", file=sys.stdout) as bar:
        bar.update()
        print_final("interrupted")
        assert bar.disable
    printed = capsys.readouterr()
    assert printed.err == "interrupted\n"
    assert "pre-training:  25%" in printed.out
    assert printed.out.endswith("\n")

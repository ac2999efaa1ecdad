"""Messages on standard error, and the exit code of every way that a command can end."""

from __future__ import annotations

import errno
import io
import logging
import signal
import sys
from unittest.mock import patch

import pytest
import pytorch_lightning as pl
from tqdm import tqdm

from bassl.console import StandardError, format_error, pluralize, print_final, printable, run_command, setup_logging
from bassl.errors import InputError, Interrupted, Preempted, RunError

log = logging.getLogger("bassl.somewhere")
AGAIN = "start again"


def ending(error: BaseException) -> int:
    """Return the exit code of a command that raises an error."""

    def work() -> int:
        raise error

    return run_command(work, AGAIN)


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (InputError("no such\nmethod\r\n  at all"), 2, "error: no such method at all"),
        (RunError("loss term ssm is not finite at step 3"), 1, "error: loss term ssm is not finite at step 3"),
        (Preempted("stopped and saved"), 75, "stopped and saved"),
        (Interrupted("interrupted and saved"), 130, "interrupted and saved"),
        (KeyboardInterrupt(), 130, "interrupted"),
    ],
)
def test_an_expected_end_is_one_line_and_its_exit_code(
    error: BaseException, status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_command(lambda: 0) == 0
    assert ending(error) == status
    assert capsys.readouterr() == ("", f"{message}\n")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "a log of the run: No space left on device; "),
        (OSError(errno.EIO, "Input/output error", "/ckpt"), "/ckpt: Input/output error; "),
        (PermissionError(errno.EACCES, "Permission denied", "/l"), "/l: Permission denied; "),
        (RuntimeError("[gloo/transport/tcp/pair.cc:545] Connection reset"), "another process of this run has ended"),
    ],
)
def test_a_fault_of_the_machine_is_one_line_that_ends_with_how_to_resume(
    error: Exception, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ending(error) == 1
    line = capsys.readouterr().err
    assert line.startswith(f"error: {message}") and line.endswith(f"{AGAIN}\n")


@pytest.mark.parametrize("bug", [RuntimeError("shapes differ"), FileNotFoundError(2, "gone", "/x"), SystemExit(3)])
def test_a_bug_keeps_its_traceback(bug: BaseException) -> None:
    with pytest.raises(type(bug)) as caught:
        ending(bug)
    assert caught.value is bug


def test_other_ranks_of_a_preempted_run_exit_with_zero_and_say_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert ending(Preempted("stopped and saved")) == 0
    assert capsys.readouterr().err == ""


def test_ctrl_c_that_lightning_catches_is_an_interrupt(capsys: pytest.CaptureFixture[str]) -> None:
    def work() -> int:
        trainer = pl.Trainer(accelerator="cpu", logger=False, barebones=True)
        with patch.object(trainer, "_run", side_effect=KeyboardInterrupt):
            trainer.fit(pl.LightningModule(), [])
        return 0

    before = signal.getsignal(signal.SIGINT)
    try:
        assert run_command(work) == 130
    finally:
        signal.signal(signal.SIGINT, before)  # Lightning ignores it afterwards
    assert capsys.readouterr().err.endswith("interrupted\n")


def test_an_error_of_a_data_worker_loses_its_traceback() -> None:
    wrapped = (
        "Caught InputError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
        '  File "movienet.py", line 1, in f\nbassl.errors.InputError: key-frame a.jpg does not exist; get it\n'
    )
    assert format_error(InputError(wrapped)) == "key-frame a.jpg does not exist; get it"


def test_a_message_goes_to_the_current_standard_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("first", "second"):
        stream = io.StringIO()
        monkeypatch.setattr(sys, "stderr", stream)
        setup_logging()
        log.info(text)
        assert stream.getvalue() == f"{text}\n"
        stream.close()


def test_a_further_set_up_changes_the_level_only_and_libraries_only_warn(capsys: pytest.CaptureFixture[str]) -> None:
    setup_logging()
    logging.getLogger("lightning_fabric.utilities.distributed").info("Initializing distributed: GLOBAL_RANK: 0")
    setup_logging(logging.WARNING)
    log.info("hidden")
    log.warning("shown")
    assert capsys.readouterr().err == "shown\n"
    assert sum(isinstance(handler, StandardError) for handler in logging.getLogger().handlers) == 1


def test_other_ranks_log_errors_only(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "3")
    setup_logging()
    log.warning("of all ranks")
    log.error("of this rank")
    assert capsys.readouterr().err == "of this rank\n"


def test_the_final_line_stands_below_the_progress_bar(capsys: pytest.CaptureFixture[str]) -> None:
    with tqdm(total=4, desc="pre-training", file=sys.stdout) as bar:
        bar.update()
        print_final("interrupted")
        assert bar.disable
    printed = capsys.readouterr()
    assert printed.err == "interrupted\n"
    assert "pre-training:  25%" in printed.out and printed.out.endswith("\n")


def test_control_characters_are_replaced_and_nouns_counted() -> None:
    assert printable("a\nb\x1b\udcff") == "a\ufffdb\ufffd\ufffd"
    assert [pluralize(number, "shot") for number in (0, 1, 1234)] == ["0 shots", "1 shot", "1,234 shots"]

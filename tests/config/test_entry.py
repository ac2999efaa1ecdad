from __future__ import annotations

import errno
import signal
import subprocess
import sys
from pathlib import Path
from unittest.mock import patch

import pytest
import pytorch_lightning as pl
import yaml
from bassl.config.entry import help_text, plain, start
from omegaconf import DictConfig

import bassl
from bassl.config.load import GROUPS, known_keys, load
from bassl.config.schema import JOBS
from bassl.console import format_error
from bassl.errors import InputError, Preempted, RunError

PACKAGE = Path(bassl.__file__).parent
SCRIPTS = {
    "pretrain": PACKAGE / "pretrain" / "main.py",
    "extract": PACKAGE / "pretrain" / "extract_shot_repr.py",
    "finetune": PACKAGE / "finetune" / "main.py",
}
MODULES = {
    "pretrain": "bassl.pretrain.main",
    "extract": "bassl.pretrain.extract_shot_repr",
    "finetune": "bassl.finetune.main",
}
FORBID_TORCH = """
import sys
class Refuse:
    def find_spec(self, name, *_):
        assert name.split(".")[0] not in ("torch", "torchvision", "pytorch_lightning"), f"imported {name}"
sys.meta_path.insert(0, Refuse())
"""


def refuse_to_run(config: DictConfig) -> None:
    raise AssertionError("the job must not start")


def started(capsys: pytest.CaptureFixture[str], job: str, *argv: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of an entry point that never gets to its job."""
    status = start(job, refuse_to_run, "About.", argv)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def run_without_torch(*argv: str) -> subprocess.CompletedProcess[str]:
    """Run `main` of a module in a fresh interpreter in which importing torch fails."""
    code = f"{FORBID_TORCH}from {argv[0]} import main\nsys.exit(main({list(argv[1:])!r}))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent, check=False)


def test_a_mistake_is_one_line_on_stderr_and_status_two(capsys: pytest.CaptureFixture[str]) -> None:
    typo = "config.LOSS.sampleing_method.name=shotcol"
    assert started(capsys, "pretrain", typo) == (
        2,
        "",
        "error: unknown key config.LOSS.sampleing_method.name; did you mean config.LOSS.sampling_method.name?\n",
    )


def test_a_message_of_several_lines_becomes_one(capsys: pytest.CaptureFixture[str]) -> None:
    def run(config: DictConfig) -> None:
        raise InputError("no such\nmethod\r\n  at all")

    assert start("pretrain", run, "About.", []) == 2
    assert capsys.readouterr().err == "error: no such method at all\n"


def test_an_error_of_a_data_worker_loses_its_traceback() -> None:
    wrapped = (
        "Caught InputError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
        '  File "movienet.py", line 1, in f\nbassl.errors.InputError: key-frame a.jpg does not exist; get it\n'
    )
    assert format_error(InputError(wrapped)) == "key-frame a.jpg does not exist; get it"


def test_a_bug_of_ours_keeps_its_traceback() -> None:
    with pytest.raises(AssertionError, match="must not start"):
        start("pretrain", refuse_to_run, "About.", [])


def test_an_interrupted_run_ends_with_status_130(capsys: pytest.CaptureFixture[str]) -> None:
    def run(config: DictConfig) -> None:
        raise KeyboardInterrupt

    assert start("pretrain", run, "About.", []) == 130
    assert capsys.readouterr().err == "interrupted\n"


def test_lightnings_way_to_end_an_interrupted_run_is_status_130_and_no_other_exit_is(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def interrupted(config: DictConfig) -> None:
        trainer = pl.Trainer(accelerator="cpu", logger=False, barebones=True)
        with patch.object(trainer, "_run", side_effect=KeyboardInterrupt):
            trainer.fit(pl.LightningModule(), [])

    before = signal.getsignal(signal.SIGINT)
    try:
        assert start("pretrain", interrupted, "About.", []) == 130
    finally:
        signal.signal(signal.SIGINT, before)  # Lightning ignores it from there on
    assert capsys.readouterr().err.endswith("interrupted\n")

    def leaves(config: DictConfig) -> None:
        sys.exit(1)

    with pytest.raises(SystemExit):
        start("pretrain", leaves, "About.", [])


@pytest.mark.parametrize(
    ("job", "error", "said"),
    [
        ("pretrain", OSError(errno.ENOSPC, "No space left on device"), "a log of the run: No space left on device; "),
        ("finetune", OSError(errno.EIO, "Input/output error", "/ckpt"), "/ckpt: Input/output error; "),
        ("extract", OSError(errno.EDQUOT, "Disk quota exceeded", "/f"), "/f: Disk quota exceeded; "),
        ("pretrain", PermissionError(errno.EACCES, "Permission denied", "/l"), "/l: Permission denied; "),
        ("pretrain", PermissionError(errno.EPERM, "Operation not permitted", "/l"), "/l: Operation not permitted; "),
        ("pretrain", NotADirectoryError(errno.ENOTDIR, "Not a directory", "/l"), "/l: Not a directory; "),
        ("extract", FileExistsError(errno.EEXIST, "File exists", "/l"), "/l: File exists; "),
        ("pretrain", RuntimeError("[gloo/transport/tcp/pair.cc:545] Connection reset"), "another process of this run"),
    ],
)
def test_what_the_machine_does_to_a_run_is_one_sentence_with_status_one(
    job: str, error: Exception, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(config: DictConfig) -> None:
        raise error

    assert start(job, run, "About.", []) == 1
    sentence = capsys.readouterr().err
    assert sentence.startswith(f"error: {said}")
    assert sentence.endswith(
        "run the same command to resume\n" if job == "extract" else "resume with config.RESUME=true\n"
    )


@pytest.mark.parametrize(
    "bug", [RuntimeError("shapes differ"), OSError("no number"), FileNotFoundError(2, "gone", "/x")]
)
def test_a_bug_stays_a_traceback(bug: Exception) -> None:
    def run(config: DictConfig) -> None:
        raise bug

    with pytest.raises(type(bug)) as caught:
        start("pretrain", run, "About.", [])
    assert caught.value is bug


def test_a_run_that_cannot_go_on_ends_with_status_one(capsys: pytest.CaptureFixture[str]) -> None:
    def run(config: DictConfig) -> None:
        raise RunError("loss term ssm is not finite at step 3")

    assert start("pretrain", run, "About.", []) == 1
    assert capsys.readouterr().err == "error: loss term ssm is not finite at step 3\n"


@pytest.mark.parametrize(("local_rank", "status"), [(None, 75), ("0", 75), ("1", 0)])
def test_a_run_that_was_asked_to_stop_says_so_in_its_main_process(
    local_rank: str | None, status: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(config: DictConfig) -> None:
        raise Preempted("stopped and saved")

    monkeypatch.delenv("LOCAL_RANK", raising=False)
    if local_rank is not None:
        monkeypatch.setenv("LOCAL_RANK", local_rank)
    assert start("pretrain", run, "About.", []) == status
    assert capsys.readouterr().err == ("stopped and saved\n" if status else "")


def test_a_run_gets_the_configuration_that_was_typed() -> None:
    seen: list[DictConfig] = []
    assert start("finetune", seen.append, "About.", ["config.SEED=3"]) == 0
    assert seen == [load("finetune", ["config.SEED=3"])]


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_lists_every_key_with_default_and_meaning(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    for job in JOBS:
        status, printed, said = started(capsys, job, "config.SEED=wrong", flag)
        assert (status, said) == (0, "")
        assert printed == help_text(job, "About.")
        lines = printed.splitlines()
        assert lines[0] == "About."
        assert f"usage: bassl {job} [config.KEY=VALUE ...]" in lines
        for name, entry in known_keys(job).items():
            (row,) = [number for number, line in enumerate(lines) if line.startswith(f"  {name}=")]
            assert lines[row + 1].strip() == entry.metadata["meaning"]
        assert ("+method=bassl|bassl_shotcol|instance|shotcol|temporal" in printed) is ("method" in GROUPS[job])


@pytest.mark.parametrize("flags", [["--cfg"], ["--cfg", "job"]])
def test_cfg_prints_the_configuration_as_yaml_and_stops(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for job in JOBS:
        argv = [*flags, "config.DATA_PATH=/data: #1", "config.DISTRIBUTED.NUM_PROC_PER_NODE=2"]
        status, printed, said = started(capsys, job, *argv)
        assert (status, said) == (0, "")
        assert yaml.safe_load(printed) == {"config": plain(load(job, argv[len(flags) :]))}
        assert yaml.safe_load(printed)["config"]["DATA_PATH"] == "/data: #1"


def test_the_configuration_is_stored_as_plain_values() -> None:
    stored = plain(load("pretrain", ["config.LOG_PATH=${config.DATA_PATH}", "config.DATA_PATH=/data"]))
    assert type(stored) is dict
    assert stored["LOG_PATH"] == "/data"
    assert type(stored["TRANSFORM"]["train"]["scale"]) is list
    assert list(stored["LOSS"]["sampling_method"]["params"]) == [
        "bassl", "bassl+shotcol", "shotcol", "temporal", "instance",
    ]  # fmt: skip


@pytest.mark.parametrize("job", sorted(JOBS))
def test_help_is_answered_without_torch(job: str) -> None:
    done = run_without_torch(MODULES[job], "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert "config.DATA_PATH=unset" in done.stdout


def test_mistakes_and_cfg_are_answered_without_torch() -> None:
    code = f"""{FORBID_TORCH}
import bassl.config, bassl.config.entry, bassl.config.reference
from bassl.pretrain import main as pretrain, extract_shot_repr as extract
from bassl.finetune import main as finetune
statuses = [
    pretrain.main(["config.EXPRNAME=x"]),
    pretrain.main(["config.LOSS.sampling_method.name=moco"]),
    pretrain.main(["config.TRAIN.BATCH_SIZE.effective_batch_size=250"]),
    extract.main([]),
    finetune.main([]),
    pretrain.main(["--cfg"]),
]
assert "torch" not in sys.modules
assert statuses == [2, 2, 2, 2, 2, 0], statuses
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == 5
    assert all(line.startswith("error: ") for line in lines)


def test_scripts_start_by_path_from_anywhere_and_answer_a_mistake(tmp_path: Path) -> None:
    assert set(SCRIPTS) == set(JOBS)
    for script in SCRIPTS.values():
        done = subprocess.run(
            [sys.executable, str(script), "config.EXPR_NAMES=x"],
            capture_output=True, text=True, cwd=tmp_path, env={"PATH": ""}, check=False,
        )  # fmt: skip
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.count("\n") == 1
        assert done.stderr.startswith("error: unknown key config.EXPR_NAMES; did you mean ")


def test_a_reader_of_help_that_goes_away_makes_no_noise() -> None:
    command = f"'{sys.executable}' -m bassl.pretrain.main --help | head -n 1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, cwd=PACKAGE.parent, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.count("\n") == 1


@pytest.mark.parametrize(
    ("job", "key", "more"),
    [
        ("pretrain", "config.CKPT_PATH", []),
        ("pretrain", "config.LOG_PATH", []),
        ("extract", "config.FEATURE_PATH", ["config.LOAD_FROM=devel"]),
        ("finetune", "config.CKPT_PATH", ["config.PRETRAINED_LOAD_FROM=devel"]),
        ("finetune", "config.LOG_PATH", ["config.LOAD_FROM=devel"]),
    ],
)
def test_outputs_that_cannot_be_written_are_refused_before_torch_is_there(
    job: str, key: str, more: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "l.csv"
    file.touch()
    found = {name: f"config.{name}_PATH={tmp_path}/{name}" for name in ("CKPT", "LOG")}
    done = run_without_torch(MODULES[job], *(found.values() if job != "extract" else ()), *more, f"{key}={file}")
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(f"error: {file}")
    assert done.stderr.endswith(f" cannot be written ({file} is a file); name another {key}\n")
    if job != "extract":
        dry = run_without_torch(MODULES[job], *found.values(), *more, f"{key}={file}", "config.DRY_RUN=true")
        assert "AssertionError: imported " in dry.stderr  # it writes nothing

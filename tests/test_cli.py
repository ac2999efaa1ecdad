"""The `bassl` command: subcommands, their exit codes, help without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import bassl
from bassl import cli
from tests.runs import ROOT, extract_overrides, finetune_overrides, pretrain_overrides, typed
from tests.video.clips import write_clip

Calls = list[tuple[str, list[str]]]


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Replace each subcommand's module by one that records its arguments and returns 7."""
    calls: Calls = []
    for module in {module for module, _ in cli.COMMANDS.values()}:
        fake = ModuleType(module)
        fake.main = lambda argv, module=module: calls.append((module, argv)) or 7  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module, fake)
    return calls


@pytest.mark.parametrize(
    ("command", "module"),
    [
        ("pretrain", "bassl.pretrain.main"), ("extract", "bassl.pretrain.extract_shot_repr"),
        ("finetune", "bassl.finetune.main"), ("segment", "bassl.segment.main"), ("prepare", "bassl.prepare.main"),
        ("check-data", "bassl.prepare.check"), ("sweep", "bassl.sweep.main"),
    ],
)  # fmt: skip
def test_a_subcommand_gets_the_rest_of_the_line_and_returns_the_exit_code(
    called: Calls, command: str, module: str
) -> None:
    assert cli.main([command, "config.EXPR_NAME=x", "+method=shotcol", "--help"]) == 7
    assert called == [(module, ["config.EXPR_NAME=x", "+method=shotcol", "--help"])]


@pytest.mark.parametrize(
    ("keys", "added"),
    [
        (["+config.LOAD_FROM=mine"], []),
        (["config.PRETRAINED_LOAD_FROM=mine"], ["config.ZERO_SHOT=true"]),
        (["config.LOAD_FROM=mine", "config.PRETRAINED_LOAD_FROM=other"], []),
    ],
)
def test_evaluate_scores_a_fine_tuned_model_else_a_pre_trained_one_zero_shot(
    called: Calls, keys: list[str], added: list[str]
) -> None:
    assert cli.main(["evaluate", *keys]) == 7
    assert called == [("bassl.finetune.main", [*keys, *added])]


def test_evaluate_without_a_model_is_refused(called: Calls, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", "config.EXPR_NAME=x"]) == cli.main(["evaluate", "config.LOAD_FROM="]) == 2
    assert called == []
    assert "config.LOAD_FROM=NAME" in capsys.readouterr().err
    assert cli.main(["evaluate", "--help"]) == 7


def test_arguments_default_to_the_command_line_which_stays_as_it_is(
    called: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lightning starts the other processes of a run with sys.argv."""
    line = ["/usr/bin/bassl", "pretrain", "config.EXPR_NAME=x"]
    monkeypatch.setattr(sys, "argv", line)
    assert cli.main() == 7
    assert sys.argv is line and len(line) == 3
    assert called == [("bassl.pretrain.main", ["config.EXPR_NAME=x"])]


def test_help_fits_a_screen_and_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert [cli.main([flag]) for flag in ("--help", "-h", "help")] == [0, 0, 0]
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 3 * 24 and max(map(len, lines)) <= 80
    assert all(any(line.startswith(f"  {name} ") for line in lines) for name in cli.COMMANDS)
    assert cli.main([]) == 2


@pytest.mark.parametrize(("given", "hint"), [("segmnt", "did you mean segment?"), ("xyz", "choose one of pretrain")])
def test_an_unknown_command_names_the_nearest(given: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([given]) == 2
    assert hint in capsys.readouterr().err


def test_every_subcommand_answers_help_without_importing_torch() -> None:
    code = f"""
import sys
from bassl.cli import main
for command in {list(cli.COMMANDS)}:
    try:
        main([command, "--help"])
    except SystemExit as stop:
        assert stop.code == 0
    loaded = {{"torch", "av", "cv2", "pytorch_lightning"}} & set(sys.modules)
    assert not loaded, (command, loaded)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_the_module_runs_and_prints_the_version() -> None:
    done = subprocess.run([sys.executable, "-m", "bassl.cli", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"bassl {bassl.__version__}\n"


def test_ctrl_c_while_a_command_is_imported_is_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "import_module", interrupt)
    assert cli.main(["segment", "film.mp4"]) == 130
    assert capsys.readouterr().err == "interrupted\n"


INSTALLED = "import sys\nfrom bassl.cli import main\nif __name__ == '__main__':\n    sys.exit(main())\n"


@pytest.mark.slow
def test_the_installed_command_trains_in_two_processes_and_segments_a_film_with_the_result(
    tiny_movienet: Path, tmp_path: Path
) -> None:
    """Lightning starts the second process with the command's own file, as pip writes it."""
    command = tmp_path / "bin" / "bassl"
    command.parent.mkdir()
    command.write_text(INSTALLED)
    two = ["config.DISTRIBUTED.NUM_PROC_PER_NODE=2", "config.TRAINER.accelerator=cpu"]
    environment = {"PYTHONPATH": str(ROOT), "BASSL_CACHE": str(tmp_path / "cache")}

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        done = typed([str(command), *map(str, arguments)], cwd=tmp_path, env=environment)
        assert done.returncode == 0, done.stderr[-3000:]
        return done

    assert "2 process" in run("pretrain", *pretrain_overrides(tiny_movienet, tmp_path), *two).stderr
    run("extract", *extract_overrides(tiny_movienet, tmp_path), "config.LOAD_FROM=devel")
    run("finetune", *finetune_overrides(tiny_movienet, tmp_path), "config.PRETRAINED_LOAD_FROM=devel")
    film = write_clip(tmp_path / "film.mp4", (20, 25, 30))
    model, out = tmp_path / "finetune" / "ckpt" / "devel", tmp_path / "out"
    segmented = run("segment", film, "--model", model, "--device", "cpu", "--num-scenes", 2, "-o", out)
    assert "film.mp4: 2 scenes in 3 shots" in segmented.stdout

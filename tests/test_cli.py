from __future__ import annotations

import re
import subprocess
import sys
from types import ModuleType

import pytest

import bassl
from bassl import cli
from tests.runs import ROOT, extract_overrides, finetune_overrides, pretrain_overrides, typed
from tests.video.clips import write_clip


@pytest.fixture
def called(monkeypatch):
    """Each subcommand's module, played by one that notes what it is given."""
    calls = []
    for module in {module for module, _ in cli.COMMANDS.values()}:
        fake = ModuleType(module)
        fake.main = lambda argv, module=module: calls.append((module, argv)) or 7
        monkeypatch.setitem(sys.modules, module, fake)
    return calls


@pytest.mark.parametrize(("command", "module"), [
    ("pretrain", "bassl.pretrain.main"), ("extract", "bassl.pretrain.extract_shot_repr"),
    ("finetune", "bassl.finetune.main"), ("segment", "bassl.segment.main"), ("prepare", "bassl.prepare.main"),
    ("check-data", "bassl.prepare.check"), ("sweep", "bassl.sweep.main"),
])  # fmt: skip
def test_a_subcommand_gets_the_rest_of_the_line_and_gives_the_status(called, command, module):
    assert cli.main([command, "config.EXPR_NAME=x", "+method=shotcol", "--help"]) == 7
    assert called == [(module, ["config.EXPR_NAME=x", "+method=shotcol", "--help"])]


@pytest.mark.parametrize("key", ["config.LOAD_FROM=mine", "+config.LOAD_FROM=mine"])
def test_evaluate_is_fine_tunings_evaluation_of_a_named_model(called, key):
    assert cli.main(["evaluate", key]) == 7
    assert called == [("bassl.finetune.main", [key])]


@pytest.mark.parametrize("key", ["config.PRETRAINED_LOAD_FROM=mine", "+config.PRETRAINED_LOAD_FROM=mine"])
def test_evaluate_of_a_pre_trained_model_alone_is_zero_shot(called, key):
    assert cli.main(["evaluate", key]) == 7
    assert called == [("bassl.finetune.main", [key, "config.ZERO_SHOT=true"])]


def test_evaluate_of_a_fine_tuned_model_with_its_pre_trained_one_is_not_zero_shot(called):
    line = ["config.LOAD_FROM=mine", "config.PRETRAINED_LOAD_FROM=other"]
    assert cli.main(["evaluate", *line]) == 7
    assert called == [("bassl.finetune.main", line)]


def test_evaluate_without_a_model_is_one_clear_error(called, capsys):
    assert cli.main(["evaluate", "config.EXPR_NAME=x"]) == 2
    assert cli.main(["evaluate", "config.LOAD_FROM="]) == 2
    assert called == []
    assert "config.LOAD_FROM=NAME" in capsys.readouterr().err
    assert cli.main(["evaluate", "--help"]) == 7


def test_arguments_default_to_the_command_line_and_leave_it_as_it_is(called, monkeypatch):
    """Lightning starts the other processes of a run with sys.argv."""
    line = ["/usr/bin/bassl", "pretrain", "config.EXPR_NAME=x"]
    monkeypatch.setattr(sys, "argv", line)
    assert cli.main() == 7
    assert sys.argv is line
    assert line == ["/usr/bin/bassl", "pretrain", "config.EXPR_NAME=x"]
    assert called == [("bassl.pretrain.main", ["config.EXPR_NAME=x"])]


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["help"]])
def test_help_fits_one_screen_and_names_every_command(arguments, capsys):
    assert cli.main(arguments) == 0
    text = capsys.readouterr().out
    assert len(text.splitlines()) <= 24
    assert max(map(len, text.splitlines())) <= 80
    assert [name for name in cli.COMMANDS if not re.search(rf"^  {name} ", text, re.MULTILINE)] == []
    assert len(cli.COMMANDS) == 8


def test_without_a_command_the_help_is_an_error(capsys):
    assert cli.main([]) == 2
    assert "usage: bassl COMMAND" in capsys.readouterr().err


def test_the_version_is_the_packages(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"bassl {bassl.__version__}\n"


@pytest.mark.parametrize(("given", "hint"), [("segmnt", "did you mean segment?"), ("xyz", "choose one of pretrain")])
def test_an_unknown_command_names_the_nearest(called, given, hint, capsys):
    assert cli.main([given]) == 2
    assert hint in capsys.readouterr().err
    assert called == []


def test_every_subcommand_answers_help_without_importing_torch():
    for command in cli.COMMANDS:
        code = (
            f"import sys\nfrom bassl.cli import main\n"
            f"try:\n    main([{command!r}, '--help'])\nexcept SystemExit as stop:\n    assert stop.code == 0\n"
            f"assert not {{'torch', 'av', 'cv2', 'pytorch_lightning'}} & set(sys.modules)\n"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert len(done.stdout) > 200


def test_the_module_can_be_run():
    done = subprocess.run([sys.executable, "-m", "bassl.cli", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("bassl ")


INSTALLED = "import sys\nfrom bassl.cli import main\nif __name__ == '__main__':\n    sys.exit(main())\n"


@pytest.mark.slow
def test_the_installed_command_trains_in_two_processes_and_segments_a_film_with_the_result(tiny_movienet, tmp_path):
    """Lightning starts the second process with the command's own file, as pip writes it, and the same arguments."""
    command = tmp_path / "bin" / "bassl"
    command.parent.mkdir()
    command.write_text(INSTALLED)
    two = ["config.DISTRIBUTED.NUM_PROC_PER_NODE=2", "config.TRAINER.accelerator=cpu"]
    environment = {"PYTHONPATH": str(ROOT), "BASSL_CACHE": str(tmp_path / "cache")}

    def run(*arguments):
        done = typed([str(command), *map(str, arguments)], cwd=tmp_path, env=environment)
        assert done.returncode == 0, done.stderr[-3000:]
        return done

    assert "2 process" in run("pretrain", *pretrain_overrides(tiny_movienet, tmp_path), *two).stderr
    run("extract", *extract_overrides(tiny_movienet, tmp_path), "config.LOAD_FROM=devel")
    tuning = finetune_overrides(tiny_movienet, tmp_path)
    run("finetune", *tuning, "config.PRETRAINED_LOAD_FROM=devel")
    run("evaluate", *tuning, "config.LOAD_FROM=devel")
    film = write_clip(tmp_path / "film.mp4", (20, 25, 30))
    for stage, kind in (("pretrain", "zero-shot"), ("finetune", "fine-tuned")):
        model = tmp_path / stage / "ckpt" / "devel"
        out = run(
            "segment", film, "--model", model, "--device", "cpu", "--num-scenes", 2, "-o", tmp_path / stage / "out"
        )
        assert "film.mp4: 2 scenes in 3 shots" in out.stdout
        assert kind in (tmp_path / stage / "out" / "film" / "scenes.json").read_text()


def test_ctrl_c_while_a_commands_modules_are_read_is_no_traceback(monkeypatch, capsys):
    def interrupt(name):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "import_module", interrupt)
    assert cli.main(["segment", "film.mp4"]) == 130
    assert capsys.readouterr().err == "interrupted\n"

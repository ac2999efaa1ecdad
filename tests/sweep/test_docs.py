"""docs/sweep.md: its commands, its experiment and its table of files."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from bassl.sweep import main as sweep_main
from bassl.sweep.experiment import shipped_experiments
from tests.runs import ROOT

TEXT = (ROOT / "docs" / "sweep.md").read_text(encoding="utf-8")


def commands() -> list[list[str]]:
    joined = TEXT.replace("\\\n", " ")
    return [shlex.split(line, comments=True) for line in re.findall(r"^ *#? ?(bassl sweep .*)$", joined, re.M)]


def test_every_command_is_valid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (experiment,) = re.findall(r"```yaml\n(.*?)```", TEXT, re.S)
    for words in commands():
        if words[2].endswith(".yaml"):
            Path(words[2]).write_text(experiment)
        assert sweep_main.main([*words[2:], "--list", "--output", "out"]) == 0
        assert capsys.readouterr().out.count("bassl.finetune.main") >= 3
    assert len(commands()) == 5


def test_every_shipped_experiment_has_its_line() -> None:
    assert re.findall(r"^\| `(\w+)` \|", TEXT, re.M) == ["sample", "published", "losses", "procedural", "few_labels"]
    assert set(shipped_experiments()) == {"sample", "published", "losses", "procedural", "few_labels"}


@pytest.mark.slow
def test_a_sweep_writes_every_file_of_the_table(real_sweep) -> None:
    names = [name for line in re.findall(r"^\| (`.*?) \|", TEXT, re.M) for name in re.findall(r"`([^`]+)`", line)]
    files = [name for name in names if name not in shipped_experiments()]
    assert len(files) >= 11
    for name in files:
        path = name.replace("<run>", "bassl-seed1").replace("<step>", "pretrain")
        assert (real_sweep.folder / path).exists(), name

"""What the README promises: its commands compose, its files exist, its tables are those of the code."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from bassl.config import load
from bassl.config.resolve import resolve_extract, resolve_finetune, resolve_pretrain
from bassl.finetune.metrics import METRIC_DEFINITIONS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
JOBS = {
    "bassl/pretrain/main.py": ("pretrain", resolve_pretrain),
    "bassl/pretrain/extract_shot_repr.py": ("extract", resolve_extract),
    "bassl/finetune/main.py": ("finetune", resolve_finetune),
}


def commands() -> list[list[str]]:
    blocks = re.findall(r"```bash\n(.*?)```", README, flags=re.S)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def test_every_python_command_of_the_readme_composes() -> None:
    checked = 0
    for words in commands():
        if words[0] == "python3" and words[1] in JOBS:
            job, resolve = JOBS[words[1]]
            resolve(load(job, [word for word in words[2:] if not word.startswith("--")]))
            checked += 1
    assert checked >= 6


def test_every_script_of_the_readme_exists_and_no_command_is_of_an_unknown_kind() -> None:
    kinds = {words[0] for words in commands()}
    assert kinds <= {"bash", "python3", "bassl", "pip", "cd", "tensorboard"}, kinds
    scripts = [words[1] for words in commands() if words[0] == "bash"]
    assert len(scripts) >= 4
    for script in scripts:
        assert (ROOT / script).is_file(), script


def test_every_local_link_leads_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if "://" not in link]
    assert len(links) >= 5
    for link in links:
        assert (ROOT / link.split("#")[0]).exists(), link


def test_the_metrics_table_is_that_of_the_code() -> None:
    for name, definition in METRIC_DEFINITIONS.items():
        assert f"| {name} | {definition} |" in README


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", "CONTRIBUTING.md"])
def test_no_machine_of_ours_is_named(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    assert not re.search(r"/(work|root|home)/", text)

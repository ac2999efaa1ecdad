"""docs/procedural.md: its commands and its tables."""

from __future__ import annotations

import re
import shlex
from dataclasses import asdict

import pytest

from bassl.cli import COMMANDS
from bassl.config.load import load
from bassl.procedural import main
from bassl.procedural.difficulty import Difficulty
from tests.runs import ROOT

TEXT = (ROOT / "docs" / "procedural.md").read_text()


def commands(start: str) -> list[list[str]]:
    blocks = "\n".join(re.findall(r"```\n(.*?)```", TEXT, re.DOTALL))
    return [shlex.split(line)[len(start.split()) :] for line in blocks.splitlines() if line.startswith(f"{start} ")]


def test_every_documented_command_is_valid() -> None:
    drawing, others = commands("python3 -m bassl.procedural.main"), commands("bassl")
    assert drawing and others
    for arguments in drawing:
        main._parser().parse_args(arguments)
    for name, *arguments in others:
        assert name in COMMANDS
        if name != "check-data":
            load({"evaluate": "finetune"}.get(name, name), arguments)


def test_the_table_of_options_has_their_defaults() -> None:
    rows = dict(re.findall(r"^\| `(--[a-z]+)` \| ([^|]+) \|", TEXT, re.MULTILINE))
    defaults = {action.option_strings[0]: action.default for action in main._parser()._actions}
    assert len(rows) == 7
    for option, written in rows.items():
        default = defaults[option]
        assert written == (" ".join(map(str, default)) if isinstance(default, tuple) else str(default))


def test_the_table_of_difficulties_has_the_drawn_values() -> None:
    rows = re.findall(r"^\| .+ \| [^|]*\*d\*[^|]* \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", TEXT, re.MULTILINE)
    for column, number in enumerate((0, 0.5, 1)):
        assert sorted(float(row[column]) for row in rows) == pytest.approx(
            sorted(asdict(Difficulty.of(number)).values())
        )

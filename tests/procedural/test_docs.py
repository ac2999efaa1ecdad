from __future__ import annotations

import re
import shlex
from dataclasses import asdict
from pathlib import Path

import pytest

from bassl.cli import COMMANDS
from bassl.config.load import load
from bassl.procedural import main
from bassl.procedural.difficulty import Difficulty

FOLDER = Path(__file__).resolve().parents[2] / "docs"
TEXT = (FOLDER / "procedural.md").read_text()


def commands(start: str) -> list[list[str]]:
    blocks = "\n".join(re.findall(r"```\n(.*?)```", TEXT, re.DOTALL))
    return [shlex.split(line)[len(start.split()) :] for line in blocks.splitlines() if line.startswith(f"{start} ")]


def test_every_documented_command_is_understood() -> None:
    drawing, others = commands("python3 -m bassl.procedural.main"), commands("bassl")
    assert (len(drawing), len(others)) == (1, 5)
    for arguments in drawing:
        main._parser().parse_args(arguments)
    assert commands("python3 -m bassl.procedural.baselines") == [["films"]]
    for name, *arguments in others:
        assert name in COMMANDS
        if name != "check-data":
            load({"evaluate": "finetune"}.get(name, name), arguments)


def test_the_options_of_the_table_are_the_commands_with_their_defaults() -> None:
    rows = dict(re.findall(r"^\| `(--[a-z]+)` \| ([^|]+) \|", TEXT, re.MULTILINE))
    known = {action.option_strings[0]: action.default for action in main._parser()._actions}
    for option in ("-h", "--target"):
        del known[option]
    shown = {
        option: " ".join(map(str, given)) if isinstance(given, tuple) else str(given) for option, given in known.items()
    }
    assert rows == shown


def test_the_table_of_difficulties_holds_what_is_drawn() -> None:
    rows = re.findall(r"^\| .+ \| [^|]*\*d\*[^|]* \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", TEXT, re.MULTILINE)
    for column, number in enumerate((0, 0.5, 1)):
        drawn = sorted(asdict(Difficulty.of(number)).values())
        assert sorted(float(row[column]) for row in rows) == pytest.approx(drawn)


def test_the_picture_is_there_and_small() -> None:
    assert "](procedural.jpg)" in TEXT
    assert 10_000 < (FOLDER / "procedural.jpg").stat().st_size < 300_000

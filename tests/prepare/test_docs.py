from __future__ import annotations

import re
import shlex
from pathlib import Path

from bassl.labels.protocols import PROTOCOLS
from bassl.prepare import arrays, benchmarks, check, main
from bassl.prepare.check_report import Report, as_json

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "data.md").read_text()
PARSERS = {
    "bassl prepare": main._parser,
    "bassl check-data": check._parser,
    "python3 -m bassl.prepare.arrays": arrays._parser,
    "python3 -m bassl.prepare.bbc_ovsd": benchmarks._parser,
}


def commands() -> list[tuple[str, list[str]]]:
    """The commands of this folder in the fenced blocks, by what they begin with."""
    blocks = "\n".join(re.findall(r"```\n(.*?)```", TEXT, re.DOTALL)).replace("\\\n", " ")
    found = []
    for line in blocks.splitlines():
        for start in PARSERS:
            if line.startswith(f"{start} ") and "[--" not in line:
                found.append((start, shlex.split(line[len(start) :], comments=True)))
    return found


def test_every_documented_command_is_understood() -> None:
    assert len(commands()) == 6
    for start, arguments in commands():
        PARSERS[start]().parse_args(arguments)


def test_every_option_in_the_text_exists() -> None:
    known = {option for parser in PARSERS.values() for action in parser()._actions for option in action.option_strings}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", TEXT))
    assert len(named) > 25
    assert named <= known


def test_every_protocol_and_every_key_of_the_report_is_documented() -> None:
    for name in PROTOCOLS:
        assert f"| `{name}` |" in TEXT
    for key in as_json(Report(Path("data"))):
        assert f'"{key}"' in TEXT

"""Keys of a job with value and meaning, read from its YAML file: for `--help` and docs/config.md.

`python -m bassl.config.reference > docs/config.md` writes the page.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args, get_type_hints

from bassl.config.schema import JOBS

FOLDER = Path(__file__).parent
GROUPS: dict[str, tuple[str, ...]] = {"pretrain": ("method",), "extract": (), "finetune": ("preset",)}
LINE = re.compile(r"(?P<indent> *)(?P<key>[^\s:#]+):(?: (?P<value>(?:[^#\s]|\S#| (?!#| ))+))?(?: +# (?P<meaning>.*))?")
COMMANDS = {
    "pretrain": "Pre-training: `bassl pretrain`",
    "extract": "Extraction: `bassl extract`",
    "finetune": "Fine-tuning and evaluation: `bassl finetune`, `bassl evaluate`",
}
HEAD = """\
# Configuration keys

Every key of the three jobs, from `bassl/config/{pretrain,extract,finetune}.yaml`. Set a key by `config.KEY=value`;
a `+` in front is accepted. `null` means that the value follows from other keys.

    bassl pretrain config.TRAINER.max_epochs=40 --cfg     # show the configuration and check it

This page is made by `python -m bassl.config.reference > docs/config.md`; do not edit it by hand.
"""


@dataclass(frozen=True)
class Key:
    """One key.

    Attributes:
        default: Value as typed in the YAML file.
        meaning: Comment on its line.
        kind: Type in the schema, without `None`: "int", "float", "bool", "str", "list" or "int | float | str".
    """

    default: str
    meaning: str
    kind: str

    @property
    def is_text(self) -> bool:
        """Whether the value is text, which needs no quotes on the command line."""
        return self.kind == "str"


@cache
def known_keys(job: str) -> dict[str, Key]:
    """Map every full key of a job, such as `config.TRAINER.max_epochs`, to its value, meaning and type."""
    lines = dict(_read(FOLDER / f"{job}.yaml"))
    return {name: Key(*lines[name], kind=_kind(JOBS[job], name.split(".")[1:])) for name in lines if lines[name][0]}


def choices(job: str, group: str) -> list[str]:
    """List the values of `+<group>=`."""
    assert group in GROUPS[job], group
    return sorted(path.stem for path in (FOLDER / group).glob("*.yaml"))


def help_text(job: str, about: str) -> str:
    """Return usage and every key with its value and meaning."""
    groups = [f"  +{group}={'|'.join(choices(job, group))}" for group in GROUPS[job]]
    keys = [f"  {name}={key.default}\n      {key.meaning}" for name, key in known_keys(job).items()]
    usage = [about.strip(), "", f"usage: bassl {job} [config.KEY=VALUE ...]"]
    return "\n".join([*usage, "  --cfg   check and print the configuration", "", *groups, "", *keys, ""])


def page() -> str:
    """Return docs/config.md: per job its groups, then a table of key, value and meaning."""
    return "\n".join([HEAD, *(_section(job) for job in COMMANDS)])


def _section(job: str) -> str:
    groups = [f"`+{group}={'|'.join(choices(job, group))}` sets several keys at once.\n" for group in GROUPS[job]]
    rows = [f"| `{name}` | {_cell(key.default)} | {_cell(key.meaning)} |" for name, key in known_keys(job).items()]
    return "\n".join([f"## {COMMANDS[job]}\n", *groups, "| key | value | meaning |", "|---|---|---|", *rows, ""])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;")


def _read(path: Path) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield full key, value and meaning of each line of a YAML file; the value of a section is empty."""
    above: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if match := LINE.fullmatch(line):
            above = [*above[: len(match["indent"]) // 2], match["key"]]
            yield ".".join(above), (match["value"] or "", match["meaning"] or "")


def _kind(schema: Any, names: list[str]) -> str:
    """Return the type of a key as text; `names` lead to it from the schema of a job."""
    for name in names[:-1]:
        if is_dataclass(schema):
            schema = get_type_hints(schema)[name]
        else:  # dict[str, section]
            schema = get_args(schema)[1]
    hint = next(entry.type for entry in fields(schema) if entry.name == names[-1])
    return str(hint).removesuffix(" | None").split("[")[0]


if __name__ == "__main__":
    sys.stdout.write(page())

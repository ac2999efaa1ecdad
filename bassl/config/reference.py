"""The reference of all keys in Markdown: `python3 -m bassl.config.reference > docs/config.md`."""

from __future__ import annotations

import sys

from bassl.config.load import GROUPS, choices, known_keys
from bassl.config.schema import shown

TITLES = {
    "pretrain": "Pre-training: `python3 -m bassl.pretrain.main`",
    "extract": "Extraction: `python3 -m bassl.pretrain.extract_shot_repr`",
    "finetune": "Fine-tuning and evaluation: `python3 -m bassl.finetune.main`",
}
HEAD = """\
# Keys of the command line

Every key that the three jobs read, made from `bassl/config/schema.py` by
`python3 -m bassl.config.reference > docs/config.md`; do not edit by hand. Set a key by `config.KEY=value`; a `+`
in front is accepted. "unset" means that the value follows from the rest of the configuration, as described.
"""


def reference() -> str:
    """One section a job: its groups, then a table of key, default and meaning."""
    return "\n".join([HEAD, *(section(job) for job in TITLES)])


def section(job: str) -> str:
    """The Markdown of one job."""
    groups = [
        f"`+{group}={'|'.join(choices(job, group))}` sets the keys of `bassl/config/{group}/<name>.yaml`.\n"
        for group in GROUPS[job]
    ]
    rows = [
        f"| `{name}` | {_cell(shown(entry))} | {_cell(entry.metadata['meaning'])} |"
        for name, entry in known_keys(job).items()
    ]
    return "\n".join([f"## {TITLES[job]}\n", *groups, "| key | default | meaning |", "|---|---|---|", *rows, ""])


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace(">", "&gt;")


def main() -> None:
    """Print the reference."""
    sys.stdout.write(reference())


if __name__ == "__main__":
    main()

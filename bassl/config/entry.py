"""What all jobs do before torch is imported: read the command line, answer --help and --cfg, report mistakes."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from bassl.config.load import GROUPS, choices, known_keys, load
from bassl.config.schema import shown
from bassl.console import process_rank, run_command
from bassl.files import refuse_unwritable

Run = Callable[[DictConfig], None]


def start(job: str, run: Run, about: str, argv: Sequence[str] | None = None) -> int:
    """Load the job's configuration from `argv` and call `run` with it; returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    again = "run the same command to resume" if job == "extract" else "resume with config.RESUME=true"
    return run_command(lambda: _run(job, run, about, arguments), again)


def check_outputs(folders: Mapping[str, Path]) -> None:
    """Raise InputError where a folder, by the key that names it, cannot be written; asked by rank zero, which does."""
    if process_rank() == 0:
        for key, folder in folders.items():
            refuse_unwritable(folder, key)


def _run(job: str, run: Run, about: str, arguments: list[str]) -> int:
    if {"-h", "--help"} & set(arguments):
        sys.stdout.write(help_text(job, about))
        return 0
    show = _take_cfg(arguments)
    config = load(job, arguments)
    if show:
        sys.stdout.write(OmegaConf.to_yaml(OmegaConf.create({"config": config}), resolve=True))
    else:
        run(config)
    return 0


def help_text(job: str, about: str) -> str:
    """Usage and every key with its default and meaning."""
    lines = [
        about.strip(),
        "",
        f"usage: bassl {job} [config.KEY=VALUE ...]",
        "  --cfg   print the configuration that the command line gives",
        "",
    ]
    for group in GROUPS[job]:
        lines.append(f"  +{group}={'|'.join(choices(job, group))}")
    lines.append("")
    for name, entry in known_keys(job).items():
        lines.append(f"  {name}={shown(entry)}\n      {entry.metadata['meaning']}")
    return "\n".join(lines) + "\n"


def plain(config: DictConfig) -> dict[str, Any]:
    """The configuration as plain dicts and lists, for config.json."""
    container = OmegaConf.to_container(config, resolve=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def _take_cfg(arguments: list[str]) -> bool:
    """Remove `--cfg`, or Hydra's `--cfg job`, and say whether it stood there."""
    if "--cfg" not in arguments:
        return False
    position = arguments.index("--cfg")
    del arguments[position : position + (2 if arguments[position + 1 : position + 2] == ["job"] else 1)]
    return True

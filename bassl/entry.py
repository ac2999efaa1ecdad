"""What all entry points do before torch is imported: read the command line, answer --help and --cfg, report mistakes.

Exit status: 0 done, 2 a mistake of the user's (one line on stderr), 130 interrupted; anything else is a bug.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from bassl.config.load import GROUPS, choices, known_keys, load
from bassl.errors import InputError

Run = Callable[[DictConfig], None]


def start(job: str, run: Run, about: str, argv: Sequence[str] | None = None) -> int:
    """Load the job's configuration from `argv` and call `run` with it; returns the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        if {"-h", "--help"} & set(arguments):
            sys.stdout.write(help_text(job, about))
            return 0
        show = _take_cfg(arguments)
        config = load(job, arguments)
        if show:
            sys.stdout.write(OmegaConf.to_yaml(OmegaConf.create({"config": config}), resolve=True))
            return 0
        run(config)
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    except BrokenPipeError:  # the reader of --help has gone
        sys.stderr.close()
        return 0
    return 0


def help_text(job: str, about: str) -> str:
    """Usage and every key with its default and meaning."""
    lines = [about.strip(), "", "usage: [key=value ...]", "  --cfg   print the configuration that the command line gives", ""]
    for group in GROUPS[job]:
        lines.append(f"  +{group}={'|'.join(choices(job, group))}")
    lines.append("")
    for name, entry in known_keys(job).items():
        default = entry.default_factory() if callable(entry.default_factory) else entry.default
        lines.append(f"  {name}={shown(default)}\n      {entry.metadata['meaning']}")
    return "\n".join(lines) + "\n"


def shown(default: Any) -> str:
    """A default as one would type it."""
    if default is None:
        return "unset"
    return str(default).lower() if isinstance(default, bool) else str(default).replace(" ", "")


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

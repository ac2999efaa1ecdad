"""What all entry points do before torch is imported: read the command line, answer --help and --cfg, report mistakes.

Exit status: 0 done, 1 the run could not go on, 2 a mistake of the user's, 75 stopped by a signal and saved, 130
interrupted (training has saved itself). Status 1, 2 and 75 come with one line on stderr; a traceback is a bug.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from bassl.config.load import GROUPS, choices, known_keys, load
from bassl.config.schema import shown
from bassl.console import conclude
from bassl.endings import told
from bassl.errors import InputError, Preempted, RunError

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
        conclude(f"error: {one_line(error)}")
        return 2
    except RunError as error:
        conclude(f"error: {error}")
        return 1
    except Preempted as stop:
        if not is_main_process():
            return 0
        conclude(str(stop))
        return stop.EXIT_STATUS
    except KeyboardInterrupt:
        conclude("interrupted")
        return 130
    except SystemExit as stop:  # by Lightning, which catches Ctrl-C in training
        if not isinstance(stop.__context__, KeyboardInterrupt):
            raise
        conclude("interrupted")
        return 130
    except BrokenPipeError:  # the reader of --help has gone
        sys.stderr.close()
        return 0
    except (OSError, RuntimeError) as error:
        sentence = told(error, job)
        if sentence is None:
            raise
        conclude(f"error: {sentence}")
        return 1
    return 0


def is_main_process() -> bool:
    """Whether this is the process that the user started, or a launcher's rank zero on its machine.

    The others end quietly: Lightning takes a status other than 0 of theirs for a crash and kills the rest.
    """
    return os.environ.get("LOCAL_RANK", "0") == "0"


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


def one_line(error: InputError) -> str:
    """The message, also of an error that a data worker met: torch wraps that in the worker's traceback."""
    said = str(error).rsplit(f"{InputError.__module__}.{InputError.__name__}: ", 1)[-1]
    return " ".join(said.split())


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

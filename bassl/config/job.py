"""Run one job of the command line: answer --help and --cfg, report mistakes before torch is imported."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from bassl.config.load import load
from bassl.config.reference import help_text
from bassl.console import process_rank, run_command
from bassl.files import refuse_unwritable


def run_job(
    job: str,
    run: Callable[[Any], None],
    *,
    outputs: Callable[[Any], Mapping[str, Path]],
    about: str,
    argv: Sequence[str] | None = None,
) -> int:
    """Load a job's configuration from `argv` and call `run` with it; return the exit status.

    Args:
        job: "pretrain", "extract" or "finetune".
        outputs: Return the folders that the job writes, by the key that sets each; they are checked to be writable.
        about: What the job does, for `--help`.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    resume = "run the same command to resume" if job == "extract" else "resume with config.RESUME=true"

    def work() -> int:
        if {"-h", "--help"} & set(arguments):
            sys.stdout.write(help_text(job, about))
            return 0
        only_show = _remove_cfg(arguments)
        config = load(job, arguments)
        if process_rank() == 0 and not config.DRY_RUN:
            for key, folder in outputs(config).items():
                refuse_unwritable(folder, key)
        if only_show:
            sys.stdout.write(OmegaConf.to_yaml(OmegaConf.create({"config": asdict(config)})))
        else:
            run(config)
        return 0

    return run_command(work, resume)


def _remove_cfg(arguments: list[str]) -> bool:
    """Remove `--cfg`, or Hydra's `--cfg job`, and return whether it was given."""
    if "--cfg" not in arguments:
        return False
    position = arguments.index("--cfg")
    del arguments[position : position + (2 if arguments[position + 1 : position + 2] == ["job"] else 1)]
    return True

"""Pre-training: `python3 -m bassl.pretrain.main config.EXPR_NAME=bassl`, or this file by its path."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

if not __package__:  # started by path: the repository root belongs on the path, this folder does not
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from omegaconf import DictConfig

from bassl.config.entry import check_outputs, plain, start
from bassl.config.resolve import resolve_pretrain

ABOUT = "Pre-train a shot encoder and CRN on key-frames (BaSSL and its shot-level baselines)."


def run(config: DictConfig, **own: Any) -> None:
    """Pre-train as the configuration says."""
    plan = resolve_pretrain(config)
    if not plan.run.dry_run:
        check_outputs({"config.CKPT_PATH": plan.run.checkpoint_folder, "config.LOG_PATH": plan.run.log_folder})
    from bassl.pretrain.train import train  # torch is imported only for a configuration that can work

    train(plan, plain(config), **own)


def main(argv: Sequence[str] | None = None, **own: Any) -> int:
    """Entry point; returns the exit status. own: `encoder` and `objective` of `bassl.pretrain.train.train`."""
    return start("pretrain", partial(run, **own), ABOUT, argv)


if __name__ == "__main__":
    sys.exit(main())

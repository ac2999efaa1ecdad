"""Pre-training: `python3 -m bassl.pretrain.main config.EXPR_NAME=bassl`, or this file by its path."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # started by path: the repository root belongs on the path, this folder does not
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from omegaconf import DictConfig

from bassl.config.resolve import resolve_pretrain
from bassl.entry import plain, start

ABOUT = "Pre-train a shot encoder and CRN on key-frames (BaSSL and its shot-level baselines)."


def run(config: DictConfig) -> None:
    """Pre-train as the configuration says."""
    plan = resolve_pretrain(config)
    from bassl.pretrain.train import train  # torch is imported only for a configuration that can work

    train(plan, plain(config))


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    return start("pretrain", run, ABOUT, argv)


if __name__ == "__main__":
    sys.exit(main())

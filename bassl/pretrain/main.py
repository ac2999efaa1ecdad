"""Pre-training: `bassl pretrain config.EXPR_NAME=bassl`, or `python bassl/pretrain/main.py ...`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

if not __package__:  # started by path: Python put this folder on the path instead of the repository root
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from bassl.config.job import run_job
from bassl.config.paths import output_folders
from bassl.config.schema import Pretrain

ABOUT = "Pre-train a shot encoder and CRN on key-frames (BaSSL and its shot-level baselines)."


def main(argv: Sequence[str] | None = None, **parts: Any) -> int:
    """Run the command; return its exit status. parts: `encoder` and `objective` of `bassl.pretrain.train.train`."""

    def run(config: Pretrain) -> None:
        from bassl.pretrain.train import train  # torch is imported only for a valid configuration

        train(config, **parts)

    return run_job("pretrain", run, outputs=outputs, about=ABOUT, argv=argv)


def outputs(config: Pretrain) -> Mapping[str, Path]:
    """Return the folders that a run writes, by the key that sets each."""
    checkpoints, logs = output_folders(config, "pretrain", config.EXPR_NAME)
    return {"config.CKPT_PATH": checkpoints, "config.LOG_PATH": logs}


if __name__ == "__main__":
    sys.exit(main())

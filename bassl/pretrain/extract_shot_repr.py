"""Extraction of shot features: `python3 -m bassl.pretrain.extract_shot_repr config.LOAD_FROM=bassl`, or by path."""

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
from bassl.config.resolve import resolve_extract

ABOUT = "Extract shot features from key-frames with a pre-trained shot encoder."


def run(config: DictConfig, **own: Any) -> None:
    """Extract as the configuration says."""
    plan = resolve_extract(config)
    if not plan.dry_run:
        check_outputs({"config.FEATURE_PATH": plan.features})
    from bassl.pretrain.extract import extract  # torch is imported only for a configuration that can work

    extract(plan, plain(config), **own)


def main(argv: Sequence[str] | None = None, **own: Any) -> int:
    """Entry point; returns the exit status. own: `encoder` of `bassl.pretrain.extract.extract`."""
    return start("extract", partial(run, **own), ABOUT, argv)


if __name__ == "__main__":
    sys.exit(main())

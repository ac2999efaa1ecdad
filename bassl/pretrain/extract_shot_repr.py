"""Extraction of shot features: `bassl extract config.LOAD_FROM=bassl`, or this file by its path."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

if not __package__:  # started by path: Python put this folder on the path instead of the repository root
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from bassl.config.job import run_job
from bassl.config.paths import feature_folder
from bassl.config.schema import Extract

ABOUT = "Extract shot features from key-frames with a pre-trained shot encoder."


def main(argv: Sequence[str] | None = None, **parts: Any) -> int:
    """Run the command; return its exit status. parts: `encoder` of `bassl.pretrain.extract.extract`."""

    def run(config: Extract) -> None:
        from bassl.pretrain.extract import extract  # torch is imported only for a valid configuration

        extract(config, **parts)

    return run_job("extract", run, outputs=outputs, about=ABOUT, argv=argv)


def outputs(config: Extract) -> Mapping[str, Path]:
    """Return the folder that an extraction writes, by the key that sets it."""
    folder = feature_folder(config)
    assert folder is not None, "LOAD_FROM is required"
    return {"config.FEATURE_PATH": folder}


if __name__ == "__main__":
    sys.exit(main())

"""Fine-tuning and evaluation: `python3 -m bassl.finetune.main config.PRETRAINED_LOAD_FROM=bassl`, or by path."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:  # started by path: the repository root belongs on the path, this folder does not
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from omegaconf import DictConfig

from bassl.config.entry import check_outputs, plain, start
from bassl.config.resolve import resolve_finetune
from bassl.finetune.metrics import METRIC_DEFINITIONS

ABOUT = (
    "Fine-tune for video scene segmentation on shot features, or evaluate a fine-tuned model (config.LOAD_FROM).\n\n"
    "What is measured (docs/metrics.md):\n"
    + "\n".join(f"  {name}: {definition}" for name, definition in METRIC_DEFINITIONS.items())
)


def run(config: DictConfig) -> None:
    """Fine-tune or evaluate as the configuration says."""
    plan = resolve_finetune(config)
    folders = {"config.LOG_PATH": plan.run.log_folder}
    if plan.evaluate is None and not plan.zero_shot:
        folders["config.CKPT_PATH"] = plan.run.checkpoint_folder
    check_outputs({} if plan.run.dry_run else folders)
    from bassl.finetune.train import finetune  # torch is imported only for a configuration that can work

    finetune(plan, plain(config))


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    return start("finetune", run, ABOUT, argv)


if __name__ == "__main__":
    sys.exit(main())

"""Fine-tuning and evaluation: `bassl finetune config.PRETRAINED_LOAD_FROM=bassl`, or this file by its path."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

if not __package__:  # started by path: Python put this folder on the path instead of the repository root
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from bassl.config.job import run_job
from bassl.config.paths import output_folders, run_name
from bassl.config.schema import Finetune
from bassl.finetune.metrics import METRIC_DEFINITIONS

ABOUT = (
    "Fine-tune for video scene segmentation on shot features, or evaluate a fine-tuned model (config.LOAD_FROM).\n\n"
    "Metrics (docs/metrics.md):\n"
    + "\n".join(f"  {name}: {definition}" for name, definition in METRIC_DEFINITIONS.items())
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    return run_job("finetune", run, outputs=outputs, about=ABOUT, argv=argv)


def run(config: Finetune) -> None:
    """Fine-tune, or evaluate a fine-tuned model, a pre-trained model or features alone."""
    from bassl.finetune import evaluate, few_labels, train  # torch is imported only for a valid configuration

    if config.LOAD_FROM:
        evaluate.evaluate(config)
    elif config.ZERO_SHOT and config.PRETRAINED_LOAD_FROM:
        evaluate.zero_shot(config)
    elif config.ZERO_SHOT:
        evaluate.training_free(config)
    elif config.MODEL.scorer == "structure":
        few_labels.fit_structure(config)
    else:
        train.finetune(config)


def outputs(config: Finetune) -> Mapping[str, Path]:
    """Return the folders that a run writes, by the key that sets each."""
    checkpoints, logs = output_folders(config, "finetune", run_name(config))
    return {"config.LOG_PATH": logs} | ({} if config.evaluates else {"config.CKPT_PATH": checkpoints})


if __name__ == "__main__":
    sys.exit(main())

"""The wait for --help and for the answer to a typo."""

from __future__ import annotations

import statistics
from functools import partial

from benchmarks.measure import Row, Settings, in_turns, run_python

LIMIT = 2.0  # seconds
COMMANDS = {
    "--help of pre-training": ("bassl.pretrain.main", "--help"),
    "--help of extraction": ("bassl.pretrain.extract_shot_repr", "--help"),
    "--help of fine-tuning": ("bassl.finetune.main", "--help"),
    "a typo": ("bassl.pretrain.main", "config.TRAINER.max_epoch=3"),
}
IMPORTS = "import torch, torchvision, pytorch_lightning"


def run(settings: Settings) -> list[Row]:
    """Time each command; the reference's way imports everything before it reads the command line."""
    rows = []
    for work, arguments in list(COMMANDS.items())[settings.pick(quick=-1, full=0) :]:
        sides = {
            "ours": partial(run_python, "-m", *arguments, threads=1),
            "imports": partial(run_python, "-c", IMPORTS, threads=1),
        }
        ours, imports = map(statistics.median, in_turns(sides, settings, warm_up=False).values())
        row = Row(
            work,
            "s",
            ours,
            reference=ours + imports,
            ratio=(ours + imports) / ours,
            goal=f"{LIMIT:g} s or less",
            reached=ours <= LIMIT,
            note="reference's way: the same after importing torch, torchvision and Lightning",
        )
        rows.append(row)
    return rows

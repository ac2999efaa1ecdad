"""The wait for --help and for the answer to a typo."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time

from benchmarks.measure import ROOT, Row, Settings

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
        rounds = range(settings.pick(quick=1, full=5))
        pairs = [(_seconds("-m", *arguments), _seconds("-c", IMPORTS)) for _ in rounds]
        ours, imports = (statistics.median(side) for side in zip(*pairs, strict=True))
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


def _seconds(*arguments: str) -> float:
    """Return the wall seconds of a Python process, whatever its exit status."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, check=False)
    return time.perf_counter() - start

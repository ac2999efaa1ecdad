"""How long a user waits for --help and for the answer to a typo."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.measure import Row, Settings

ROOT = Path(__file__).parents[1]
SECONDS = 2.0
ASKED = {
    "--help of pre-training": ("bassl.pretrain.main", "--help"),
    "--help of extraction": ("bassl.pretrain.extract_shot_repr", "--help"),
    "--help of fine-tuning": ("bassl.finetune.main", "--help"),
    "a typo": ("bassl.pretrain.main", "config.TRAINER.max_epoch=3"),
}
IMPORTS = "import torch, torchvision, pytorch_lightning"


def run(settings: Settings) -> list[Row]:
    """Wall seconds of each command; the reference's way imports everything before it looks at the command line."""
    rounds = settings.pick(quick=1, full=5)
    asked = dict(list(ASKED.items())[-1:]) if settings.quick else ASKED
    rows = []
    for work, (module, argument) in asked.items():
        pairs = [(seconds(["-m", module, argument]), seconds(["-c", IMPORTS])) for _ in range(rounds)]
        ours, imports = (statistics.median(side) for side in zip(*pairs, strict=True))
        reference = ours + imports
        note = "reference's way: the same after importing torch, torchvision and Lightning"
        rows.append(Row(work, "s", ours, reference, reference / ours, "2 s or less", ours <= SECONDS, None, note))
    return rows


def seconds(arguments: list[str]) -> float:
    """Wall seconds of a Python process with these arguments, whatever its exit status."""
    start = time.perf_counter()
    answered(arguments)
    return time.perf_counter() - start


def answered(arguments: list[str]) -> subprocess.CompletedProcess[str]:
    """A Python process with these arguments, in the repository, its output kept."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )

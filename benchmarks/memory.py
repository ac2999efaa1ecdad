"""Memory of a fine-tuning run over a feature store of MovieNet-SSeg's size: the real command, in its own process."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.material import (
    DIMENSION,
    FULL_FILMS,
    FULL_SHOTS,
    film_sizes,
    split_of,
    write_annotations,
    write_store,
)
from benchmarks.measure import Row, Settings

ROOT = Path(__file__).parents[1]
GIB = 2**30
LIMIT = 6.0  # GiB
STEPS = 3
EVALUATED = 2  # batches of the test films
WATCH = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)  # KiB
sys.exit(status)
"""
"""A small process in between: a child's peak counts from that of the process that starts it."""


@dataclass(frozen=True)
class Usage:
    """What a process took. resident: bytes at its peak; the exit status and what it said on stderr."""

    resident: int
    status: int
    said: str


def run(settings: Settings) -> list[Row]:
    """Peak resident memory of `bassl.finetune.main` on all 318 films, in GiB."""
    counts = settings.pick(quick=dict.fromkeys(FULL_FILMS, 1), full=FULL_FILMS)
    num_shots = settings.pick(quick=120, full=FULL_SHOTS)
    sizes = film_sizes(sum(counts.values()), num_shots)
    dimension = settings.pick(quick=32, full=DIMENSION)
    store = write_store(settings.folder / "features", sizes, dimension=dimension)
    test = counts["test"]
    for split, part in split_of(
        sizes, {"train": len(sizes) - test, "test": test}
    ).items():  # val too, so that all is read
        write_annotations(settings.folder / "data" / "anno" / f"anno.{split}.ndjson", part)
    usage = measured([sys.executable, "-m", "bassl.finetune.main", *arguments(settings)], settings)
    assert usage.status == 0, usage.said
    peak, table = usage.resident / GIB, num_shots * dimension * 4 / GIB
    note = (
        f"{len(store.num_shots)} films, {num_shots} shots, their features {table:.2f} GiB of it (float32); batches of "
        f"{settings.pick(16, 1024)}, {STEPS} steps and {EVALUATED} batches of test"
    )
    return [
        Row(
            "fine-tuning, resident memory", "GiB", peak, goal=f"{LIMIT:g} GiB or less", reached=peak <= LIMIT, note=note
        )
    ]


def arguments(settings: Settings) -> list[str]:
    """The command line: a few steps at the default batch size."""
    small = [
        "config.TRAIN.BATCH_SIZE.effective_batch_size=16",
        "config.MODEL.contextual_relation_network.params.trn.hidden_size=32",
        "config.MODEL.contextual_relation_network.params.trn.intermediate_size=64",
    ]
    return [
        *(small if settings.quick else []),
        f"config.FEATURE_PATH={settings.folder / 'features'}",
        f"config.DATA_PATH={settings.folder / 'data'}",
        f"config.CKPT_PATH={settings.folder / 'ckpt'}",
        f"config.LOG_PATH={settings.folder / 'logs'}",
        f"config.TRAINER.limit_train_batches={STEPS}",
        f"config.TRAINER.limit_val_batches={EVALUATED}",
        f"config.TRAINER.accelerator={settings.device.type}",
        "config.TRAINER.max_epochs=1",
        "config.TRAINER.progress_bar=false",
        "config.SEED=0",
    ]


def measured(command: list[str], settings: Settings) -> Usage:
    """Run a command in the repository and say what it took at its peak."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(settings.threads)}
    done = subprocess.run(
        [sys.executable, "-c", WATCH, *command], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    return Usage(int(done.stdout.split()[-1]) * 1024, done.returncode, done.stderr)

"""Memory of fine-tuning on a feature store of MovieNet-SSeg's size: the real command, in its own process."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from itertools import islice

from benchmarks.data import DIMENSION, FULL_FILMS, FULL_SHOTS, TEST_FILMS, film_sizes, write_annotations, write_store
from benchmarks.measure import Row, Settings, run_python

GIB = 2**30
LIMIT = 6.0  # GiB
STEPS, TEST_BATCHES = 3, 2
WATCH = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)  # KiB
sys.exit(status)
"""
"""A small process in between: a child's peak starts from that of the process that starts it."""


@dataclass(frozen=True)
class Usage:
    """Peak resident bytes of a process, its exit status and its stderr."""

    resident: int
    status: int
    stderr: str


def run(settings: Settings) -> list[Row]:
    """Return the peak resident memory of `bassl.finetune.main` on all 318 films, in GiB."""
    num_films, num_test = settings.pick(quick=(3, 1), full=(FULL_FILMS, TEST_FILMS))
    num_shots = settings.pick(quick=120, full=FULL_SHOTS)
    sizes = film_sizes(num_films, num_shots)
    dimension = settings.pick(quick=32, full=DIMENSION)
    write_store(settings.folder / "features", sizes, dimension=dimension)
    films = iter(sizes.items())
    for split, count in (("train", num_films - num_test), ("test", num_test)):  # val too, so that all is read
        write_annotations(settings.folder / "data" / "anno" / f"anno.{split}.ndjson", dict(islice(films, count)))
    usage = measure([sys.executable, "-m", "bassl.finetune.main", *_overrides(settings)], settings)
    assert usage.status == 0, usage.stderr
    peak, features = usage.resident / GIB, num_shots * dimension * 4 / GIB
    note = (
        f"{num_films} films, {num_shots} shots, their features {features:.2f} GiB of it (float32); batches of "
        f"{settings.pick(16, 1024)}, {STEPS} steps and {TEST_BATCHES} batches of test"
    )
    goal = f"{LIMIT:g} GiB or less"
    return [Row("fine-tuning, resident memory", "GiB", peak, goal=goal, reached=peak <= LIMIT, note=note)]


def measure(command: list[str], settings: Settings) -> Usage:
    """Run a command in the repository."""
    done = run_python("-c", WATCH, *command, threads=settings.threads)
    return Usage(int(done.stdout.split()[-1]) * 1024, done.returncode, done.stderr)


def _overrides(settings: Settings) -> list[str]:
    """Return the settings of a few steps at the default batch size."""
    small = [
        "config.TRAIN.BATCH_SIZE.effective_batch_size=16",
        "config.MODEL.contextual_relation_network.params.trn.hidden_size=32",
        "config.MODEL.contextual_relation_network.params.trn.intermediate_size=64",
    ]
    return [
        *settings.training_overrides,
        *(small if settings.quick else []),
        f"config.FEATURE_PATH={settings.folder / 'features'}",
        f"config.TRAINER.limit_train_batches={STEPS}",
        f"config.TRAINER.limit_val_batches={TEST_BATCHES}",
        "config.TRAINER.max_epochs=1",
    ]

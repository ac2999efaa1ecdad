"""Fine-tuning through its entry point, Lightning included, beside the bare loop that `finetune_epoch` times."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Sequence

import torch

from bassl.config.load import load
from bassl.finetune.train import finetune
from benchmarks.data import write_annotations
from benchmarks.feeding import Films
from benchmarks.finetune_epoch import epoch, num_windows, prepare, scorer
from benchmarks.measure import Row, Settings, in_turns

EPOCHS = (1, 3)
"""Of a short and a long run. Their difference is epochs alone, without start and final evaluation."""
TEST_SHOTS = 20


def run(settings: Settings) -> list[Row]:
    """Time milliseconds per window; the ratio is the share of the bare loop."""
    films, model = prepare(settings), scorer(settings)
    overrides = command(settings, films)
    few, many = EPOCHS
    fine_tune(overrides, few)  # imports what the first run alone does
    sides = {
        "loop": lambda: epoch(model, films, settings, torch.float32),
        "few": lambda: fine_tune(overrides, few),
        "many": lambda: fine_tune(overrides, many),
    }
    seconds = in_turns(sides, settings, rounds=3, warm_up=False)
    entry = [(long - short) / (many - few) for short, long in zip(seconds["few"], seconds["many"], strict=True)]
    return [beside_the_loop(entry, seconds["loop"], num_windows(films))]


def command(settings: Settings, films: Films) -> list[str]:
    """Return the settings of a run over the same windows in 32 bit, which scores a few of them at its end."""
    data = settings.folder / "data"
    write_annotations(data / "anno" / "anno.test.ndjson", {films.rows.films[0]: TEST_SHOTS})
    shutil.copy(settings.folder / "anno.ndjson", data / "anno" / "anno.train.ndjson")
    crn = scorer(settings).crn
    assert crn is not None
    sizes = "config.MODEL.contextual_relation_network.params.trn"
    return [
        *settings.training_overrides,
        f"config.FEATURE_PATH={settings.folder / 'features'}",
        f"{sizes}.hidden_size={crn.hidden_dim}",
        f"{sizes}.intermediate_size={crn.intermediate_dim}",
        f"config.TRAIN.BATCH_SIZE.effective_batch_size={films.batch_size}",
        "config.TRAINER.precision=32",
        f"config.TEST.VAL_FREQ={max(EPOCHS) + 1}",
    ]


def fine_tune(overrides: Sequence[str], num_epochs: int) -> None:
    """Run so many epochs, with start and evaluation."""
    finetune(load("finetune", [*overrides, f"config.TRAINER.max_epochs={num_epochs}"]))


def beside_the_loop(entry: Sequence[float], loop: Sequence[float], count: int) -> Row:
    """Return the row of an epoch of `count` windows, in seconds through the entry and in the bare loop before it.

    The first is a difference of two runs. On a busy machine it may be 0 or less; there is no ratio then.
    """
    ours, floor = (1e3 * statistics.median(seconds) / count for seconds in (entry, loop))
    share = statistics.median(bare / whole for bare, whole in zip(loop, entry, strict=True)) if min(entry) > 0 else None
    result = "measure again on a quiet machine" if share is None else f"{100 * (1 - share):.0f} % are not the loop's"
    note = f"{result}: Lightning, schedule, checks, slices of a batch, a checkpoint an epoch; ratio: share of the bare loop (floor)"
    return Row("epoch of fine-tuning through its entry", "ms a window", ours, ratio=share, floor=floor, note=note)

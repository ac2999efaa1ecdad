"""Fine-tuning through its real entry, Lightning and all, beside the bare loop that `finetune_epoch` times."""

from __future__ import annotations

import shutil
import statistics
from collections.abc import Sequence

import torch
from bassl.config.entry import plain
from bassl.config.resolve import resolve_finetune

from bassl.config.load import load
from bassl.finetune.train import finetune
from benchmarks.finetune_epoch import Material, epoch, prepared, scorer
from benchmarks.material import write_annotations
from benchmarks.measure import Row, Settings, in_turns

EPOCHS = (1, 3)
"""Of a short and a long run: between them lie epochs alone, without the start and the evaluation at the end."""
TEST_SHOTS = 20


def run(settings: Settings) -> list[Row]:
    """Milliseconds a window; the ratio is the share that the bare loop has in them."""
    material, model = prepared(settings), scorer(settings)
    overrides = command(settings, material)
    few, many = EPOCHS
    fine_tune(overrides, few)  # what the first run alone imports
    sides = {
        "loop": lambda: epoch(model, material, settings, torch.float32),
        "few": lambda: fine_tune(overrides, few),
        "many": lambda: fine_tune(overrides, many),
    }
    seconds = in_turns(sides, settings, rounds=settings.pick(quick=1, full=3), warm_up=False)
    entry = [(long - short) / (many - few) for short, long in zip(seconds["few"], seconds["many"], strict=True)]
    return [compared_with_loop(entry, seconds["loop"], material.num_windows)]


def command(settings: Settings, material: Material) -> list[str]:
    """The overrides of a run over the same windows in 32 bit, which scores a few of them when it ends."""
    data = settings.folder / "data"
    write_annotations(data / "anno" / "anno.test.ndjson", {material.rows.films[0]: TEST_SHOTS})
    shutil.copy(settings.folder / "anno.ndjson", data / "anno" / "anno.train.ndjson")
    crn = scorer(settings).crn
    assert crn is not None
    sizes = "config.MODEL.contextual_relation_network.params.trn"
    return [
        f"config.DATA_PATH={data}",
        f"config.FEATURE_PATH={settings.folder / 'features'}",
        f"config.CKPT_PATH={settings.folder / 'ckpt'}",
        f"config.LOG_PATH={settings.folder / 'logs'}",
        f"{sizes}.hidden_size={crn.hidden_dim}",
        f"{sizes}.intermediate_size={crn.intermediate_dim}",
        f"config.TRAIN.BATCH_SIZE.effective_batch_size={material.batch_size}",
        f"config.TRAINER.accelerator={settings.device.type}",
        "config.DISTRIBUTED.NUM_PROC_PER_NODE=1",
        "config.TRAINER.precision=32",
        "config.TRAINER.progress_bar=false",
        f"config.TEST.VAL_FREQ={max(EPOCHS) + 1}",
        "config.SEED=0",
    ]


def fine_tune(overrides: Sequence[str], num_epochs: int) -> None:
    """A whole run of so many epochs."""
    config = load("finetune", [*overrides, f"config.TRAINER.max_epochs={num_epochs}"])
    finetune(resolve_finetune(config), plain(config))


def compared_with_loop(entry: Sequence[float], loop: Sequence[float], num_windows: int) -> Row:
    """The row of an epoch's seconds, each time through the entry and in the bare loop right before.

    On a busy machine an epoch through the entry, a difference of two runs, may seem to take no time; then there is no ratio.
    """
    ours, floor = (1e3 * statistics.median(seconds) / num_windows for seconds in (entry, loop))
    share = statistics.median(bare / whole for bare, whole in zip(loop, entry, strict=True)) if min(entry) > 0 else None
    said = "measure again on a quiet machine" if share is None else f"{100 * (1 - share):.0f} % are not the loop's"
    note = f"{said}: Lightning, schedule, guard, slices of a batch, a checkpoint an epoch; ratio: share of the bare loop (floor)"
    return Row("epoch of fine-tuning through its entry", "ms a window", ours, ratio=share, floor=floor, note=note)

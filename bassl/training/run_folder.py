"""What an earlier run of the same name left in a run's folders: nothing that was trained is lost."""

from __future__ import annotations

import itertools
import logging
import time
from dataclasses import dataclass
from pathlib import Path

from bassl.config.paths import output_folders, run_name
from bassl.config.schema import Finetune, Pretrain
from bassl.errors import InputError
from bassl.model.checkpoint import read_checkpoint
from bassl.model.checkpoint_names import BEST, LAST

log = logging.getLogger(__name__)
RECORDS = ("config*.json", "environment*.json", "events.out.tfevents.*", "broken_keyframes.txt")
"""What a run adds to, or writes into each of its folders, so that it would be mixed with what lies there."""


@dataclass(frozen=True)
class RunFolder:
    """Name and folders of a run; a dry run writes to neither."""

    name: str
    checkpoints: Path
    logs: Path
    dry_run: bool


def run_folder(config: Pretrain | Finetune, *, job: str) -> RunFolder:
    """Return the folders of a training run or evaluation; `job` is "pretrain" or "finetune"."""
    name = run_name(config)
    checkpoints, logs = output_folders(config, job, name)
    return RunFolder(name=name, checkpoints=checkpoints, logs=logs, dry_run=config.DRY_RUN)


def is_resume(run: RunFolder, resume: Path | None) -> bool:
    """Whether a run goes on from the last checkpoint of its own folder, whose files are then its own."""
    last = run.checkpoints / LAST
    return resume is not None and last.is_file() and last.samefile(resume)


def archive_previous_run(run: RunFolder, resume: Path | None = None) -> None:
    """Rename what the run would overwrite, unless it goes on here; the checkpoint that it resumes stays in place.

    Checkpoints are called `earlier-<time>.ckpt` afterwards; the records of a run lie in a folder `earlier-<time>`.

    Raises InputError, before anything is renamed, where a checkpoint lies there that is not ours.
    """
    if is_resume(run, resume):
        return
    for path in sorted(run.checkpoints.glob("[!.]*.ckpt")):
        if _is_foreign(path):
            raise InputError(
                f"{path} was not saved by a run of this program, and this run would overwrite the config.json that "
                f"describes it; set config.EXPR_NAME to another name than {run.name}"
            )
    for path in (run.checkpoints / LAST, run.checkpoints / BEST):
        if not path.is_file() or (resume is not None and path.samefile(resume)):
            continue
        part = "" if path.name == LAST else f"-{path.stem}"
        kept = _free_name(run.checkpoints, path, f"{part}.ckpt")
        path.rename(kept)
        log.info(
            "%s exists from an earlier run; kept as %s (config.RESUME=true would have gone on from it)", path, kept.name
        )
    for folder in {run.checkpoints, run.logs}:
        _keep_records(folder)


def _keep_records(folder: Path) -> None:
    found = [path for pattern in RECORDS for path in sorted(folder.glob(pattern))]
    if not found:
        return
    kept = _free_name(folder, max(found, key=lambda path: path.stat().st_mtime), "")
    kept.mkdir()
    for path in found:
        path.rename(kept / path.name)
    log.info("what an earlier run wrote down in %s is kept in %s", folder, kept.name)


def _is_foreign(path: Path) -> bool:
    """Whether a file can be read as a checkpoint and does not say itself, as ours do, how its model is built."""
    try:
        return "bassl" not in read_checkpoint(path).metadata
    except InputError:
        return False


def _free_name(folder: Path, dated: Path, ending: str) -> Path:
    """`earlier-<time of the dated file><ending>` below folder, with a number where that is taken."""
    stamp = time.strftime("%Y%m%d-%H%M%S", time.localtime(dated.stat().st_mtime))
    numbers = itertools.chain([""], (f"-{number}" for number in itertools.count(2)))
    names = (folder / f"earlier-{stamp}{number}{ending}" for number in numbers)
    return next(name for name in names if not name.exists())

"""What an earlier run of the same name left in a run's folders: nothing that was trained is lost."""

from __future__ import annotations

import itertools
import logging
import time
from pathlib import Path

from bassl.config.plan import RunPlan
from bassl.errors import InputError
from bassl.model import BEST, LAST
from bassl.model.checkpoint import read_checkpoint

log = logging.getLogger(__name__)
RECORDS = ("config*.json", "environment*.json", "events.out.tfevents.*", "broken_keyframes.txt")
"""What a run adds to, or writes into each of its folders, so that it would be mixed with what lies there."""


def goes_on_here(run: RunPlan, resume: Path | None) -> bool:
    """Whether a run goes on from the last checkpoint of its own folder, whose files are then its own."""
    last = run.checkpoint_folder / LAST
    return resume is not None and last.is_file() and last.samefile(resume)


def keep_earlier(run: RunPlan, resume: Path | None = None) -> None:
    """Rename what the run would overwrite, unless it goes on here; the checkpoint that it resumes stays in place.

    Checkpoints are called `earlier-<time>.ckpt` afterwards; the records of a run lie in a folder `earlier-<time>`.

    Raises InputError, before anything is renamed, where a checkpoint lies there that is not ours.
    """
    if goes_on_here(run, resume):
        return
    for path in sorted(run.checkpoint_folder.glob("[!.]*.ckpt")):
        if _is_foreign(path):
            raise InputError(
                f"{path} was not saved by a run of this program, and this run would overwrite the config.json that "
                f"describes it; set config.EXPR_NAME to another name than {run.name}"
            )
    for path in (run.checkpoint_folder / LAST, run.checkpoint_folder / BEST):
        if not path.is_file() or (resume is not None and path.samefile(resume)):
            continue
        part = "" if path.name == LAST else f"-{path.stem}"
        kept = _free_name(run.checkpoint_folder, path, f"{part}.ckpt")
        path.rename(kept)
        log.info(
            "%s exists from an earlier run; kept as %s (config.RESUME=true would have gone on from it)", path, kept.name
        )
    for folder in {run.checkpoint_folder, run.log_folder}:
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

"""Download MovieNet into `bassl/data/movienet`: `python3 -m bassl.download.main` (standard library only).

An interrupted command can be repeated: it resumes, and skips what is finished. Below the target, `.download/` holds
archives on their way, `finished.json` and a lock. An archive is unpacked into `.unpacking-*`, which is renamed to
`.unpacked-*` once it is complete and then moved to its place.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TextIO

from bassl import files
from bassl.console import setup_logging
from bassl.download.archive import is_archive, merge, unpack
from bassl.download.fetch import DownloadError, RetryPolicy, fetch, partial_bytes, probe
from bassl.download.sources import FOLDERS, WHERE, Item, list_items
from bassl.errors import InputError

logger = logging.getLogger(__name__)

TARGET = Path(__file__).resolve().parents[1] / "data" / "movienet"
PLAIN_FILES = (".ndjson", ".json", ".txt")  # served without an archive around them
ANNOTATIONS = (
    *(f"anno.{part}.ndjson" for part in ("pretrain", "trainvaltest", "train", "val", "test")),
    "vid2idx.json",
)
RESERVE = 1 << 27  # bytes of a disk that stay free


def download(items: Sequence[Item], target: Path, policy: RetryPolicy, *, keep_archives: bool = False) -> None:
    """Fetch, verify and unpack each item below `target`; finished ones are skipped.

    Raises DownloadError if network, server or file fail, InputError if room, archive or layout are wrong, OSError from
    the disk.
    """
    (target / ".download").mkdir(parents=True, exist_ok=True)
    progress = Progress(sys.stderr)
    with _lock(target):
        pending = [item for item in items if not _is_finished(item, target)]
        _check_room(pending, target, policy, keep_archives)
        for item in pending:
            _place_item(item, target, policy, progress, keep_archives)
        logger.info("%d of %d files were finished before", len(items) - len(pending), len(items))
    _check_layout({item.folder for item in items}, target)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0: done. 1: network, server or disk failed, try again. 2: a setting or archive is wrong."""
    setup_logging()
    arguments = _parser().parse_args(argv)
    policy = RetryPolicy(arguments.timeout, arguments.retries)
    try:
        items = list_items(vars(arguments), arguments.sources, os.environ)
        files.refuse_unwritable(arguments.target, "--target")
        download(items, arguments.target, policy, keep_archives=arguments.keep_archives)
    except (InputError, OSError) as error:
        hint = "; correct this, and the same command resumes" if isinstance(error, OSError) else ""
        logger.error("error: %s%s", error, hint)
        return 1 if isinstance(error, (DownloadError, OSError)) else 2
    except KeyboardInterrupt:
        logger.error("stopped; the same command resumes")
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="download_movienet_data.sh",
        description="Download MovieNet: key-frames (160 GB), annotations (200 MB), scene318.\n"
        "An interrupted command can be repeated. An address may end in #sha256=<hex>&size=<bytes>, to be checked.",
        epilog=WHERE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    for part, folder in FOLDERS.items():
        text = f"tar, tar.gz or zip for {folder}/; can be repeated (default: BASSL_{part.upper()}_URL)"
        add(f"--{part}", metavar="URL", action="append", help=text)
    add("--sources", type=Path, metavar="FILE", help='JSON: {"keyframes": [URL, ...], ...}')
    add("--target", type=Path, default=TARGET, metavar="FOLDER", help="default: %(default)s")
    add("--keep-archives", action="store_true", help="do not delete what has been unpacked")
    add("--retries", type=int, default=5, help="failed attempts in a row; default: %(default)s")
    add("--timeout", type=float, default=60.0, help="seconds without a byte; default: %(default)s")
    return parser


def _lock(target: Path) -> AbstractContextManager[None]:
    """Hold the target for this process, where filelock is installed already: it comes with torch."""
    if find_spec("filelock") is None:
        logger.warning("filelock is not installed; make sure that no other download into %s runs", target)
        return nullcontext()
    return files.lock_folder(target / ".download", f"another download into {target} is running; wait for it", "lock")


def _check_room(pending: Sequence[Item], target: Path, policy: RetryPolicy, keep_archives: bool) -> None:
    """Raise InputError if the disks cannot hold the archives and what is in them."""
    # 1. bytes to fetch, and bytes to unpack by folder (key-frames hardly compress)
    to_fetch, to_unpack = [0], dict.fromkeys(FOLDERS.values(), 0)
    for item in pending:
        archive = target / ".download" / item.name
        arrived = partial_bytes(archive)
        size = arrived if archive.exists() else probe(item.source, policy).size or item.source.size or arrived
        to_fetch.append(max(size - arrived, 0))
        to_unpack[item.folder] += size
        logger.info("%s: %s for %s", item.source.url, format_bytes(size), item.folder)

    # 2. sums by disk
    needed = [(target, sum(to_fetch) if keep_archives else max(to_fetch))]
    needed += [(target / folder, size) for folder, size in to_unpack.items()]
    disks: dict[int, int] = {}
    for path, size in needed:
        place = next(place for place in (path, *path.resolve().parents) if place.exists())
        disk = place.stat().st_dev
        disks[disk] = disks.get(disk, RESERVE) + size
        if size and disks[disk] > (free := shutil.disk_usage(place).free):
            raise InputError(
                f"{path} needs {format_bytes(disks[disk])} on its disk for archives and what is in them, "
                f"but has {format_bytes(free)}; make room or choose another folder with --target"
            )


def _place_item(item: Item, target: Path, policy: RetryPolicy, progress: Progress, keep_archives: bool) -> None:
    """Fetch an item, unpack it beside its place, move it there and record that it is finished."""
    folder, archive = target / item.folder, target / ".download" / item.name
    staging, unpacked = folder / f".unpacking-{item.name}", folder / f".unpacked-{item.name}"
    folder.mkdir(exist_ok=True)
    if not unpacked.is_dir():
        fetch(item.source, archive, policy, progress.start(f"fetching {item.name}"))
        if is_archive(archive):
            room = shutil.disk_usage(folder).free - RESERVE
            report = progress.start(f"unpacking {item.name}")
            try:
                num_files = unpack(archive, staging, folder=item.folder, max_bytes=room, report=report)
            except InputError:
                shutil.rmtree(staging, ignore_errors=True)
                raise
            logger.info("%d files for %s", num_files, folder)
        else:
            name = _plain_name(item, archive)
            staging.mkdir(exist_ok=True)
            os.replace(archive, staging / name)
        os.replace(staging, unpacked)
    merge(unpacked, folder)
    finished = {**_read_finished(target), item.source.url: asdict(item.source)}
    files.write_json(target / ".download" / "finished.json", finished)
    if not keep_archives:
        archive.unlink(missing_ok=True)


def _plain_name(item: Item, path: Path) -> str:
    """Return the name of a file that is not an archive. Raises InputError for a web page and the like."""
    name = item.name.partition("-")[2]
    if not name.endswith(PLAIN_FILES):
        with path.open("rb") as file:
            start = file.read(40)
        path.unlink()
        raise InputError(
            f"{item.source.url} gave no archive but something that begins with {start!r}; "
            "if that is a web page, look there for the address of the file itself"
        )
    return name


def _read_finished(target: Path) -> dict[str, Any]:
    """Return the finished items by address."""
    try:
        finished = json.loads((target / ".download" / "finished.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return finished if isinstance(finished, dict) else {}


def _is_finished(item: Item, target: Path) -> bool:
    before, now = _read_finished(target).get(item.source.url), asdict(item.source)
    # a size or digest that was not checked before is to be checked
    is_same = isinstance(before, dict) and all(now[key] in (None, before.get(key)) for key in now)
    return is_same and (target / item.folder).is_dir()


def _check_layout(folders: set[str], target: Path) -> None:
    """Raise InputError if key-frames lie elsewhere than expected; log what is missing."""
    keyframes = target / FOLDERS["keyframes"]
    if keyframes.name in folders and next(keyframes.glob("*/shot_*_img_*.jpg"), None) is None:
        names = sorted(path.name for path in keyframes.iterdir())[:3]
        raise InputError(
            f"{keyframes} has no <film>/shot_0000_img_0.jpg but {names}: the archive has another layout; "
            "move the folders of the films up"
        )
    missing = [name for name in ANNOTATIONS if not (target / "anno" / name).exists()]
    if "anno" in folders and missing:
        logger.warning("not in the downloaded archives: %s in %s", ", ".join(missing), target / "anno")
    absent = [folder for folder in FOLDERS.values() if not (target / folder).is_dir()]
    if absent:
        logger.warning("still missing below %s: %s\n%s", target, ", ".join(absent), WHERE)
    logger.info("the data is in %s", target)


class Progress:
    """Report bytes done, rate and time left: on a terminal in one line, elsewhere in a line every 30 seconds."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self.stream, self.clock = stream, clock

    def start(self, name: str) -> Callable[[int, int | None], None]:
        """Return a function to call with bytes done and bytes in total, None if unknown."""
        is_terminal = self.stream.isatty()
        start, due, first = self.clock(), 0.0, -1

        def report(done: int, total: int | None) -> None:
            nonlocal due, first
            now = self.clock()
            first = done if first < 0 else first
            if due == float("inf") or (now < due and done != total):
                return
            due = float("inf") if done == total else now + (0.2 if is_terminal else 30.0)
            rate = (done - first) / (now - start) if now > start else 0.0
            line = format_progress(name, done, total, rate)
            # on a terminal the cursor returns to the left end, where the next line is written
            is_open = is_terminal and done != total
            self.stream.write((line.ljust(78) if is_terminal else line) + ("\r" if is_open else "\n"))
            self.stream.flush()

        return report


def format_bytes(count: float) -> str:
    """Format bytes in decimal units: 1500000 -> `1.5 MB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def format_progress(name: str, done: int, total: int | None, rate: float) -> str:
    """Format a line of progress; `rate` in bytes per second."""
    if total is None:
        return f"{name}  {format_bytes(done)}  {format_bytes(rate)}/s"
    line = f"{name}  {format_bytes(done)} of {format_bytes(total)}  {100 * done // max(total, 1)} %"
    if rate > 0 and done < total:
        minutes, seconds = divmod(round((total - done) / rate), 60)
        left = f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {seconds} s"
        line += f"  {format_bytes(rate)}/s  {left} left"
    return line


if __name__ == "__main__":
    sys.exit(main())

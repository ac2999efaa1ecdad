"""Download MovieNet into `bassl/data/movienet`: `python3 -m bassl.download.main` (standard library only).

Can be stopped and called again at any time: what has arrived is kept, what is finished is skipped. Below the
target, `.download/` holds archives on their way, `finished.json` and a lock. An archive is unpacked into a
folder `.unpacking-*`, which is called `.unpacked-*` once it is whole and then moved to its place by renaming.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bassl.console import setup_logging
from bassl.download.addresses import FOLDERS, WHERE, Item, list_items
from bassl.download.archive import is_archive, merge, unpack
from bassl.download.fetch import DownloadError, Patience, fetch, partial_bytes, probe
from bassl.download.progress import Progress, format_bytes
from bassl.errors import InputError
from bassl.files import lock_folder, refuse_unwritable

logger = logging.getLogger(__name__)

TARGET = Path(__file__).resolve().parents[1] / "data" / "movienet"
PLAIN_FILES = (".ndjson", ".json", ".txt")  # served without an archive around them
ANNOTATIONS = (
    *(f"anno.{part}.ndjson" for part in ("pretrain", "trainvaltest", "train", "val", "test")),
    "vid2idx.json",
)
RESERVE = 1 << 27  # bytes of a disk that are left alone


def download(items: Sequence[Item], target: Path, patience: Patience, *, keep_archives: bool = False) -> None:
    """Fetch, check and unpack each item below `target`, one after another; what is finished is skipped.

    Raises DownloadError where network, server or their file fails, InputError where the room, the archive or
    its layout is wrong, OSError from the disk.
    """
    state = target / ".download"
    state.mkdir(parents=True, exist_ok=True)
    progress = Progress(sys.stderr)
    with lock_folder(state, f"another download into {target} is running; wait until it ends", name="lock"):
        pending = [item for item in items if not _is_finished(item, target)]
        _check_room(pending, target, patience, keep_archives)
        for item in pending:
            _bring(item, target, patience, progress, keep_archives)
        logger.info("%d of %d files were finished before", len(items) - len(pending), len(items))
    _check_layout({item.folder for item in items}, target)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0: done. 1: network, server or disk failed, try again. 2: a setting or archive is wrong."""
    setup_logging()
    arguments = _parser().parse_args(argv)
    patience = Patience(arguments.timeout, arguments.retries)
    try:
        items = list_items(vars(arguments), arguments.sources, os.environ)
        refuse_unwritable(arguments.target, "--target")
        download(items, arguments.target, patience, keep_archives=arguments.keep_archives)
    except DownloadError as error:
        logger.error("error: %s", error)
        return 1
    except OSError as error:
        logger.error("error: %s; see to it, and the same command goes on from here", error)
        return 1
    except InputError as error:
        logger.error("error: %s", error)
        return 2
    except KeyboardInterrupt:
        logger.error("stopped; the same command goes on from here")
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="download_movienet_data.sh",
        description="Download MovieNet: key-frames (160 GB), annotations (200 MB), scene318.\n"
        "Can be stopped and called again. An address may end in #sha256=<hex>&size=<bytes>, to be checked.",
        epilog=WHERE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for kind, folder in FOLDERS.items():
        parser.add_argument(
            f"--{kind}",
            metavar="URL",
            action="append",
            help=f"tar, tar.gz or zip for {folder}/; can be repeated (else BASSL_{kind.upper()}_URL)",
        )
    parser.add_argument("--sources", type=Path, metavar="FILE", help='JSON: {"keyframes": [URL, ...], ...}')
    parser.add_argument("--target", type=Path, default=TARGET, metavar="FOLDER", help="default: %(default)s")
    parser.add_argument("--keep-archives", action="store_true", help="do not delete what has been unpacked")
    parser.add_argument("--retries", type=int, default=5, help="attempts without a byte, default %(default)s")
    parser.add_argument("--timeout", type=float, default=60.0, help="seconds without a byte, default %(default)s")
    return parser


def _check_room(pending: Sequence[Item], target: Path, patience: Patience, keep_archives: bool) -> None:
    rest, whole = [0], dict.fromkeys(FOLDERS.values(), 0)
    for item in pending:
        archive = target / ".download" / item.name
        arrived = partial_bytes(archive)
        size = arrived
        if not archive.exists():
            size = probe(item.source, patience).size or item.source.size or arrived
        rest.append(max(size - arrived, 0))
        whole[item.folder] += size
        logger.info("%s: %s for %s", item.source.url, format_bytes(size), item.folder)
    needed = [(target, sum(rest) if keep_archives else max(rest))]
    needed += [(target / folder, size) for folder, size in whole.items()]  # key-frames hardly compress
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


def _bring(item: Item, target: Path, patience: Patience, progress: Progress, keep_archives: bool) -> None:
    folder, archive = target / item.folder, target / ".download" / item.name
    staging, unpacked = folder / f".unpacking-{item.name}", folder / f".unpacked-{item.name}"
    folder.mkdir(exist_ok=True)
    if not unpacked.is_dir():
        fetch(item.source, archive, patience, progress.of(f"fetching {item.name}"))
        if is_archive(archive):
            room = shutil.disk_usage(folder).free - RESERVE
            report = progress.of(f"unpacking {item.name}")
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
    _write_json(_ledger(target), {**_finished(target), item.source.url: asdict(item.source)})
    if not keep_archives:
        archive.unlink(missing_ok=True)


def _plain_name(item: Item, path: Path) -> str:
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


def _ledger(target: Path) -> Path:
    return target / ".download" / "finished.json"


def _finished(target: Path) -> dict[str, Any]:
    try:
        found = json.loads(_ledger(target).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_finished(item: Item, target: Path) -> bool:
    before = _finished(target).get(item.source.url)
    now = asdict(item.source)
    return (
        isinstance(before, dict)
        and all(now[key] in (None, before.get(key)) for key in now)  # a check that was not made then is due
        and (target / item.folder).is_dir()
    )


def _write_json(path: Path, value: Any) -> None:
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(json.dumps(value, indent=1), encoding="utf-8")
    os.replace(fresh, path)


def _check_layout(folders: set[str], target: Path) -> None:
    keyframes = target / FOLDERS["keyframes"]
    if keyframes.name in folders and next(keyframes.glob("*/shot_*_img_*.jpg"), None) is None:
        found = sorted(path.name for path in keyframes.iterdir())[:3]
        raise InputError(
            f"{keyframes} has no <film>/shot_0000_img_0.jpg but {found}: the archive is laid out "
            "differently; move the folders of the films up"
        )
    missing = [name for name in ANNOTATIONS if not (target / "anno" / name).exists()]
    if "anno" in folders and missing:
        logger.warning("not among what was downloaded: %s in %s", ", ".join(missing), target / "anno")
    absent = [folder for folder in FOLDERS.values() if not (target / folder).is_dir()]
    if absent:
        logger.warning("still missing below %s: %s\n%s", target, ", ".join(absent), WHERE)
    logger.info("the data lies in %s", target)


if __name__ == "__main__":
    sys.exit(main())

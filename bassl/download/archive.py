"""Unpack an untrusted tar or zip archive: regular files and folders only, nothing outside the target folder.

Members are read one after another and written here, not by the archive library, so that links, devices, owners and
modes have no effect. A tar of millions of key-frames is never listed in memory.
"""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import os
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

from bassl.errors import InputError

CHUNK = 1 << 20
DISTRUST = "do not trust its origin"
MAX_FILES = 20_000_000  # MovieNet has 4.8 million key-frames
MAX_HEADER = 1 << 20  # bytes that a tar may state about one member beyond its 512-byte header
EXTENDED = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)
ODD_CHARACTER = re.compile(r"[\x00-\x1f\x7f\\]")
DAMAGE = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
    *(EOFError, LookupError, ValueError, ArithmeticError, RuntimeError),  # NotImplementedError is a RuntimeError
)
# a stream that is not bzip2, an offset before the file, a name that is file and folder, a name that is too long
ARCHIVE_FAULTS = (None, errno.EINVAL, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)
COMPRESSED: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}
ZIP = (b"PK\x03\x04", b"PK\x05\x06")


@dataclass(frozen=True)
class _Member:
    name: str
    size: int  # bytes, as the archive states them
    is_folder: bool
    open: Callable[[], IO[bytes]]


def is_archive(path: Path) -> bool:
    """Return whether a file begins like a zip or a (plain or compressed) tar, whatever its name."""
    with path.open("rb") as file:
        start = file.read(512)
    return start.startswith((*ZIP, *COMPRESSED)) or tarfile.is_tarfile(path)


def safe_parts(name: str) -> tuple[str, ...]:
    """Return the components of a member's name, `./a//b` -> ("a", "b").

    Raises InputError for a name that could lead out of a folder: absolute, with `..`, a drive letter, a backslash or a
    control character.
    """
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if name.startswith("/") or ".." in parts or re.match("[A-Za-z]:", name) or ODD_CHARACTER.search(name):
        raise InputError(f"its member {name!r} leads out of the target folder; {DISTRUST}")
    return parts


def unpack(
    archive: Path,
    target: Path,
    *,
    folder: str = "",
    max_bytes: int,
    max_files: int = MAX_FILES,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> int:
    """Unpack into `target` and return the number of files. Existing files of the right size are kept.

    Files appear one by one: move the folder to its place after unpack has returned.

    Args:
        archive: file to unpack.
        target: folder to make.
        folder: name of a component up to which members' names are dropped: `movienet/anno/a.json`, `anno/a.json` and
            `a.json` all become `<target>/a.json`.
        max_bytes: most bytes to write.
        max_files: most members.
        report: receives the bytes of the archive read so far, and in total.

    Raises:
        InputError: damage, a member that is not a regular file or folder or leads out, or more than the limits.
    """
    num_files = num_bytes = 0
    total = archive.stat().st_size
    target.mkdir(parents=True, exist_ok=True)
    try:
        with ExitStack() as stack:
            raw = stack.enter_context(archive.open("rb"))
            for num_members, member in enumerate(_read_members(raw, target, stack), 1):
                path = _place(member, target, folder)
                is_new = not member.is_folder and not (path.is_file() and path.stat().st_size == member.size)
                num_files += not member.is_folder
                num_bytes += member.size if is_new else 0
                if num_members > max_files or num_bytes > max_bytes:
                    raise InputError(
                        f"it unpacks to more than there is room for, {max_bytes} bytes in {max_files} files; "
                        f"make room, or {DISTRUST}"
                    )
                (path if member.is_folder else path.parent).mkdir(parents=True, exist_ok=True)
                if is_new:
                    _write(member, path)
                report(min(raw.tell(), total), total)
    except InputError as error:
        raise InputError(f"{archive} was not unpacked: {error}") from error
    except (OSError, *DAMAGE) as error:
        if isinstance(error, OSError) and error.errno not in ARCHIVE_FAULTS:
            raise
        raise InputError(f"{archive} is damaged or no archive ({error}); delete it and fetch it again") from error
    return num_files


def merge(source: Path, target: Path) -> None:
    """Move everything below `source` to the same place below `target` by renaming, and remove `source`."""
    for entry in list(os.scandir(source)):
        place = target / entry.name
        if entry.is_dir(follow_symlinks=False) and place.is_dir():
            merge(Path(entry.path), place)
        else:
            os.replace(entry.path, place)
    source.rmdir()


def _place(member: _Member, target: Path, folder: str) -> Path:
    parts = safe_parts(member.name)
    if folder in parts:
        parts = parts[parts.index(folder) + 1 :]
    if not parts and not member.is_folder:
        raise InputError(f"its member {member.name!r} is a file where a folder should be; {DISTRUST}")
    return target.joinpath(*parts)


def _write(member: _Member, path: Path) -> None:
    with member.open() as source, path.open("wb") as sink:
        shutil.copyfileobj(source, sink, CHUNK)
        written = sink.tell()
    if written != member.size:
        raise EOFError(f"{member.name!r} has {written} of {member.size} bytes")


def _read_members(raw: IO[bytes], target: Path, stack: ExitStack) -> Iterator[_Member]:
    start = raw.read(6)
    raw.seek(0)
    if start.startswith(ZIP):
        yield from _zip_members(stack.enter_context(zipfile.ZipFile(raw)))
        return
    opener = next((opener for magic, opener in COMPRESSED.items() if start.startswith(magic)), None)
    stream = stack.enter_context(opener(raw)) if opener else raw
    tar = tarfile.open(fileobj=stream, mode="r|", tarinfo=_Header)  # noqa: SIM115
    yield from _tar_members(stack.enter_context(tar), target)
    while stream.read(CHUNK):  # up to the checksum behind the last byte
        pass


def _zip_members(file: zipfile.ZipFile) -> Iterator[_Member]:
    for info in file.infolist():
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise InputError(f"its member {info.filename!r} is neither a file nor a folder; {DISTRUST}")
        if info.flag_bits & 1:
            raise InputError(f"its member {info.filename!r} is encrypted; unpack it yourself and pack it again")
        # orig_filename: as the archive states it, before the library corrects it
        yield _Member(info.orig_filename, info.file_size, info.is_dir(), partial(file.open, info))


def _tar_members(file: tarfile.TarFile, target: Path) -> Iterator[_Member]:
    while (info := file.next()) is not None:
        if not (info.isdir() or info.isreg()) or info.issparse():
            raise InputError(f"its member {info.name!r} is neither a file nor a folder; {DISTRUST}")
        safe_parts(info.name)
        if hasattr(tarfile, "data_filter"):
            tarfile.data_filter(info, str(target))  # a second opinion; raises a TarError
        yield _Member(info.name, info.size, info.isdir(), partial(_open_member, file, info))
        file.members = []  # type: ignore[attr-defined]  # or it keeps every header


def _open_member(file: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    content = file.extractfile(info)
    assert content is not None
    return content


class _Header(tarfile.TarInfo):
    """A header that accepts nothing but the end mark as the archive's end, and limits the memory asked for."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Header:
        try:
            header = super().frombuf(buf, encoding, errors)
        except tarfile.HeaderError as error:
            if len(buf) == tarfile.BLOCKSIZE and not any(buf):
                raise
            raise tarfile.ReadError(f"broken or missing header: {error}") from error
        if header.type in EXTENDED and header.size > MAX_HEADER:
            raise tarfile.ReadError(f"a header of {header.size} bytes")
        return header

"""Unpack a stranger's tar or zip archive: plain files and folders only, nothing outside the target folder.

Members are read one after another and written here, never by the archive library: links, devices, owners and
modes have no way in, and a tar of millions of key-frames is never listed in memory.
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
DISTRUST = "do not trust where it came from"
MAX_FILES = 20_000_000  # MovieNet has 4.8 million key-frames
MAX_HEADER = 1 << 20  # bytes; what a tar may say of one member beyond its 512-byte header
EXTENDED = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)
ODD_CHARACTER = re.compile(r"[\x00-\x1f\x7f\\]")
DAMAGE = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    NotImplementedError,
    IndexError,
    ValueError,
)
# a stream that is no bzip2, an offset before the file, a name that is file and folder, an endless name
ARCHIVE_FAULT = (None, errno.EINVAL, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)
COMPRESSED: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\x00": lzma.open,
}


@dataclass(frozen=True)
class _Member:
    name: str
    size: int  # bytes, as the archive states them
    is_folder: bool
    open: Callable[[], IO[bytes]]


def is_archive(path: Path) -> bool:
    """Whether a file begins like a zip or a (plain or compressed) tar; its name does not matter."""
    with path.open("rb") as file:
        start = file.read(512)
    return start.startswith((b"PK\x03\x04", b"PK\x05\x06", *COMPRESSED)) or tarfile.is_tarfile(path)


def safe_parts(name: str) -> tuple[str, ...]:
    """The components of a member's name, `./a//b` -> ("a", "b").

    Raises InputError for a name that could lead out of a folder: absolute, with `..`, a drive letter, a
    backslash or a control character.
    """
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if name.startswith("/") or ".." in parts or re.match("[A-Za-z]:", name) or ODD_CHARACTER.search(name):
        raise InputError(f"the name {name!r} in it leads out of the target folder; {DISTRUST}")
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
    """Unpack into `target` and return the number of files; a file there with the right size is kept.

    Files appear one by one: give the folder its name (`os.replace`, `merge`) after unpack has returned.
    Of a name that has `folder` as a component only what follows counts: `movienet/anno/a.json`, `anno/a.json`
    and `a.json` all become `<target>/a.json`. `report` gets the bytes of the archive read so far, and in all.
    Raises InputError for a member that is no plain file or folder, a name that leads out, damage, and more
    than `max_bytes` to write or `max_files` to make.
    """
    num_files = num_bytes = 0
    total = archive.stat().st_size
    target.mkdir(parents=True, exist_ok=True)
    try:
        with ExitStack() as stack:
            raw = stack.enter_context(archive.open("rb"))
            for num_members, member in enumerate(_members(raw, target, stack), 1):
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
    except OSError as error:
        if error.errno not in ARCHIVE_FAULT:
            raise
        raise _damaged(archive, error) from error
    except (*DAMAGE, RuntimeError) as error:
        raise _damaged(archive, error) from error
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


def _damaged(archive: Path, error: Exception) -> InputError:
    return InputError(f"{archive} is damaged or no archive ({error}); delete it and fetch it again")


def _place(member: _Member, target: Path, folder: str) -> Path:
    parts = safe_parts(member.name)
    if folder in parts:
        parts = parts[parts.index(folder) + 1 :]
    if not parts and not member.is_folder:
        raise InputError(f"{member.name!r} in it is a file where a folder should be; {DISTRUST}")
    return target.joinpath(*parts)


def _write(member: _Member, path: Path) -> None:
    with member.open() as source, path.open("wb") as sink:
        shutil.copyfileobj(source, sink, CHUNK)
        written = sink.tell()
    if written != member.size:
        raise EOFError(f"{member.name!r} has {written} of {member.size} bytes")


def _members(raw: IO[bytes], target: Path, stack: ExitStack) -> Iterator[_Member]:
    start = raw.read(6)
    raw.seek(0)
    if start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
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
            raise InputError(f"{info.filename!r} in it is neither a file nor a folder; {DISTRUST}")
        if info.flag_bits & 1:
            raise InputError(f"{info.filename!r} in it is encrypted; unpack it yourself and pack it again")
        # orig_filename: what the archive says, before the library mends it
        yield _Member(info.orig_filename, info.file_size, info.is_dir(), partial(file.open, info))


def _tar_members(file: tarfile.TarFile, target: Path) -> Iterator[_Member]:
    while (info := file.next()) is not None:
        if not (info.isdir() or info.isreg()) or info.issparse():
            raise InputError(f"{info.name!r} in it is neither a file nor a folder; {DISTRUST}")
        safe_parts(info.name)
        if hasattr(tarfile, "data_filter"):
            tarfile.data_filter(info, str(target))  # a second opinion; raises a TarError
        yield _Member(info.name, info.size, info.isdir(), partial(_content, file, info))
        file.members = []  # type: ignore[attr-defined]  # else it keeps every header it has seen


def _content(file: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    content = file.extractfile(info)
    assert content is not None
    return content


class _Header(tarfile.TarInfo):
    """A header that takes nothing for the archive's end but the end mark, and asks for no undue memory."""

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

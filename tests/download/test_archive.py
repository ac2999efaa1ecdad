"""Unpacking untrusted archives: complete, damaged and malicious ones."""

from __future__ import annotations

import io
import os
import random
import stat
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

from bassl.download.archive import is_archive, merge, unpack
from bassl.errors import InputError

FILES = {
    "movienet/anno/a.json": b"{}",
    "anno/b.json": b"",
    "c/d.json": random.Random(0).randbytes(20_000),
}
UNPACKED = {"a.json": b"{}", "b.json": b"", "c/d.json": FILES["c/d.json"]}
KINDS = ["tar", "tar.gz", "tar.bz2", "tar.xz", "zip"]
ROOM = 10**9


def pack(path: Path, files: dict[str, bytes]) -> Path:
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bundle:
            for name, data in files.items():
                bundle.writestr(name, data)
        return path
    kind = path.suffix[1:]
    with tarfile.open(path, "w" if kind == "tar" else f"w:{kind}") as bundle:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o6777
            bundle.addfile(info, io.BytesIO(data))
    return path


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_archive_unpacks_below_its_folder(tmp_path, kind):
    archive = pack(tmp_path / f"x.{kind}", FILES)
    reports = []
    out = tmp_path / "out"
    assert unpack(archive, out, folder="anno", max_bytes=ROOM, report=lambda *now: reports.append(now)) == 3
    assert content(out) == UNPACKED
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", f"x.{kind}"]
    assert reports == sorted(reports)
    assert [total for _, total in reports] == [archive.stat().st_size] * 3
    statuses = [path.stat() for path in out.rglob("*") if path.is_file()]
    assert {(status.st_uid, status.st_mode & 0o7111) for status in statuses} == {(os.getuid(), 0)}
    assert is_archive(archive.rename(tmp_path / "x.html"))


@pytest.mark.parametrize("start", [b"", b"<!DOCTYPE html>", b'{"video_id": "tt0000000"}\n', bytes(100)])
def test_other_files_are_no_archives(tmp_path, start):
    (tmp_path / "x.tar").write_bytes(start)
    assert not is_archive(tmp_path / "x.tar")


BAD_NAMES = ["../evil", "a/../../evil", "a/..", "/evil", "C:/evil", "c:evil", "a\\..\\..\\evil", "a\nb", "a\x1b[2J"]


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_name_that_leads_out_is_refused_and_nothing_lands_outside(tmp_path, kind, name):
    archive = pack(tmp_path / f"x.{kind}", {"good": b"1", name: b"evil"})
    with pytest.raises(InputError, match=r"leads out of the target folder; do not trust"):
        unpack(archive, tmp_path / "deep" / "out", max_bytes=ROOM)
    assert content(tmp_path / "deep") == {"out/good": b"1"}
    assert {path.name for path in tmp_path.iterdir()} == {"deep", archive.name}
    assert not Path("/evil").exists()


TAR_TYPES = [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, b"Z"]


@pytest.mark.parametrize("kind", [*TAR_TYPES, stat.S_IFLNK, stat.S_IFCHR, stat.S_IFIFO])
def test_links_devices_and_pipes_are_refused(tmp_path, kind):
    (tmp_path / "secret").write_bytes(b"secret")
    if isinstance(kind, bytes):
        with tarfile.open(tmp_path / "x", "w") as bundle:
            info = tarfile.TarInfo("way")
            info.type, info.linkname = kind, "../secret"
            bundle.addfile(info)
            through = tarfile.TarInfo("way")
            through.size = 4
            bundle.addfile(through, io.BytesIO(b"evil"))
    else:
        with zipfile.ZipFile(tmp_path / "x", "w") as bundle:
            member = zipfile.ZipInfo("way")
            member.external_attr = (kind | 0o777) << 16
            bundle.writestr(member, "../secret")
    with pytest.raises(InputError, match=r"'way' is neither a file nor a folder"):
        unpack(tmp_path / "x", tmp_path / "out", max_bytes=ROOM)
    assert list((tmp_path / "out").iterdir()) == []
    assert (tmp_path / "secret").read_bytes() == b"secret"


def test_a_member_shorter_than_stated_is_refused(tmp_path):
    data = bytearray(pack(tmp_path / "x.zip", {"a": b"0" * 1000}).read_bytes())
    struct.pack_into("<I", data, data.index(b"PK\x01\x02") + 24, 2000)  # its checksum is still right
    (tmp_path / "x.zip").write_bytes(data)
    with pytest.raises(InputError, match="'a' has 1000 of 2000 bytes"):
        unpack(tmp_path / "x.zip", tmp_path / "out", max_bytes=ROOM)


@pytest.mark.parametrize("kind", ["tar", "zip"])
@pytest.mark.parametrize("names", [("a", "a/b"), ("a/b", "a"), ("x" * 300, "b")])
def test_names_that_cannot_be_on_a_disk_are_refused(tmp_path, kind, names):
    archive = pack(tmp_path / f"x.{kind}", dict.fromkeys(names, b"1"))
    with pytest.raises(InputError, match="damaged or no archive"):
        unpack(archive, tmp_path / "out", max_bytes=ROOM)


@pytest.mark.parametrize("kind", KINDS)
def test_more_than_there_is_room_for_is_refused_before_it_is_written(tmp_path, kind):
    archive = pack(tmp_path / f"x.{kind}", {"a": b"0" * 1000, "b": b"0" * 1000})
    assert unpack(archive, tmp_path / "all", max_bytes=2000, max_files=2) == 2
    for limits in ({"max_bytes": 1999}, {"max_bytes": ROOM, "max_files": 1}):
        with pytest.raises(InputError, match="more than there is room for"):
            unpack(archive, tmp_path / str(len(limits)), **limits)
        assert content(tmp_path / str(len(limits))) == {"a": b"0" * 1000}


def test_a_tar_header_that_asks_for_all_memory_is_refused(tmp_path):
    header = tarfile.TarInfo("././@PaxHeader")
    header.type, header.size = tarfile.XHDTYPE, 10**10
    (tmp_path / "x.tar").write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(10_240))
    with pytest.raises(InputError, match="a header of 10000000000 bytes"):
        unpack(tmp_path / "x.tar", tmp_path / "out", max_bytes=ROOM)


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_cut_short_anywhere_is_never_taken_for_complete(tmp_path, kind):
    whole = pack(tmp_path / f"x.{kind}", FILES).read_bytes()
    end = len(whole)
    if kind == "tar":  # the padding behind the end mark may be missing
        end = 512 * (3 + 1 + 40 + 1)  # three headers, 2 and 20,000 bytes of content, half of the end mark
    for length in range(0, end, end // 17):
        (tmp_path / "cut").write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"damaged or no archive .*; delete it and fetch it again"):
            unpack(tmp_path / "cut", tmp_path / f"out{length}", max_bytes=ROOM)


@pytest.mark.parametrize("kind", KINDS)
def test_changed_bytes_are_refused_or_change_content_only(tmp_path, kind):
    whole = pack(tmp_path / f"x.{kind}", FILES).read_bytes()
    draw = random.Random(1)
    num_refused = 0
    for run in range(60):
        changed = bytearray(whole)
        for _ in range(draw.randint(1, 4)):
            changed[draw.randrange(min(len(changed), draw.choice([600, 2500, 10**9])))] = draw.randrange(256)
        (tmp_path / "cut").write_bytes(changed)
        try:
            unpack(tmp_path / "cut", tmp_path / "deep" / f"out{run}", max_bytes=ROOM)
        except InputError:
            num_refused += 1
    assert num_refused > 10
    assert {path.name for path in (tmp_path / "deep").iterdir()} == {f"out{run}" for run in range(60)}
    assert {path.name for path in tmp_path.iterdir()} == {"deep", "cut", f"x.{kind}"}


def test_a_broken_header_in_the_middle_is_not_taken_for_the_end(tmp_path):
    data = bytearray(pack(tmp_path / "x.tar", FILES).read_bytes())
    data[1024 + 150] ^= 1  # the checksum in the header of the second member
    (tmp_path / "x.tar").write_bytes(data)
    with pytest.raises(InputError, match="broken or missing header"):
        unpack(tmp_path / "x.tar", tmp_path / "out", max_bytes=ROOM)


def test_a_second_run_writes_only_what_is_missing(tmp_path):
    archive, out = pack(tmp_path / "x.tar.gz", FILES), tmp_path / "out"

    def stop_after_the_first(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        unpack(archive, out, folder="anno", max_bytes=ROOM, report=stop_after_the_first)
    assert content(out) == {"a.json": b"{}"}
    first = (out / "a.json").stat()
    (out / "c").mkdir()
    (out / "c" / "d.json").write_bytes(b"half")
    assert unpack(archive, out, folder="anno", max_bytes=20_000) == 3
    assert content(out) == UNPACKED
    after = (out / "a.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == (first.st_ino, first.st_mtime_ns)


def test_merge_moves_everything_and_keeps_what_was_there(tmp_path):
    files = {"new/film/b": "2", "new/film/c": "new", "new/d": "4", "old/film/a": "1", "old/film/c": "old"}
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    merge(tmp_path / "new", tmp_path / "old")
    assert content(tmp_path) == {
        f"old/{name}": text for name, text in (("film/a", b"1"), ("film/b", b"2"), ("film/c", b"new"), ("d", b"4"))
    }
    assert not (tmp_path / "new").exists()

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from bassl.errors import InputError
from bassl.segment.output import formats
from bassl.segment.output.formats import DEFAULT, FORMATS, parse_formats, table_of_formats, write_formats
from tests.segment.models import segmentation


def test_every_format_is_written_under_its_own_name(tmp_path):
    written = write_formats(segmentation(), tmp_path / "new" / "folder", tuple(FORMATS))
    assert len(written) == len(FORMATS) == 9
    assert {path.name for path in (tmp_path / "new" / "folder").iterdir()} == {path.name for path in written}
    assert all(path.stat().st_size > 50 for path in written)


@pytest.mark.parametrize(("text", "expected"), [
    ("json", ("json",)), (" EDL, .otio,edl", ("edl", "otio")), ("all", tuple(FORMATS)), ("json,all", tuple(FORMATS)),
])  # fmt: skip
def test_formats_are_named_in_a_list(text, expected):
    assert parse_formats(text) == expected


@pytest.mark.parametrize(("text", "message"), [("jsn", "'jsn' is unknown"), ("", "no format"), (",", "no format")])
def test_an_unknown_format_names_the_known(text, message):
    with pytest.raises(InputError, match=message):
        parse_formats(text)


def test_the_defaults_are_formats_and_all_are_in_the_help():
    assert set(DEFAULT) <= set(FORMATS)
    assert all(name in table_of_formats() for name in FORMATS)


def test_a_full_disk_leaves_the_old_files_and_nothing_half_written(tmp_path, monkeypatch):
    write_formats(segmentation(), tmp_path, ("json", "csv"))
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(_path, _segmentation):
        _path.write_text("half of i")
        raise OSError(errno.ENOSPC, "No space left on device", str(_path))

    monkeypatch.setattr(formats.Format, "writer", lambda self: full)
    with pytest.raises(OSError, match="No space left"):
        write_formats(segmentation(threshold=0.2), tmp_path, ("json", "csv"))
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_results_do_not_leave_their_folder(tmp_path):
    found = segmentation(Path("/films/../../etc/passwd.mp4"))
    for path in write_formats(found, tmp_path / "results", tuple(FORMATS)):
        assert path.parent == tmp_path / "results"
    assert [path.name for path in tmp_path.iterdir()] == ["results"]

"""The download command against a server on the loopback: complete, cut off, killed, attacked, repeated."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest

from bassl import files as files_module
from bassl.download import main as command
from tests.download.serving import FileServer, serving
from tests.download.test_archive import content, pack

ROOT = Path(__file__).parents[2]
FRAMES = {f"240P_frames/tt0/shot_000{i}_img_{k}.jpg": bytes([i, k]) * 700 for i in range(3) for k in range(3)}
MORE_FRAMES = {f"tt1/shot_0000_img_{k}.jpg": bytes([k]) * 900 for k in range(3)}
ANNOTATIONS = {f"data/anno/{name}": b"{}\n" for name in command.ANNOTATIONS}
SCENE318 = {"scene318/label318/tt0.txt": b"0000 0\n"}
EVERYTHING = (
    FRAMES
    | {f"240P_frames/{name}": value for name, value in MORE_FRAMES.items()}
    | {name.removeprefix("data/"): value for name, value in ANNOTATIONS.items()}
    | SCENE318
)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    for name in ("BASSL_KEYFRAMES_URL", "BASSL_ANNOTATIONS_URL", "BASSL_SCENE318_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "*")
    with serving() as running:
        yield running


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "data"


def add(server: FileServer, folder: Path, name: str, files: dict[str, bytes], **manners: object) -> str:
    (folder / "packed").mkdir(exist_ok=True)
    return server.add(name, pack(folder / "packed" / name, files).read_bytes(), **manners)


def call(target: Path, *arguments: str) -> int:
    return command.main(["--target", str(target), "--retries", "0", *arguments])


def placed(target: Path) -> dict[str, bytes]:
    return {name: value for name, value in content(target).items() if not name.startswith(".download/")}


def test_everything_lands_in_its_place_and_a_second_call_asks_for_nothing(server, target, tmp_path):
    arguments = [
        *("--keyframes", add(server, tmp_path, "a.tar", FRAMES)),
        *("--keyframes", add(server, tmp_path, "b.zip", MORE_FRAMES)),
        *("--annotations", add(server, tmp_path, "c.tar.gz", ANNOTATIONS)),
        *("--scene318", add(server, tmp_path, "d.tar.xz", SCENE318)),
    ]
    assert call(target, *arguments) == 0
    assert placed(target) == EVERYTHING
    assert {path.name for path in (target / ".download").iterdir()} == {"finished.json", "lock"}
    server.requests.clear()
    assert call(target, *arguments) == 0
    assert server.requests == []
    assert placed(target) == EVERYTHING


def test_plain_annotation_files_need_no_archive_and_missing_ones_are_named(server, target, capsys):
    urls = [server.add(name, b"{}\n") for name in command.ANNOTATIONS if "val." not in name]
    assert call(target, *(word for url in urls for word in ("--annotations", url))) == 0
    assert set(placed(target)) == {f"anno/{url.rpartition('/')[2]}" for url in urls}
    text = capsys.readouterr().err
    assert f"not in the downloaded archives: anno.val.ndjson in {target / 'anno'}" in text
    assert f"still missing below {target}: 240P_frames, scene318" in text


def test_a_call_that_is_cut_off_resumes(server, target, tmp_path, capsys):
    url = add(server, tmp_path, "a.tar", FRAMES, drops=[5000])
    assert call(target, "--keyframes", url) == 1
    assert "ended after 5000 of" in capsys.readouterr().err
    assert placed(target) == {}
    assert call(target, "--keyframes", url) == 0
    assert server.ranges() == [None, "bytes=5000-"]
    assert placed(target) == FRAMES


@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_call_stopped_while_files_are_moved_resumes_without_the_network(server, target, tmp_path, monkeypatch, after):
    url = add(server, tmp_path, "a.tar", MORE_FRAMES)
    (target / "240P_frames" / "tt1").mkdir(parents=True)
    (target / "240P_frames" / "tt1" / "old").write_bytes(b"old")
    replace, calls = os.replace, []

    def replace_some(source, place):
        if ".unpacked-" in str(source):
            calls.append(place)
            if len(calls) == after:
                raise KeyboardInterrupt
        replace(source, place)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace_some)
        assert call(target, "--keyframes", url) == 130
    server.requests.clear()
    assert call(target, "--keyframes", url) == 0
    assert server.requests == []
    expected = {f"240P_frames/{name}": value for name, value in MORE_FRAMES.items()}
    assert placed(target) == expected | {"240P_frames/tt1/old": b"old"}


BAD_FILES = {
    "a.tar": ({"../../../evil": b"evil"}, "leads out of the target folder"),
    "b.zip": ({"../../../evil": b"evil"}, "leads out of the target folder"),
    "c.tar": (b"<!DOCTYPE html><p>Virus scan warning", "begins with b'<!DOCTYPE html><p>Virus"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_malicious_archive_or_a_web_page_leaves_nothing_behind(server, target, tmp_path, name, capsys):
    files, message = BAD_FILES[name]
    url = server.add(name, files) if isinstance(files, bytes) else add(server, tmp_path, name, FRAMES | files)
    assert call(target, "--keyframes", url) == 2
    assert message in capsys.readouterr().err
    assert placed(target) == {}
    assert {path.name for path in tmp_path.iterdir()} <= {"packed", "data"}
    assert list((target / "240P_frames").iterdir()) == []


def test_missing_files_wrong_digests_and_no_address_are_one_error_each(server, target, capsys):
    assert call(target) == 2
    assert not target.exists()
    assert call(target, "--keyframes", server.add("a.tar", b"") + ".gz") == 1
    assert call(target, "--annotations", server.add("vid2idx.json", b"{}") + "#sha256=" + "0" * 64) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    for error, text in zip(errors, ("no address is given", "HTTP 404", "SHA-256 is not 0000"), strict=True):
        assert text in error
    assert placed(target) == {}


def test_addresses_may_come_from_a_file_or_the_environment(server, target, tmp_path, monkeypatch):
    monkeypatch.setenv("BASSL_KEYFRAMES_URL", add(server, tmp_path, "a.tar", FRAMES))
    sources = tmp_path / "sources.json"
    sources.write_text(json.dumps({"scene318": [add(server, tmp_path, "d.zip", SCENE318)]}))
    assert call(target, "--sources", str(sources)) == 0
    assert placed(target) == FRAMES | SCENE318


def test_a_disk_without_room_is_noticed_before_anything_is_fetched(server, target, tmp_path, monkeypatch, capsys):
    url = add(server, tmp_path, "a.tar", FRAMES)
    needed = command.RESERVE + 2 * (tmp_path / "packed" / "a.tar").stat().st_size
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, needed - 1))
    assert call(target, "--keyframes", url) == 2
    assert "on its disk for archives and what is in them, but has 134.3 MB" in capsys.readouterr().err
    assert server.ranges() == []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, needed))
    assert call(target, "--keyframes", url) == 0


def test_after_a_full_disk_the_next_call_resumes(server, target, tmp_path, monkeypatch, capsys):
    url = add(server, tmp_path, "a.tar", FRAMES)

    def fail(*arguments, **keywords):
        raise OSError(28, "No space left on device", str(target))

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", fail)
        assert call(target, "--keyframes", url) == 1
    assert "No space left on device" in capsys.readouterr().err
    server.requests.clear()
    assert call(target, "--keyframes", url) == 0
    assert server.requests == []
    assert placed(target) == FRAMES


def test_two_calls_on_one_target_do_not_mix(server, target, tmp_path, monkeypatch, capsys):
    url = add(server, tmp_path, "a.tar", FRAMES)
    monkeypatch.setattr(files_module, "LOCK_PATIENCE", 0.0)
    with files_module.lock_folder(target / ".download", "", "lock"):
        assert call(target, "--keyframes", url) == 2
    assert f"another download into {target} is running" in capsys.readouterr().err
    assert server.requests == []


def test_a_deleted_folder_and_a_digest_that_was_not_checked_are_fetched_again(server, target, tmp_path):
    url = add(server, tmp_path, "d.zip", SCENE318)
    digest = hashlib.sha256((tmp_path / "packed" / "d.zip").read_bytes()).hexdigest()
    assert call(target, "--scene318", url) == 0
    shutil.rmtree(target / "scene318")
    assert call(target, "--scene318", url) == 0
    assert placed(target) == SCENE318
    server.requests.clear()
    for address in (f"{url}#sha256={digest}", f"{url}#sha256={digest}", url):
        assert call(target, "--scene318", address) == 0
    assert len(server.ranges()) == 1
    assert call(target, "--scene318", f"{url}#sha256={digest}&size=1") == 1
    (target / ".download" / "finished.json").write_text("{")
    assert call(target, "--scene318", url) == 0


def test_the_command_needs_nothing_but_the_standard_library(tmp_path):
    code = "import sys; sys.path.insert(0, sys.argv[1]); import bassl.download.main as d; d.main(['-h'])"
    arguments = [sys.executable, "-I", "-S", "-c", code, str(ROOT)]  # -I -S: no site-packages, no PYTHONPATH
    done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "--keyframes URL" in done.stdout
    assert "where the data may be found" in done.stdout


@pytest.mark.parametrize(
    ("done", "total", "rate", "text"),
    [
        (40e9, 160e9, 20e6, "a  40.0 GB of 160.0 GB  25 %  20.0 MB/s  1 h 40 min left"),
        (1e6, 10e6, 1e5, "a  1.0 MB of 10.0 MB  10 %  100.0 kB/s  1 min 30 s left"),
        (10, 10, 5.0, "a  10 B of 10 B  100 %"),
        (0, 0, 0.0, "a  0 B of 0 B  0 %"),
        (2e12, None, 100.0, "a  2.0 TB  100 B/s"),
    ],
)
def test_a_line_has_fraction_rate_and_time_left(done, total, rate, text):
    assert command.format_progress("a", int(done), None if total is None else int(total), rate) == text


def test_progress_in_a_file_is_a_line_every_half_minute():
    stream = io.StringIO()
    report = command.Progress(stream, iter([0.0, *map(float, range(1, 71))]).__next__).start("a")
    for done in range(1, 71):
        report(done, 70)
    assert [line.split()[1] for line in stream.getvalue().splitlines()] == ["1", "31", "61", "70"]

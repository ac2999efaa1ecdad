"""The download command against a server on the loopback: whole, cut off, killed, attacked, repeated."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path

import pytest

from bassl.download import main as command
from tests.download.serving import FileServer, _Handler, serving
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
    folder.mkdir(exist_ok=True)
    return server.add(name, pack(folder / name, files).read_bytes(), **manners)


def call(target: Path, *arguments: str) -> int:
    return command.main(["--target", str(target), "--retries", "0", *arguments])


def placed(target: Path) -> dict[str, bytes]:
    return {name: value for name, value in content(target).items() if not name.startswith(".download/")}


def test_everything_lands_where_the_readme_says_and_a_second_call_asks_for_nothing(server, target, tmp_path):
    arguments = [
        *("--keyframes", add(server, tmp_path / "packed", "a.tar", FRAMES)),
        *("--keyframes", add(server, tmp_path / "packed", "b.zip", MORE_FRAMES)),
        *("--annotations", add(server, tmp_path / "packed", "c.tar.gz", ANNOTATIONS)),
        *("--scene318", add(server, tmp_path / "packed", "d.tar.xz", SCENE318)),
    ]
    assert call(target, *arguments) == 0
    assert placed(target) == EVERYTHING
    assert len(EVERYTHING) == 19
    assert {path.name for path in (target / ".download").iterdir()} == {"finished.json", "lock"}
    server.requests.clear()
    assert call(target, *arguments) == 0
    assert server.requests == []
    assert placed(target) == EVERYTHING


def test_archives_are_kept_if_wished(server, target, tmp_path):
    url = add(server, tmp_path / "packed", "a.tar", FRAMES)
    assert call(target, "--keyframes", url, "--keep-archives") == 0
    (archive,) = (target / ".download").glob("*.tar")
    assert archive.read_bytes() == (tmp_path / "packed" / "a.tar").read_bytes()


def test_plain_annotation_files_need_no_archive(server, target):
    urls = [server.add(name, b"{}\n") for name in command.ANNOTATIONS]
    assert len(urls) == 6
    assert call(target, *(word for url in urls for word in ("--annotations", url))) == 0
    assert placed(target) == {f"anno/{name}": b"{}\n" for name in command.ANNOTATIONS}


def test_what_is_still_missing_is_said_at_the_end(server, target, tmp_path, capsys):
    del (annotations := dict(ANNOTATIONS))["data/anno/anno.val.ndjson"]
    assert call(target, "--annotations", add(server, tmp_path / "packed", "c.zip", annotations)) == 0
    told = capsys.readouterr().err
    assert f"not among what was downloaded: anno.val.ndjson in {target / 'anno'}" in told
    assert f"still missing below {target}: 240P_frames, scene318" in told


def test_a_call_that_is_cut_off_goes_on_with_the_rest(server, target, tmp_path, capsys):
    url = add(server, tmp_path / "packed", "a.tar", FRAMES, drops=[5000])
    assert call(target, "--keyframes", url) == 1
    assert "ended after 5000 of" in capsys.readouterr().err
    assert placed(target) == {}
    assert call(target, "--keyframes", url) == 0
    assert server.ranges() == [None, "bytes=5000-"]
    assert placed(target) == FRAMES


def test_a_call_that_is_killed_goes_on_and_ends_the_same(server, target, tmp_path, monkeypatch):
    url = add(server, tmp_path / "packed", "a.tar", FRAMES)
    half_sent, killed = threading.Event(), threading.Event()
    send = _Handler._send

    def send_half(self, file, content, is_question):
        if is_question or killed.is_set():
            return send(self, file, content, is_question)
        self.wfile.write(content[: len(content) // 2])
        half_sent.set()
        killed.wait(60)
        return None

    monkeypatch.setattr(_Handler, "_send", send_half)
    arguments = [sys.executable, "-m", "bassl.download.main", "--target", str(target), "--keyframes", url]
    with subprocess.Popen(arguments, cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        assert half_sent.wait(60)
        process.send_signal(signal.SIGKILL)
    killed.set()
    assert process.returncode == -signal.SIGKILL
    assert placed(target) == {}
    assert call(target, "--keyframes", url) == 0
    assert placed(target) == FRAMES


@pytest.mark.parametrize("after", [1, 2, 3])
def test_a_call_stopped_while_files_are_moved_goes_on_and_ends_the_same(server, target, tmp_path, monkeypatch, after):
    url = add(server, tmp_path / "packed", "a.tar", MORE_FRAMES)
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


@pytest.mark.parametrize("kind", ["tar", "zip"])
def test_a_malicious_archive_leaves_nothing_behind(server, target, tmp_path, kind, capsys):
    url = add(server, tmp_path / "packed", f"a.{kind}", FRAMES | {"../../../evil": b"evil"})
    assert call(target, "--keyframes", url) == 2
    assert "leads out of the target folder" in capsys.readouterr().err
    assert placed(target) == {}
    assert {path.name for path in tmp_path.iterdir()} == {"packed", "data"}
    assert [path.name for path in (target / "240P_frames").iterdir()] == []


def test_a_web_page_in_place_of_an_archive_is_told_by_its_first_words(server, target, capsys):
    url = server.add("a.tar", b"<!DOCTYPE html><p>Virus scan warning")
    assert call(target, "--keyframes", url) == 2
    assert "begins with b'<!DOCTYPE html><p>Virus" in capsys.readouterr().err
    assert placed(target) == {}


def test_an_archive_without_keyframes_is_told_by_what_it_has(server, target, tmp_path, capsys):
    url = add(server, tmp_path / "packed", "a.tar", {"240P_frames/deep/tt0/shot_0000_img_0.jpg": b"1"})
    assert call(target, "--keyframes", url) == 2
    assert "has no <film>/shot_0000_img_0.jpg but ['deep']" in capsys.readouterr().err


def test_a_missing_file_and_a_wrong_digest_are_one_error_each(server, target, capsys):
    assert call(target, "--keyframes", server.add("a.tar", b"") + ".gz") == 1
    assert "cannot be had: HTTP 404" in capsys.readouterr().err
    assert call(target, "--annotations", server.add("vid2idx.json", b"{}") + "#sha256=" + "0" * 64) == 1
    assert "SHA-256 is not 0000" in capsys.readouterr().err
    assert placed(target) == {}


def test_without_an_address_the_message_says_where_to_look(server, target, capsys):
    assert call(target) == 2
    told = capsys.readouterr().err
    assert "no address is given; add --keyframes URL" in told
    assert "https://movienet.github.io" in told
    assert not target.exists()


def test_addresses_may_come_from_a_file_or_the_environment(server, target, tmp_path, monkeypatch):
    monkeypatch.setenv("BASSL_KEYFRAMES_URL", add(server, tmp_path / "packed", "a.tar", FRAMES))
    sources = tmp_path / "sources.json"
    sources.write_text(json.dumps({"scene318": [add(server, tmp_path / "packed", "d.zip", SCENE318)]}))
    assert call(target, "--sources", str(sources)) == 0
    assert placed(target) == FRAMES | SCENE318


def test_a_disk_without_room_is_told_before_anything_is_fetched(server, target, tmp_path, monkeypatch, capsys):
    url = add(server, tmp_path / "packed", "a.tar", FRAMES)
    size = (tmp_path / "packed" / "a.tar").stat().st_size
    usage = namedtuple("usage", "total used free")
    for keep, num_copies in (((), 2), (("--keep-archives",), 2)):
        needed = command.RESERVE + num_copies * size
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, needed - 1))  # noqa: B023
        assert call(target, "--keyframes", url, *keep) == 2
        assert "on its disk for archives and what is in them, but has 134.3 MB" in capsys.readouterr().err
    assert server.ranges() == []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(0, 0, needed))
    assert call(target, "--keyframes", url) == 0


def test_a_full_disk_is_one_error_and_the_next_call_goes_on(server, target, tmp_path, monkeypatch, capsys):
    url = add(server, tmp_path / "packed", "a.tar", FRAMES)

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


def test_two_calls_on_one_target_do_not_mix(server, target, tmp_path, capsys):
    url = add(server, tmp_path / "packed", "a.tar", FRAMES)
    (target / ".download").mkdir(parents=True)
    with (target / ".download" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert call(target, "--keyframes", url) == 2
    assert f"another download into {target} is running" in capsys.readouterr().err
    assert server.requests == []


def test_a_deleted_folder_and_a_digest_that_was_not_checked_are_fetched_again(server, target, tmp_path):
    url = add(server, tmp_path / "packed", "d.zip", SCENE318)
    assert call(target, "--scene318", url) == 0
    shutil.rmtree(target / "scene318")
    assert call(target, "--scene318", url) == 0
    assert placed(target) == SCENE318
    digest = hashlib.sha256((tmp_path / "packed" / "d.zip").read_bytes()).hexdigest()
    server.requests.clear()
    assert call(target, "--scene318", f"{url}#sha256={digest}") == 0
    assert len(server.ranges()) == 1  # was not checked before
    assert call(target, "--scene318", f"{url}#sha256={digest}") == 0
    assert call(target, "--scene318", url) == 0
    assert len(server.ranges()) == 1
    assert call(target, "--scene318", f"{url}#sha256={digest}&size=1") == 1
    (target / ".download" / "finished.json").write_text("{")
    assert call(target, "--scene318", f"{url}#sha256={digest}") == 0
    new = add(server, tmp_path / "packed", "d.zip", {"label318/tt0.txt": b"0000 1\n"})
    digest = hashlib.sha256((tmp_path / "packed" / "d.zip").read_bytes()).hexdigest()
    assert new == url
    assert call(target, "--scene318", f"{url}#sha256={digest}") == 0
    assert placed(target) == {"scene318/label318/tt0.txt": b"0000 1\n"}


def test_key_frames_may_lie_behind_a_link_to_another_disk(server, target, tmp_path):
    target.mkdir()
    (tmp_path / "big").mkdir()
    (target / "240P_frames").symlink_to(tmp_path / "big")
    assert call(target, "--keyframes", add(server, tmp_path / "packed", "a.tar", FRAMES)) == 0
    assert {f"240P_frames/{name}": value for name, value in content(tmp_path / "big").items()} == FRAMES


def test_the_command_needs_nothing_but_the_standard_library(tmp_path):
    code = "import sys; sys.path.insert(0, sys.argv[1]); import bassl.download.main as d; d.main(['-h'])"
    done = subprocess.run(  # -I -S: no site-packages, no PYTHONPATH
        [sys.executable, "-I", "-S", "-c", code, ROOT],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--keyframes URL" in done.stdout
    assert "where the data may be found" in done.stdout

"""Fetching one file from a server that drops, lies, forgets and changes its mind."""

from __future__ import annotations

import hashlib
import random
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from bassl.download.fetch import DownloadError, Patience, Remote, Source, fetch, partial_bytes, probe
from tests.download.serving import FileServer, serving

BODY = random.Random(0).randbytes(3000)
OTHER = random.Random(1).randbytes(3000)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("no_proxy", "*")
    with serving() as running:
        yield running


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def patience(waits: list[float]) -> Patience:
    return Patience(timeout=10.0, retries=3, sleep=waits.append)


def leave_part(url: str, path: Path, server: FileServer, num_bytes: int = 1000) -> None:
    """What a run that was cut off after `num_bytes` leaves behind."""
    server.files["/" + url.rpartition("/")[2]].drops = [num_bytes]
    with pytest.raises(DownloadError):
        fetch(Source(url), path, Patience(retries=0))
    assert partial_bytes(path) == num_bytes
    assert not path.exists()
    server.requests.clear()


def test_a_file_arrives_whole_and_leaves_nothing_beside_it(server, patience, tmp_path):
    url = server.add("a.tar", BODY)
    fetch(Source(url, len(BODY), hashlib.sha256(BODY).hexdigest()), tmp_path / "deep" / "a", patience)
    assert (tmp_path / "deep" / "a").read_bytes() == BODY
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a"]
    assert server.requests == [("/a.tar", None, None)]


@pytest.mark.parametrize("resets", [False, True])
def test_a_dropped_connection_is_taken_up_where_it_broke(server, patience, waits, tmp_path, resets):
    url = server.add("a.tar", BODY, drops=[1000, 500], resets=resets)
    fetch(Source(url), tmp_path / "a", patience)
    assert (tmp_path / "a").read_bytes() == BODY
    if not resets:  # a reset may overtake bytes that were sent before it
        assert server.requests == [
            ("/a.tar", None, None),
            ("/a.tar", "bytes=1000-", '"one"'),
            ("/a.tar", "bytes=1500-", '"one"'),
        ]
        assert waits == [1.0, 1.0]  # each attempt brought something


def test_a_later_run_asks_for_the_rest_only(server, patience, tmp_path):
    url = server.add("a.tar", BODY)
    leave_part(url, tmp_path / "a", server)
    fetch(Source(url), tmp_path / "a", patience)
    assert (tmp_path / "a").read_bytes() == BODY
    assert server.ranges() == ["bytes=1000-"]


def test_a_file_that_is_complete_but_not_yet_named_asks_for_nothing(server, patience, tmp_path):
    url = server.add("a.tar", BODY)
    leave_part(url, tmp_path / "a", server)
    with (tmp_path / "a.part").open("ab") as file:
        file.write(BODY[1000:])
    fetch(Source(url), tmp_path / "a", patience)
    assert (tmp_path / "a").read_bytes() == BODY
    assert server.requests == []


@pytest.mark.parametrize("heeds_if_range", [True, False])
def test_a_file_that_changed_meanwhile_is_fetched_anew(server, patience, tmp_path, heeds_if_range):
    url = server.add("a.tar", BODY)
    leave_part(url, tmp_path / "a", server)
    server.add("a.tar", OTHER, etag='"two"', heeds_if_range=heeds_if_range)
    fetch(Source(url), tmp_path / "a", patience)
    assert (tmp_path / "a").read_bytes() == OTHER
    assert server.ranges() == (["bytes=1000-"] if heeds_if_range else ["bytes=1000-", None])


def test_a_file_that_changed_its_length_is_fetched_anew_without_any_validator(server, patience, tmp_path):
    url = server.add("a.tar", BODY, etag=None)
    leave_part(url, tmp_path / "a", server)
    server.add("a.tar", OTHER[:-1], etag=None)
    fetch(Source(url), tmp_path / "a", patience)
    assert (tmp_path / "a").read_bytes() == OTHER[:-1]


def test_a_file_that_shrank_below_what_arrived_is_fetched_anew(server, patience, tmp_path):
    url = server.add("a.tar", BODY, heeds_if_range=False)
    leave_part(url, tmp_path / "a", server)
    server.add("a.tar", OTHER[:700], heeds_if_range=False)
    fetch(Source(url), tmp_path / "a", patience)
    assert (tmp_path / "a").read_bytes() == OTHER[:700]


@pytest.mark.parametrize("manners", [{"knows_ranges": False}, {"says_range": False}])
def test_a_server_without_ranges_starts_from_the_first_byte(server, patience, tmp_path, manners):
    url = server.add("a.tar", BODY, **manners)
    leave_part(url, tmp_path / "a", server)
    fetch(Source(url), tmp_path / "a", patience)
    assert (tmp_path / "a").read_bytes() == BODY


def test_a_server_without_ranges_that_always_drops_ends_the_attempts(server, patience, waits, tmp_path):
    url = server.add("a.tar", BODY, knows_ranges=False, drops=[1000] * 9)
    with pytest.raises(DownloadError, match="ended after 1000 of 3000 bytes"):
        fetch(Source(url), tmp_path / "a", patience)
    assert waits == [1.0, 2.0, 4.0]


def test_a_weak_etag_is_no_condition_but_a_date_is(server, patience, tmp_path):
    date = "Mon, 03 Jan 2022 10:00:00 GMT"
    url = server.add("a.tar", BODY, etag='W/"one"', modified=date)
    leave_part(url, tmp_path / "a", server)
    fetch(Source(url), tmp_path / "a", patience)
    assert server.requests == [("/a.tar", "bytes=1000-", date)]


def test_a_part_whose_notes_are_lost_is_not_trusted(server, patience, tmp_path):
    url = server.add("a.tar", BODY)
    leave_part(url, tmp_path / "a", server)
    (tmp_path / "a.part").write_bytes(OTHER[:1000])
    (tmp_path / "a.part.json").write_text("{")
    fetch(Source(url), tmp_path / "a", patience)
    assert (tmp_path / "a").read_bytes() == BODY


def test_a_server_that_promises_more_than_it_sends_is_given_up(server, patience, waits, tmp_path):
    url = server.add("a.tar", BODY, extra_length=10)
    with pytest.raises(DownloadError, match=r"ended after 3000 of 3010 bytes.*same command again"):
        fetch(Source(url), tmp_path / "a", patience)
    assert waits == [1.0, 2.0, 4.0]
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("ask", ["fetch", "probe"])
def test_another_size_than_stated_is_refused_before_the_body_is_read(server, patience, tmp_path, ask):
    url = server.add("a.tar", BODY)
    ways = {
        "fetch": lambda source: fetch(source, tmp_path / "a", patience),
        "probe": lambda source: probe(source, patience),
    }
    with pytest.raises(DownloadError, match="has 3000 bytes on the server instead of 2999"):
        ways[ask](Source(url, 2999))
    assert partial_bytes(tmp_path / "a") == 0
    assert len(server.requests) == 1


def test_a_length_that_nobody_states_is_checked_against_the_source(server, patience, tmp_path):
    url = server.add("a.tar", BODY, is_chunked=True)
    fetch(Source(url, 3000), tmp_path / "a", patience)
    assert (tmp_path / "a").read_bytes() == BODY
    with pytest.raises(DownloadError, match="gave 3000 bytes instead of 2000"):
        fetch(Source(url, 2000), tmp_path / "b", patience)
    assert not list(tmp_path.glob("b*"))


def test_a_chunked_answer_that_breaks_off_is_not_taken_for_the_whole(server, patience, tmp_path):
    url = server.add("a.tar", BODY, is_chunked=True, drops=[1000])
    fetch(Source(url), tmp_path / "a", patience)
    assert (tmp_path / "a").read_bytes() == BODY
    assert len(server.requests) == 2


def test_a_wrong_digest_deletes_the_file(server, patience, tmp_path):
    url = server.add("a.tar", BODY)
    with pytest.raises(DownloadError, match="SHA-256 is not"):
        fetch(Source(url, None, hashlib.sha256(OTHER).hexdigest()), tmp_path / "a", patience)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there_is_kept_only_if_it_fits_the_source(server, patience, tmp_path):
    url = server.add("a.tar", BODY)
    (tmp_path / "a").write_bytes(OTHER)
    fetch(Source(url, 3000, hashlib.sha256(OTHER).hexdigest()), tmp_path / "a", patience)
    assert server.requests == []
    fetch(Source(url, 3000, hashlib.sha256(BODY).hexdigest()), tmp_path / "a", patience)
    assert (tmp_path / "a").read_bytes() == BODY


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_told_at_once(server, patience, waits, tmp_path, status):
    url = server.add("a.tar", BODY, statuses=[status])
    with pytest.raises(DownloadError, match=f"cannot be had: HTTP {status}"):
        fetch(Source(url), tmp_path / "a", patience)
    assert waits == []


def test_a_busy_server_is_asked_again_when_it_says(server, patience, waits, tmp_path):
    url = server.add("a.tar", BODY, statuses=[503, 429, 500], retry_after="7")
    fetch(Source(url), tmp_path / "a", patience)
    assert (tmp_path / "a").read_bytes() == BODY
    assert waits == [7.0, 7.0, 7.0]


def test_a_server_that_is_away_is_tried_with_growing_waits(monkeypatch, waits, tmp_path):
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as unheard:  # bound, but nobody listens
        unheard.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unheard.getsockname()[1]}/a.tar"
        with pytest.raises(DownloadError, match="failed 9 times in a row"):
            fetch(Source(url), tmp_path / "a", Patience(timeout=10.0, retries=8, sleep=waits.append))
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


def test_a_probe_learns_size_and_validators_with_one_byte(server, patience):
    url = server.add("a.tar", BODY, modified="Mon, 03 Jan 2022 10:00:00 GMT")
    assert probe(Source(url), patience) == Remote(3000, '"one"', "Mon, 03 Jan 2022 10:00:00 GMT")
    server.add("a.tar", BODY, etag=None, knows_ranges=False)
    assert probe(Source(url), patience) == Remote(3000, None, None)
    assert [asked for _, asked, _ in server.requests] == ["bytes=0-0"] * 2


def test_progress_is_reported_from_where_it_goes_on(server, patience, tmp_path):
    url = server.add("a.tar", BODY)
    leave_part(url, tmp_path / "a", server)
    reports: list[tuple[int, int | None]] = []
    fetch(Source(url), tmp_path / "a", patience, lambda done, total: reports.append((done, total)))
    assert reports[0] == (1000, 3000)
    assert reports[-1] == (3000, 3000)
    assert reports == sorted(reports)

"""Fetching one file from a server that drops, lies and changes its mind."""

from __future__ import annotations

import hashlib
import random
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from bassl.download.fetch import DownloadError, Remote, RetryPolicy, Source, fetch, partial_bytes, probe
from tests.download.serving import FileServer, serving

BODY = random.Random(0).randbytes(3000)
OTHER = random.Random(1).randbytes(3000)
DATE = "Mon, 03 Jan 2022 10:00:00 GMT"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("no_proxy", "*")
    with serving() as running:
        yield running


@pytest.fixture
def waits() -> list[float]:
    return []


@pytest.fixture
def policy(waits: list[float]) -> RetryPolicy:
    return RetryPolicy(timeout=10.0, retries=3, sleep=waits.append)


def leave_part(url: str, path: Path, server: FileServer) -> None:
    """Leave what a fetch has when it is cut off after 1,000 bytes."""
    server.files["/" + url.rpartition("/")[2]].drops = [1000]
    with pytest.raises(DownloadError):
        fetch(Source(url), path, RetryPolicy(retries=0))
    assert partial_bytes(path) == 1000
    assert not path.exists()
    server.requests.clear()


def test_a_file_arrives_complete_and_leaves_nothing_beside_it(server, policy, tmp_path):
    url = server.add("a.tar", BODY)
    fetch(Source(url, len(BODY), hashlib.sha256(BODY).hexdigest()), tmp_path / "deep" / "a", policy)
    assert (tmp_path / "deep" / "a").read_bytes() == BODY
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a"]
    assert server.requests == [("/a.tar", None, None)]


@pytest.mark.parametrize("resets", [False, True])
def test_a_dropped_connection_is_resumed_where_it_broke(server, policy, waits, tmp_path, resets):
    url = server.add("a.tar", BODY, drops=[1000, 500], resets=resets)
    fetch(Source(url), tmp_path / "a", policy)
    assert (tmp_path / "a").read_bytes() == BODY
    if not resets:  # a reset may overtake bytes that were sent before it
        assert [request[1:] for request in server.requests] == [
            (None, None),
            ("bytes=1000-", '"one"'),
            ("bytes=1500-", '"one"'),
        ]
        assert waits == [1.0, 1.0]  # each attempt brought bytes


def test_a_later_run_asks_for_the_rest_only_and_reports_from_there(server, policy, tmp_path):
    url = server.add("a.tar", BODY)
    leave_part(url, tmp_path / "a", server)
    reports: list[tuple[int, int | None]] = []
    fetch(Source(url), tmp_path / "a", policy, lambda done, total: reports.append((done, total)))
    assert (tmp_path / "a").read_bytes() == BODY
    assert server.ranges() == ["bytes=1000-"]
    assert (reports[0], reports[-1]) == ((1000, 3000), (3000, 3000))
    assert reports == sorted(reports)


def test_a_complete_part_asks_for_nothing(server, policy, tmp_path):
    url = server.add("a.tar", BODY)
    leave_part(url, tmp_path / "a", server)
    (tmp_path / "a.part").write_bytes(BODY)
    fetch(Source(url), tmp_path / "a", policy)
    assert (tmp_path / "a").read_bytes() == BODY
    assert server.requests == []


CHANGES = {
    "another ETag": ({}, OTHER, {"etag": '"two"'}),
    "another ETag that a broken mirror ignores": ({}, OTHER, {"etag": '"two"', "obeys_if_range": False}),
    "another size without any validator": ({"etag": None}, OTHER[:-1], {"etag": None}),
    "less than has arrived": ({"obeys_if_range": False}, OTHER[:700], {"obeys_if_range": False}),
    "a server without ranges": ({"knows_ranges": False}, BODY, {"knows_ranges": False}),
    "a 206 without Content-Range": ({"states_range": False}, BODY, {"states_range": False}),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_file_that_has_changed_or_cannot_be_resumed_is_fetched_from_the_start(server, policy, tmp_path, name):
    before, body, after = CHANGES[name]
    url = server.add("a.tar", BODY, **before)
    leave_part(url, tmp_path / "a", server)
    server.add("a.tar", body, **after)
    fetch(Source(url), tmp_path / "a", policy)
    assert (tmp_path / "a").read_bytes() == body


def test_a_weak_etag_is_no_condition_but_a_date_is(server, policy, tmp_path):
    url = server.add("a.tar", BODY, etag='W/"one"', modified=DATE)
    leave_part(url, tmp_path / "a", server)
    fetch(Source(url), tmp_path / "a", policy)
    assert server.requests == [("/a.tar", "bytes=1000-", DATE)]


def test_a_part_whose_state_is_lost_is_not_trusted(server, policy, tmp_path):
    url = server.add("a.tar", BODY)
    leave_part(url, tmp_path / "a", server)
    (tmp_path / "a.part").write_bytes(OTHER[:1000])
    (tmp_path / "a.part.json").write_text("{")
    fetch(Source(url), tmp_path / "a", policy)
    assert (tmp_path / "a").read_bytes() == BODY


@pytest.mark.parametrize(
    ("manners", "message"),
    [
        ({"extra_length": 10}, r"ended after 3000 of 3010 bytes.*same command: it resumes"),
        ({"knows_ranges": False, "drops": [1000] * 9}, "ended after 1000 of 3000 bytes"),
    ],
)
def test_a_server_that_never_sends_all_is_given_up(server, policy, waits, tmp_path, manners, message):
    url = server.add("a.tar", BODY, **manners)
    with pytest.raises(DownloadError, match=message):
        fetch(Source(url), tmp_path / "a", policy)
    assert waits == [1.0, 2.0, 4.0]
    assert not (tmp_path / "a").exists()


def test_another_size_than_stated_is_refused_before_the_body_is_read(server, policy, tmp_path):
    source = Source(server.add("a.tar", BODY), 2999)
    for ask in (lambda: fetch(source, tmp_path / "a", policy), lambda: probe(source, policy)):
        with pytest.raises(DownloadError, match="has 3000 bytes on the server instead of 2999"):
            ask()
    assert partial_bytes(tmp_path / "a") == 0


def test_a_body_of_unstated_length_is_checked_against_the_source(server, policy, tmp_path):
    url = server.add("a.tar", BODY, is_chunked=True, drops=[1000])
    fetch(Source(url, 3000), tmp_path / "a", policy)
    assert (tmp_path / "a").read_bytes() == BODY
    assert len(server.requests) == 2
    with pytest.raises(DownloadError, match="gave 3000 bytes instead of 2000"):
        fetch(Source(url, 2000), tmp_path / "b", policy)
    assert not list(tmp_path.glob("b*"))


def test_a_wrong_digest_deletes_the_file_and_one_that_fits_is_kept(server, policy, tmp_path):
    url, digest = server.add("a.tar", BODY), hashlib.sha256(OTHER).hexdigest()
    with pytest.raises(DownloadError, match="SHA-256 is not"):
        fetch(Source(url, None, digest), tmp_path / "a", policy)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a").write_bytes(OTHER)
    server.requests.clear()
    fetch(Source(url, 3000, digest), tmp_path / "a", policy)
    assert server.requests == []
    fetch(Source(url, 3000, hashlib.sha256(BODY).hexdigest()), tmp_path / "a", policy)
    assert (tmp_path / "a").read_bytes() == BODY


def test_a_refusal_is_final_and_a_busy_server_is_asked_again_when_it_says(server, policy, waits, tmp_path):
    for status in (403, 404):
        url = server.add("a.tar", BODY, statuses=[status])
        with pytest.raises(DownloadError, match=f"is not available: HTTP {status}"):
            fetch(Source(url), tmp_path / "a", policy)
    assert waits == []
    url = server.add("a.tar", BODY, statuses=[503, 429, 500], retry_after="7")
    fetch(Source(url), tmp_path / "a", policy)
    assert (tmp_path / "a").read_bytes() == BODY
    assert waits == [7.0, 7.0, 7.0]


def test_an_absent_server_is_tried_with_growing_waits(monkeypatch, waits, tmp_path):
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as unheard:  # bound, but nobody listens
        unheard.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unheard.getsockname()[1]}/a.tar"
        with pytest.raises(DownloadError, match="failed 9 times in a row"):
            fetch(Source(url), tmp_path / "a", RetryPolicy(timeout=10.0, retries=8, sleep=waits.append))
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0]


def test_a_probe_learns_size_and_validators_by_one_byte(server, policy):
    url = server.add("a.tar", BODY, modified=DATE)
    assert probe(Source(url), policy) == Remote(3000, '"one"', DATE)
    server.add("a.tar", BODY, etag=None, knows_ranges=False)
    assert probe(Source(url), policy) == Remote(3000, None, None)
    assert [asked for _, asked, _ in server.requests] == ["bytes=0-0"] * 2

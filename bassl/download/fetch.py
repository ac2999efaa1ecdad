"""Fetch one file over HTTP, resuming after any interruption (standard library only).

Bytes go to `<name>.part`; `<name>.part.json` records size, ETag and Last-Modified as the server stated them. A resumed
fetch asks for the rest only (`Range`), if the file is still the same (`If-Range`). It starts over if the file has
changed or the server ignores ranges.
"""

from __future__ import annotations

import http.client
import json
import logging
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import TypeVar

from bassl.errors import InputError
from bassl.files import sha256_of

logger = logging.getLogger(__name__)

Report = Callable[[int, "int | None"], None]  # bytes done, bytes in total if known
Response = http.client.HTTPResponse
T = TypeVar("T")

CHUNK = 1 << 20
LONGEST_WAIT = 60.0  # seconds between two attempts
TRY_LATER = (408, 425, 429)  # HTTP statuses


class DownloadError(InputError):
    """The network, the server or the file that it serves failed; the same command may succeed later."""


class _AttemptFailed(Exception):
    """An attempt failed for a reason that another attempt may not meet. wait: seconds that the server asks for."""

    def __init__(self, reason: object, wait: float = 0.0) -> None:
        super().__init__(str(reason))
        self.wait = wait


@dataclass(frozen=True)
class Source:
    """A file to fetch: its address and, if known, its size in bytes and SHA-256 (64 digits 0-9a-f)."""

    url: str
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Remote:
    """What a server states about a file: size in bytes, ETag, Last-Modified; None where it does not."""

    size: int | None
    etag: str | None
    modified: str | None

    def agrees(self, other: Remote) -> bool:
        """Return whether both may be one file: nothing that both state differs."""
        pairs = zip(astuple(self), astuple(other), strict=True)
        return all(None in pair or pair[0] == pair[1] for pair in pairs)

    @property
    def validator(self) -> str | None:
        """The value for `If-Range`: a strong ETag or a date (RFC 9110)."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified


@dataclass(frozen=True)
class RetryPolicy:
    """Seconds without a byte before an attempt fails, failed attempts in a row that are allowed, and how to wait."""

    timeout: float = 60.0
    retries: int = 5
    sleep: Callable[[float], None] = time.sleep


def probe(source: Source, policy: RetryPolicy) -> Remote:
    """Return what the server states about a file, by requesting one byte (signed addresses refuse HEAD).

    Raises DownloadError if the file is not available or has another size than the source states.
    """

    def ask() -> Remote:
        with _open(source.url, {"Range": "bytes=0-0"}, policy.timeout) as response:
            return _read_headers(response)

    remote = _retry(ask, source.url, lambda: 0, policy)
    _check_size(source, remote)
    return remote


def fetch(source: Source, path: Path, policy: RetryPolicy, report: Report = lambda done, total: None) -> None:
    """Fetch a file to `path`, which appears once it is complete and verified.

    Raises DownloadError if the server fails, or serves another size or SHA-256 than the source states.
    """
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and source.size in (None, _size(path)) and _has_digest(path, source):
        return
    _retry(lambda: _transfer(source, part, policy.timeout, report), source.url, lambda: _size(part), policy)
    if not _has_digest(part, source):
        _remove(part)
        raise DownloadError(
            f"{source.url} gave a file whose SHA-256 is not {source.sha256}; "
            "it was deleted: check the address and the expected value"
        )
    os.replace(part, path)
    _state_file(part).unlink(missing_ok=True)


def partial_bytes(path: Path) -> int:
    """Return how many bytes of a file that was fetched to `path` have arrived so far."""
    return _size(path) or _size(path.with_name(path.name + ".part"))


def _transfer(source: Source, part: Path, timeout: float, report: Report) -> None:
    """Make one attempt to complete a partial file."""
    # 1. ask for what is missing
    known = _load_state(part)
    offset = _size(part) if known else 0
    headers = {"Range": f"bytes={offset}-"} if offset else {}
    if known and offset:
        if offset == known.size and source.size in (None, offset):
            return
        if known.validator:
            headers["If-Range"] = known.validator
    with _open(source.url, headers, timeout, on_bad_range=lambda: _remove(part)) as response:
        # 2. find out where the answer begins, and whether it is of the same file
        remote = _read_headers(response)
        _check_size(source, remote)
        begin = _first_byte(response)
        if known and offset and begin == offset and not known.agrees(remote):
            _remove(part)
            raise _AttemptFailed("the file on the server has changed")
        if begin not in (0, offset):
            _remove(part)
            raise _AttemptFailed(f"the server was asked for the bytes from {offset} on and sent others")
        if begin == 0:
            if offset:
                logger.info("%s has changed or cannot be resumed; starting over", source.url)
            _remove(part)
            _save_state(part, remote)

        # 3. append it
        offset = _append(response, part, begin, remote.size, report)
    total = remote.size if remote.size is not None else source.size
    if total is not None and offset < total:
        raise _AttemptFailed(f"the connection ended after {offset} of {total} bytes")
    if total is not None and offset > total:
        _remove(part)
        raise DownloadError(f"{source.url} gave {offset} bytes instead of {total}; check address and size")


def _append(response: Response, part: Path, begin: int, total: int | None, report: Report) -> int:
    """Write the body from byte `begin` on, and return the size of the file."""
    offset = begin
    with part.open("r+b" if begin else "wb") as sink:
        sink.seek(begin)
        sink.truncate()
        report(offset, total)
        while chunk := _read(response):
            sink.write(chunk)
            offset += len(chunk)
            report(offset, total)
    return offset


def _retry(action: Callable[[], T], url: str, arrived: Callable[[], int], policy: RetryPolicy) -> T:
    """Repeat an action until it succeeds. Attempts that bring bytes do not count as failures in a row."""
    failures, most = 0, arrived()
    while True:
        try:
            return action()
        except _AttemptFailed as error:
            failures = 1 if arrived() > most else failures + 1
            most = max(most, arrived())
            if failures > policy.retries:
                raise DownloadError(
                    f"{url} failed {failures} times in a row ({error}); "
                    "check address and connection, then repeat the same command: it resumes"
                ) from error
            wait = max(min(2.0 ** (failures - 1), LONGEST_WAIT), error.wait)
            logger.info("%s: %s; trying again in %.0f s", url, error, wait)
        policy.sleep(wait)


def _open(
    url: str, headers: dict[str, str], timeout: float, on_bad_range: Callable[[], None] = lambda: None
) -> Response:
    headers = {"User-Agent": "bassl", "Accept-Encoding": "identity", **headers}
    try:
        response: Response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout)
        return response
    except urllib.error.HTTPError as error:
        with error:
            if error.code == 416 and "Range" in headers:
                on_bad_range()
                raise _AttemptFailed("the server has fewer bytes than expected") from error
            if error.code in TRY_LATER or error.code >= 500:
                after = error.headers.get("Retry-After") or ""
                wait = min(float(after), 5 * LONGEST_WAIT) if after.isdecimal() else 0.0
                raise _AttemptFailed(f"HTTP {error.code}", wait) from error
            raise DownloadError(
                f"{url} is not available: HTTP {error.code} {error.reason}; try the address in a browser"
            ) from error
    except urllib.error.URLError as error:
        raise _AttemptFailed(error.reason) from error
    except (http.client.HTTPException, OSError) as error:
        raise _AttemptFailed(error or type(error).__name__) from error


def _read(response: Response) -> bytes:
    try:
        return response.read1(CHUNK)
    except (http.client.HTTPException, OSError) as error:
        raise _AttemptFailed(f"the connection broke ({error or type(error).__name__})") from error


def _read_headers(response: Response) -> Remote:
    size = response.length
    if response.status == 206:
        stated = re.search(r"/(\d{1,18})$", response.headers.get("Content-Range", ""))
        size = int(stated[1]) if stated else None
    return Remote(size, response.headers.get("ETag"), response.headers.get("Last-Modified"))


def _first_byte(response: Response) -> int:
    """Return the position of the answer's first byte in the file, -1 if it is not stated."""
    if response.status != 206:
        return 0
    stated = re.match(r"bytes (\d{1,18})-", response.headers.get("Content-Range", ""))
    return int(stated[1]) if stated else -1


def _check_size(source: Source, remote: Remote) -> None:
    if None not in (source.size, remote.size) and source.size != remote.size:
        raise DownloadError(
            f"{source.url} has {remote.size} bytes on the server instead of {source.size}; "
            "check the address and the expected size"
        )


def _state_file(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _save_state(part: Path, remote: Remote) -> None:
    temporary = part.with_name(part.name + ".json.new")
    temporary.write_text(json.dumps(asdict(remote)), encoding="utf-8")
    os.replace(temporary, _state_file(part))


def _load_state(part: Path) -> Remote | None:
    try:
        known = Remote(**json.loads(_state_file(part).read_text(encoding="utf-8")))
    except (FileNotFoundError, TypeError, ValueError):
        return None
    return known if known.size is not None or known.validator else None


def _remove(part: Path) -> None:
    part.unlink(missing_ok=True)
    _state_file(part).unlink(missing_ok=True)


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _has_digest(path: Path, source: Source) -> bool:
    return source.sha256 is None or sha256_of(path) == source.sha256

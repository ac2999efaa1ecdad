"""Fetch one file over HTTP so that it can break off anywhere and go on later (standard library only).

Bytes go to `<name>.part`; `<name>.part.json` beside it keeps what the server said of the file: size, ETag,
Last-Modified. Going on asks for the rest alone (`Range`), provided that the file is the same (`If-Range`); a
server that does not know ranges, or a file that changed meanwhile, starts again from the first byte.
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

Report = Callable[[int, "int | None"], None]  # bytes done, bytes in all where known
Response = http.client.HTTPResponse
T = TypeVar("T")

CHUNK = 1 << 20
LONGEST_WAIT = 60.0  # seconds between two attempts
TRY_LATER = (408, 425, 429)


class DownloadError(InputError):
    """The network, the server or what it served failed; the same command may succeed later."""


class _Broken(Exception):
    """An attempt ended early, for a reason that another attempt may not meet."""

    def __init__(self, reason: object, wait: float = 0.0) -> None:
        super().__init__(str(reason))
        self.wait = wait


@dataclass(frozen=True)
class Source:
    """A file to fetch: address and, where known before, length in bytes and SHA-256 (64 digits 0-9a-f)."""

    url: str
    size: int | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Remote:
    """What a server says of a file: length in bytes, ETag, Last-Modified; None where it does not say."""

    size: int | None
    etag: str | None
    modified: str | None

    def agrees(self, other: Remote) -> bool:
        """Whether nothing that both know speaks against one and the same file."""
        pairs = zip(astuple(self), astuple(other), strict=True)
        return all(mine is None or theirs is None or mine == theirs for mine, theirs in pairs)

    @property
    def validator(self) -> str | None:
        """The value for `If-Range`, which RFC 9110 wants to be a strong ETag or a date."""
        return self.etag if self.etag and not self.etag.startswith("W/") else self.modified


@dataclass(frozen=True)
class Patience:
    """How long to bear with a server: seconds without a byte, attempts in a row without one, how to wait."""

    timeout: float = 60.0
    retries: int = 5
    sleep: Callable[[float], None] = time.sleep


def ignore(done: int, total: int | None) -> None:
    """A report that goes nowhere."""


def probe(source: Source, patience: Patience) -> Remote:
    """Ask what a fetch would meet, by requesting one byte (HEAD is refused by signed addresses).

    Raises DownloadError where the file is not to be had or has another size than the source states.
    """

    def ask() -> Remote:
        with _open(source.url, {"Range": "bytes=0-0"}, patience.timeout) as response:
            return _remote(response)

    remote = _persist(ask, source.url, lambda: 0, patience)
    _check_size(source, remote)
    return remote


def fetch(source: Source, path: Path, patience: Patience, report: Report = ignore) -> None:
    """Bring a file to `path`, which appears only once it is whole and checked.

    Raises DownloadError where the server gives up, or gives another size or SHA-256 than the source states.
    """
    part = path.with_name(path.name + ".part")
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and source.size in (None, _length(path)) and _has_digest(path, source):
        return
    _persist(lambda: _transfer(source, part, patience.timeout, report), source.url, lambda: _length(part), patience)
    if not _has_digest(part, source):
        _forget(part)
        raise DownloadError(
            f"{source.url} gave a file whose SHA-256 is not {source.sha256}; "
            "it was deleted: check the address and the expected value"
        )
    os.replace(part, path)
    _notes(part).unlink(missing_ok=True)


def partial_bytes(path: Path) -> int:
    """How many bytes of a file that `fetch` was asked for have arrived so far."""
    return _length(path) or _length(path.with_name(path.name + ".part"))


def _transfer(source: Source, part: Path, timeout: float, report: Report) -> None:
    known = _recall(part)
    offset = _length(part) if known else 0
    headers = {"Range": f"bytes={offset}-"} if offset else {}
    if known and offset:
        if offset == known.size and source.size in (None, offset):
            return
        if known.validator:
            headers["If-Range"] = known.validator
    with _open(source.url, headers, timeout, on_bad_range=lambda: _forget(part)) as response:
        remote = _remote(response)
        _check_size(source, remote)
        begin = _first_byte(response)
        if known and offset and begin == offset and not known.agrees(remote):
            _forget(part)
            raise _Broken("the file on the server is another one now")
        if begin not in (0, offset):
            _forget(part)
            raise _Broken(f"the server was asked for the bytes from {offset} on and sent others")
        if begin == 0:
            if offset:
                logger.info("%s has changed or cannot go on in the middle; starting again", source.url)
            _forget(part)
            _note(part, remote)
        offset = _append(response, part, begin, remote.size, report)
    total = remote.size if remote.size is not None else source.size
    if total is not None and offset < total:
        raise _Broken(f"the connection ended after {offset} of {total} bytes")
    if total is not None and offset > total:
        _forget(part)
        raise DownloadError(f"{source.url} gave {offset} bytes instead of {total}; check address and size")


def _append(response: Response, part: Path, begin: int, total: int | None, report: Report) -> int:
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


def _persist(action: Callable[[], T], url: str, arrived: Callable[[], int], patience: Patience) -> T:
    failures, most = 0, arrived()
    while True:
        try:
            return action()
        except _Broken as error:
            failures = 1 if arrived() > most else failures + 1
            most = max(most, arrived())
            if failures > patience.retries:
                raise DownloadError(
                    f"{url} failed {failures} times in a row ({error}); "
                    "check address and connection, then run the same command again: it goes on from there"
                ) from error
            wait = max(min(2.0 ** (failures - 1), LONGEST_WAIT), error.wait)
            logger.info("%s: %s; trying again in %.0f s", url, error, wait)
        patience.sleep(wait)


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
                raise _Broken("the server has fewer bytes than expected") from error
            if error.code in TRY_LATER or error.code >= 500:
                raise _Broken(f"HTTP {error.code}", _seconds(error.headers.get("Retry-After"))) from error
            raise DownloadError(
                f"{url} cannot be had: HTTP {error.code} {error.reason}; try the address in a browser"
            ) from error
    except urllib.error.URLError as error:
        raise _Broken(error.reason) from error
    except (http.client.HTTPException, OSError) as error:
        raise _Broken(error or type(error).__name__) from error


def _read(response: Response) -> bytes:
    try:
        return response.read1(CHUNK)
    except (http.client.HTTPException, OSError) as error:
        raise _Broken(f"the connection broke ({error or type(error).__name__})") from error


def _seconds(retry_after: str | None) -> float:
    return min(float(retry_after), 5 * LONGEST_WAIT) if retry_after and retry_after.isdigit() else 0.0


def _remote(response: Response) -> Remote:
    if response.status == 206:
        stated = re.search(r"/(\d+)$", response.headers.get("Content-Range", ""))
        size = int(stated[1]) if stated else None
    else:
        size = response.length
    return Remote(size, response.headers.get("ETag"), response.headers.get("Last-Modified"))


def _first_byte(response: Response) -> int:
    if response.status != 206:
        return 0
    stated = re.match(r"bytes (\d+)-", response.headers.get("Content-Range", ""))
    return int(stated[1]) if stated else -1


def _check_size(source: Source, remote: Remote) -> None:
    if None not in (source.size, remote.size) and source.size != remote.size:
        raise DownloadError(
            f"{source.url} has {remote.size} bytes on the server instead of {source.size}; "
            "check the address and the expected size"
        )


def _notes(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _note(part: Path, remote: Remote) -> None:
    fresh = part.with_name(part.name + ".json.new")
    fresh.write_text(json.dumps(asdict(remote)), encoding="utf-8")
    os.replace(fresh, _notes(part))


def _recall(part: Path) -> Remote | None:
    try:
        known = Remote(**json.loads(_notes(part).read_text(encoding="utf-8")))
    except (FileNotFoundError, TypeError, ValueError):
        return None
    return known if known.size is not None or known.validator else None


def _forget(part: Path) -> None:
    part.unlink(missing_ok=True)
    _notes(part).unlink(missing_ok=True)


def _length(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _has_digest(path: Path, source: Source) -> bool:
    return source.sha256 is None or sha256_of(path) == source.sha256
